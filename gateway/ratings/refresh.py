"""Refreshes behind the answer: for entries that were served stale, in the background lane."""

from collections.abc import Sequence

from gateway.cache.lookup import FillToken
from gateway.errors import GatewayError
from gateway.fetch.pending import PendingFetch
from gateway.fetch.single_flight import SingleFlight
from gateway.model import Id, Partition, Priority
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Requester


class Refresher:
    """Begins refreshes; an id that is already in flight is not fetched again, whoever asks."""

    def __init__(self, flights: SingleFlight, tasks: Tasks, metrics: Metrics) -> None:
        self._flights = flights
        self._tasks = tasks
        self._refreshed = metrics.background_refreshes.labels("ok")
        self._failed = metrics.background_refreshes.labels("error")

    def refresh(self, partition: Partition, ids: Sequence[Id], ticket: FillToken) -> None:
        """Fetch `ids` anew without keeping anybody waiting."""
        idle = [id_ for id_ in ids if not self._flights.flying(partition, id_)]
        if idle:
            waiter = self._flights.join(
                partition,
                idle,
                ticket=ticket,
                marks=ticket.marks,
                keep=True,
                priority=Priority.BACKGROUND,
                requester=Requester(),
            )
            self._tasks.spawn("refresh", self._count(waiter))

    async def _count(self, waiter: PendingFetch) -> None:
        await waiter.wait(float("inf"))
        failed = sum(isinstance(outcome, GatewayError) for outcome in waiter.outcomes.values())
        self._failed.inc(failed)
        self._refreshed.inc(len(waiter.outcomes) - failed)
