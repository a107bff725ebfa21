"""The tier behind every gateway's own: one Redis (or cluster, or Sentinel's master) shared by all."""

from gateway.cache.rule import UNCHANGED, UNKNOWN, Outcome, Unwritten
from gateway.cache.shared.values import Found, PlainLookup, Shared, SharedLookup, in_full

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
