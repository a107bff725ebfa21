"""A stand-in for Apple Music's ratings API, with faults on demand; for tests and for trying things out."""

from gateway.sandbox.arming import Armed, Faults
from gateway.sandbox.credentials import Credentials, TrustedKey
from gateway.sandbox.faults import (
    AnyEffect,
    Extra,
    Fault,
    Hold,
    Lag,
    Latency,
    MaxIds,
    Misshape,
    Next,
    Prefix,
    Reply,
    Reset,
    Shuffle,
    Skew,
    SlowBody,
    Strangers,
    Truncate,
    Valueless,
    Where,
)
from gateway.sandbox.journal import Call, Double, Journal
from gateway.sandbox.server import Sandbox
from gateway.sandbox.shipped import ADA, BEN, CLEO, PAIRS, REVOKED, UNSUBSCRIBED
from gateway.sandbox.standalone import run
from gateway.sandbox.store import Standing, Store

__all__ = [
    "ADA",
    "BEN",
    "CLEO",
    "PAIRS",
    "REVOKED",
    "UNSUBSCRIBED",
    "AnyEffect",
    "Armed",
    "Call",
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
    "Reply",
    "Reset",
    "Sandbox",
    "Shuffle",
    "Skew",
    "SlowBody",
    "Standing",
    "Store",
    "Strangers",
    "Truncate",
    "TrustedKey",
    "Valueless",
    "Where",
    "run",
]
