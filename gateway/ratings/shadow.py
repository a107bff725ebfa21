"""Shadow checks: a share of hits is fetched again behind the answer, and compared with what was served.

They only look: nothing that they fetch is kept, so that what is counted is what callers are served. They wait
in the background lane, and a hit that is drawn while enough checks are under way is not checked.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

import msgspec

from gateway.cache.cache import Cache
from gateway.cache.entry import Entry
from gateway.cache.lookup import Findings
from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.fetch.single_flight import SingleFlight
from gateway.model import Id, Partition, Priority, Resource
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Requester

MOST_IDS: Final = 100
"""Of one answer: about one call to Apple."""
MOST_CHECKS: Final = 8
"""Under way at once."""


class Shadow:
    """Compares hits with Apple: of a `fraction` of the answers, drawn by `chance`, up to 100 ids each."""

    def __init__(
        self,
        fraction: float,
        *,
        cache: Cache,
        flights: SingleFlight,
        clock: Clock,
        tasks: Tasks,
        metrics: Metrics,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._fraction = fraction
        self._cache = cache
        self._flights = flights
        self._clock = clock
        self._tasks = tasks
        self._counts = {result: metrics.shadow_checks.labels(result) for result in RESULTS}
        self._chance = chance
        self._running = 0

    def drawn(self) -> bool:
        """Whether the answer at hand is to be checked."""
        return self._chance() < self._fraction and self._running < MOST_CHECKS

    def check(self, partition: Partition, served: Mapping[Id, Resource]) -> None:
        """Compare what was served with what Apple says now, without keeping anybody waiting."""
        if served:
            self._running += 1
            task = self._tasks.spawn("shadow", self._check(partition, dict(islice(served.items(), MOST_IDS))))
            task.add_done_callback(self._ended)

    def check_entries(self, partition: Partition, entries: Iterable[tuple[Id, Entry]], now: float) -> None:
        """Check those of `entries` that were hits: fresh at `now`."""
        self.check(partition, {id_: entry.resource for id_, entry in entries if entry.fresh_until > now})

    def check_listed(self, partition: Partition, ids: Sequence[Id], listed: bytes) -> None:
        """Check an answer to `ids` all of which were hits; `listed` are its resources, with commas."""
        resources = _LIST.decode(b"[%b]" % listed)
        rated = {_IDENTIFIED.decode(resource).id: bytes(resource) for resource in resources}
        self.check(partition, {id_: rated.get(id_) for id_ in ids})

    def _ended(self, _: object) -> None:
        self._running -= 1

    async def _check(self, partition: Partition, served: Mapping[Id, Resource]) -> None:
        consulted = await self._cache.consult(
            partition, _Onlooker(served, self._clock.monotonic()), keep=False
        )
        ticket = consulted.ticket
        # What is being written, or was a moment ago, may rightly differ from what Apple still reports.
        ids = [id_ for id_ in served if id_ not in ticket.unsettled]
        waiter = self._flights.join(
            partition,
            ids,
            ticket=ticket,
            marks=ticket.marks,
            keep=False,
            priority=Priority.BACKGROUND,
            requester=Requester(),
        )
        await waiter.wait(float("inf"))
        if self._cache.undisturbed(partition, ticket):
            for id_, outcome in waiter.outcomes.items():
                self._counts[compare(served[id_], outcome)].inc()


RESULTS: Final = ("agree", "changed", "error")


def compare(served: Resource, outcome: Resource | GatewayError) -> str:
    """How what was served stands beside what Apple says now; the order of fields says nothing."""
    if isinstance(outcome, GatewayError):
        return "error"
    if served == outcome:
        return "agree"
    if served is None or outcome is None or msgspec.json.decode(served) != msgspec.json.decode(outcome):
        return "changed"
    return "agree"


class _Onlooker:
    """Stands where a read's plan does: takes nothing and counts nothing, and so learns of writes alone."""

    def __init__(self, ids: Iterable[Id], now: float) -> None:
        self.now = now
        self.left = list(ids)

    def hold(self, held: Mapping[Id, Entry], *, shared: bool) -> Findings:
        del held, shared
        return _NOTHING

    def offer(self, entries: Mapping[Id, Entry], *, shared: bool, trusted_since: float) -> Findings:
        del entries, shared, trusted_since
        return _NOTHING


class _Identified(msgspec.Struct):
    id: Id


_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_IDENTIFIED = msgspec.json.Decoder(_Identified)
_NOTHING = Findings()
