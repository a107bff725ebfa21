"""Shadow checks: compares a share of the hits with what Apple reports, in the background.

Checks store nothing, so that they measure what callers are served. They run as background calls, and are
skipped while enough of them are under way.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Final

import msgspec

from gateway.cache.cache import Cache
from gateway.cache.entry import Entry
from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.fetch.single_flight import SingleFlight
from gateway.model import Id, Partition, Priority, Rating
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Requester

MAX_IDS: Final = 100
"""Ids of one answer that are checked: about one call to Apple."""
MAX_CHECKS: Final = 8
"""Checks under way at once."""


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
        """Draw whether an answer is checked."""
        return self._chance() < self._fraction and self._running < MAX_CHECKS

    def check(self, partition: Partition, hits: Iterable[tuple[Id, Entry]]) -> None:
        """Check the ids of an answer that were hits."""
        if checked := {id_: entry.rating for id_, entry in islice(hits, MAX_IDS)}:
            self._running += 1
            task = self._tasks.spawn("shadow", self._check(partition, checked))
            task.add_done_callback(self._ended)

    def _ended(self, _: object) -> None:
        self._running -= 1

    async def _check(self, partition: Partition, served: Mapping[Id, Rating]) -> None:
        cache, now, asked = self._cache, self._clock.monotonic(), list(served)
        tiers = await cache.look_up(partition, asked, now)
        token = cache.fill_token(partition, asked, tiers, now)
        # The rating of a pending or recent write may rightly differ from what Apple still reports.
        ids = [id_ for id_ in asked if id_ not in token.unsettled]
        wait = self._flights.join(
            partition,
            ids,
            token=token,
            keep=False,
            requester=Requester(Priority.BACKGROUND),
        )
        await wait.until(float("inf"))
        if cache.undisturbed(partition, token):
            for id_, result in wait.results.items():
                self._counts[compare(served[id_], result)].inc()


RESULTS: Final = ("agree", "changed", "error")


def compare(served: Rating, outcome: Rating | GatewayError) -> str:
    """Compare what was served with what Apple reports; the order of fields makes no difference."""
    if isinstance(outcome, GatewayError):
        return "error"
    if served == outcome:
        return "agree"
    if not isinstance(served, bytes) or not isinstance(outcome, bytes):
        return "changed"
    return "agree" if msgspec.json.decode(served) == msgspec.json.decode(outcome) else "changed"
