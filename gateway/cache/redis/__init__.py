"""The tier behind every gateway's own: one Redis (or cluster, or Sentinel's master) shared by all."""

from gateway.cache.redis.values import Found, PlainLookup, Shared, SharedLookup, in_full
from gateway.cache.write_rule import UNCHANGED, UNKNOWN, Outcome, Unwritten

__all__ = [
    "UNCHANGED",
    "UNKNOWN",
    "Found",
    "Outcome",
    "PlainLookup",
    "Shared",
    "SharedLookup",
    "Unwritten",
    "in_full",
]
