"""Faults that can be armed, as frozen values, and which calls each strikes. Pure.

A `Fault` is an effect, the calls that it strikes, how often, and which fraction of them:

    Fault(CannedReply(429, retry_after=1), where=Where(method="GET"), times=3)
    {"effect": {"name": "reply", "status": 429, "retry_after": 1}, "where": {"method": "GET"}, "times": 3}

Several faults can strike one call. Waits add up; of replacing effects the first that was armed wins;
reshaping effects are applied in the order they were armed. `EFFECTS` is the table of all effects.
"""

import re
from typing import Annotated, Any, Literal

import msgspec

from gateway.model import Kind
from gateway.sandbox.journal import RecordedCall

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
WaitPoint = Literal["arrival", "answer"]
"""When a call waits: before it is processed, or when its answer is ready (and a write took effect)."""

Body = Literal["apple", "empty", "html", "capacity", "no-errors", "blames-l"]
"""`apple`: what Apple sends with this status (its 401 is empty); `capacity`: an old 429's bare message;
`no-errors`: an envelope with an empty list of errors; `blames-l`: one whose source is the parameter `l`."""

Shape = Literal[
    "list", "null", "text", "no-data", "data-null", "data-object", "map", "errors", "resource-null", "no-id",
    "id-number", "wrong-type", "no-type", "value-text", "value-zero", "value-true", "attributes-list",
]  # fmt: skip
"""How a JSON body is malformed; `map` is what `format[resources]=map` gives at Apple.
From `resource-null` on, every resource in it is."""


class Effect(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag_field="name",
    tag=lambda name: re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower(),
):
    """Base of all effects; in JSON, `name` selects one."""


class Latency(Effect, frozen=True):
    """The call waits `seconds` and up to `jitter` more."""

    seconds: Seconds
    jitter: Seconds = 0.0
    at: WaitPoint = "arrival"


class Hold(Effect, frozen=True):
    """The call waits until it is released."""

    at: WaitPoint = "arrival"


class CannedReply(Effect, frozen=True, tag="reply"):
    """The call is answered with this instead. `applied`: a write took effect all the same."""

    status: Annotated[int, msgspec.Meta(ge=200, le=599)]
    body: Body = "apple"
    retry_after: int | str | None = None
    """Sent unchanged: seconds, a date, or an invalid value."""
    applied: bool = False


class Reset(Effect, frozen=True):
    """The connection is reset without an answer. `applied`: a write took effect all the same.

    `kept`: only calls on a connection that carried a call before, as if a balancer had
    dropped idle connections.
    """

    applied: bool = False
    kept: bool = False


class Skew(Effect, frozen=True):
    """Apple's clock is `seconds` ahead (behind, if below 0): in `Date`, and when it verifies tokens."""

    seconds: float


class MaxIds(Effect, frozen=True):
    """More ids than `limit` in one call are refused with `status` (400 names `ids`; 413, 414, 504 do not)."""

    limit: Count
    status: Literal[400, 413, 414, 500, 504] = 400


class Lag(Effect, frozen=True):
    """Reads return the old rating for `seconds` after a write."""

    seconds: Seconds


class Truncate(Effect, frozen=True):
    """Only the part `keep` of the body is sent. `honest`: Content-Length matches it."""

    keep: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.5
    honest: bool = False


class SlowBody(Effect, frozen=True):
    """The body is sent in `pieces`, the last one `seconds` after the headers."""

    seconds: Seconds
    pieces: Annotated[int, msgspec.Meta(ge=2)] = 10


class Misshape(Effect, frozen=True):
    """The body is JSON, but not a `RatingsResponse`."""

    shape: Shape


class Next(Effect, frozen=True):
    """The answer has a `next` link."""


class Strangers(Effect, frozen=True):
    """The answer contains ratings (1) of ids that were not requested."""

    ids: tuple[str, ...]


class Prefix(Effect, frozen=True):
    """Ids in the answer have a prefix, as observed once at Apple."""

    text: str = "r."


class Shuffle(Effect, frozen=True):
    """The resources are in another order than requested."""


class Valueless(Effect, frozen=True):
    """Unrated ids are resources without a value, instead of absent or 404."""


class Extra(Effect, frozen=True):
    """Every resource also has these members; existing ones are replaced."""

    members: dict[str, Any]


AnyEffect = (
    Latency | Hold | CannedReply | Reset | MaxIds | Lag | Truncate | SlowBody | Misshape | Next | Strangers
    | Prefix | Shuffle | Valueless | Extra | Skew
)  # fmt: skip


EFFECTS: tuple[AnyEffect, ...] = (
    Latency(0.5, jitter=0.2),
    Hold(),
    CannedReply(429, retry_after=1),
    Reset(),
    MaxIds(25),
    Lag(3),
    Skew(-90),
    Truncate(),
    SlowBody(2),
    Misshape("no-data"),
    Next(),
    Strangers(("42",)),
    Prefix(),
    Shuffle(),
    Valueless(),
    Extra({"meta": {}}),
)
"""Every effect, with an example of its fields."""


class Where(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The calls that a fault strikes: those that match every field set here."""

    method: Literal["GET", "PUT", "DELETE", "POST"] | None = None
    kind: Kind | None = msgspec.field(default=None, name="type")
    user: str | None = None
    """A label, as in the journal, or the token of a known user."""
    id: str | None = None
    """Calls with this id, alone or among others."""
    many: bool | None = None
    """True: ids in `ids=`; False: an id in the path."""
    query: str | None = None
    """All other parameters, sorted: `include=content`; empty for plain calls."""

    def matches(self, call: RecordedCall) -> bool:
        return (
            (self.method is None or self.method == call.method)
            and (self.kind is None or self.kind == call.kind)
            and (self.user is None or self.user == call.user)
            and (self.id is None or self.id in call.ids)
            and (self.many is None or self.many == call.many)
            and (self.query is None or self.query == call.query)
        )


EVERYWHERE = Where()


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An effect that strikes the first `times` matching calls, each with probability `fraction`."""

    effect: AnyEffect
    where: Where = EVERYWHERE
    times: Count | None = None
    fraction: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0

    def strikes(self, call: RecordedCall, *, fired: int, chance: float) -> bool:
        """Whether this call is struck after `fired` others; `chance` is uniform in [0, 1)."""
        if self.times is not None and fired >= self.times:
            return False
        if isinstance(self.effect, MaxIds) and len(call.ids) <= self.effect.limit:
            return False
        if isinstance(self.effect, Reset) and self.effect.kept and not call.kept:
            return False
        return chance < self.fraction and self.where.matches(call)
