"""A model of Apple: ratings with the time from which each shows, and calls that take a given time."""

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Literal, NamedTuple

import msgspec

from gateway.apple.client import AppleSuccess, Outbound
from gateway.errors import AppleError, DeadlineExceeded, GatewayError, Unreachable, UpstreamError
from gateway.model import Id, Kind, Partition, Rating, User
from gateway.riders import Riders
from gateway.waiters import Waiters

Value = int | None
Ending = Literal["done", "refused", "lost", "failed after all", "repeat refused"]
"""How a write ends: rated; 400; 500 and not rated; rated, but without an answer; the same, and then 400."""

PAIRS = {(Kind.LIBRARY_ALBUMS, Id("l.1")): (Kind.ALBUMS, Id("1"))}
"""The same content in the library and in the catalog."""


class StoredRating(NamedTuple):
    value: Value
    shows_at: float


class Truth:
    """All ratings, and the time from which Apple shows each."""

    def __init__(self) -> None:
        self._rated: dict[tuple[str, Kind, Id], list[StoredRating]] = {}

    def rate(self, user: str, kind: Kind, id_: Id, value: Value, shows_at: float) -> None:
        self._of(user, kind, id_).append(StoredRating(value, shows_at))

    def shown(self, user: str, kind: Kind, id_: Id, at: float) -> Value:
        """The rating that Apple reports at that moment: the newest that shows by then."""
        shown = [rated.value for rated in self._of(user, kind, id_) if rated.shows_at <= at]
        return shown[-1] if shown else None

    def shown_between(self, user: str, kind: Kind, id_: Id, first: float, last: float) -> set[Value]:
        """Every rating that Apple reports between two moments."""
        changes = [rated.shows_at for rated in self._of(user, kind, id_) if first < rated.shows_at <= last]
        return {self.shown(user, kind, id_, at) for at in (first, *changes)}

    def _of(self, user: str, kind: Kind, id_: Id) -> list[StoredRating]:
        return self._rated.setdefault((user, *PAIRS.get((kind, id_), (kind, id_))), [])


class WritePlan(NamedTuple):
    """How Apple handles one write: it shows after `lag` and is answered after `seconds`."""

    ending: Ending
    lag: float
    seconds: float
    favorite: tuple[Kind, Id] | None = None
    """The id, if it is a favorite that is added: Apple likes it, and does not say so."""


class Call(NamedTuple):
    """A fetch under way."""

    gateway: str
    partition: Partition
    ids: tuple[Id, ...]
    started: float


class Apple:
    """One Apple for all gateways. While `failing`, reads fail."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.truth = Truth()
        self.loop = loop
        self.failing = False
        self.plans: dict[str, WritePlan] = {}
        """By the query, which is different for each write."""
        self.calls: list[Call] = []
        """Fetches in flight."""
        self.troubled_at = float("-inf")
        """When a call last failed or timed out."""


READ_SECONDS: ContextVar[float] = ContextVar("read_seconds", default=0.0)
"""Seconds between the report that Apple makes and its arrival, for fetches that a read begins."""


class Client:
    """A gateway's client of Apple."""

    def __init__(self, gateway: str, apple: Apple) -> None:
        self._gateway = gateway
        self._apple = apple
        self.doubled: list[str] = []
        """Ids that were fetched twice at once without an excuse."""
        self.excused: Callable[[Partition, float], bool] = lambda _partition, _since: False

    def batch_size(self) -> int:
        return 3

    def write_refusal(self, user: User) -> None:
        """No user is refused without a call."""

    async def fetch(
        self,
        partition: Partition,
        ids: Sequence[Id],
        *,
        riders: Riders,
        waiters: Waiters,
        deadline: float,
    ) -> dict[Id, Rating | GatewayError]:
        apple, now = self._apple, self._apple.loop.time
        ids = [*ids, *riders.ids]
        call = Call(self._gateway, partition, tuple(ids), now())
        self._look_for_doubles(call)
        apple.calls.append(call)
        shown = {id_: apple.truth.shown(partition.user.token, partition.kind, id_, now()) for id_ in ids}
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.sleep(READ_SECONDS.get())
        except TimeoutError:
            apple.troubled_at = now()
            return dict.fromkeys(ids, DeadlineExceeded("Nothing came."))
        finally:
            apple.calls.remove(call)
        if apple.failing:
            apple.troubled_at = now()
            riders.failed = True
            return dict.fromkeys(ids, AppleError(500, b""))
        return {id_: rendered(partition, id_, value) for id_, value in shown.items()}

    async def send(
        self, outbound: Outbound, deadline: float, waiters: Waiters
    ) -> AppleSuccess | UpstreamError:
        del waiters
        apple, now = self._apple, self._apple.loop.time
        plan = apple.plans[outbound.query]
        *_, kind, id_ = plan.favorite or outbound.path.split("/")
        partition = Partition(outbound.user, Kind(kind))
        body = b'{"attributes":{"value":1}}' if plan.favorite else outbound.body
        value = None if body is None else msgspec.json.decode(body)["attributes"]["value"]
        if plan.ending in ("done", "failed after all", "repeat refused"):
            apple.truth.rate(outbound.user.token, partition.kind, Id(id_), value, now() + plan.lag)
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.sleep(plan.seconds)
        except TimeoutError:
            return DeadlineExceeded("Nothing came.")
        match plan.ending:
            case "refused":
                return AppleError(400, b"")
            case "lost":
                return AppleError(500, b"")
            case "failed after all":
                return Unreachable("It broke.", proxy_error="connection_terminated", sent=True)
            case "repeat refused":
                failure = AppleError(400, b"")
                failure.maybe_done = True
                return failure
        if plan.favorite:
            return AppleSuccess(202, b"")
        resource = rendered(partition, Id(id_), value)
        return AppleSuccess(204, b"") if resource is None else AppleSuccess(200, b'{"data":[%b]}' % resource)

    def _look_for_doubles(self, call: Call) -> None:
        for other in self._apple.calls:
            both = set(other.ids) & set(call.ids)
            alike = (other.gateway, other.partition) == (call.gateway, call.partition)
            if alike and both and not self.excused(call.partition, other.started):
                self.doubled += both


def rendered(partition: Partition, id_: Id, value: Value) -> bytes | None:
    """A resource that names its user and variant, so that mix-ups are detected."""
    if value is None:
        return None
    return msgspec.json.encode(
        {
            "id": id_,
            "type": "ratings",
            "href": f"/v1/me/ratings/{partition.kind}/{id_}",
            "attributes": {"value": value},
            "of": partition.user.token,
            "form": partition.variant,
        }
    )
