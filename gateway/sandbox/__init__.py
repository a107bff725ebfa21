"""A stand-in for Apple Music's ratings API, with faults on demand; for tests and for trying things out."""

from gateway.sandbox.arming import Armed, Faults
from gateway.sandbox.credentials import Credentials, TrustedKey
from gateway.sandbox.faults import (
    AnyEffect,
    CannedReply,
    Extra,
    Fault,
    Hold,
    Lag,
    Latency,
    MaxIds,
    Misshape,
    Next,
    Prefix,
    Reset,
    Shuffle,
    Skew,
    SlowBody,
    Strangers,
    Truncate,
    Valueless,
    Where,
)
from gateway.sandbox.journal import Double, Journal, RecordedCall
from gateway.sandbox.server import Sandbox
from gateway.sandbox.shipped import ADA, BEN, CLEO, PAIRS, REVOKED, UNSUBSCRIBED
from gateway.sandbox.standalone import run
from gateway.sandbox.store import RatingStore, Standing

__all__ = [
    "ADA",
    "BEN",
    "CLEO",
    "PAIRS",
    "REVOKED",
    "UNSUBSCRIBED",
    "AnyEffect",
    "Armed",
    "CannedReply",
    "Credentials",
    "Double",
    "Extra",
    "Fault",
    "Faults",
    "Hold",
    "Journal",
    "Lag",
    "Latency",
    "MaxIds",
    "Misshape",
    "Next",
    "Prefix",
    "RatingStore",
    "RecordedCall",
    "Reset",
    "Sandbox",
    "Shuffle",
    "Skew",
    "SlowBody",
    "Standing",
    "Strangers",
    "Truncate",
    "TrustedKey",
    "Valueless",
    "Where",
    "run",
]
