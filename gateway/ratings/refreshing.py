"""Refreshes behind the answer: for entries that were served stale, in the background lane."""

from collections.abc import Sequence

from gateway.cache.consulting import Ticket
from gateway.demand import Party
from gateway.errors import GatewayError
from gateway.loading.flights import Flights
from gateway.loading.waiter import Waiter
from gateway.model import Id, Lane, Shelf
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics


class Refresher:
    """Begins refreshes; an id that is already in flight is not fetched again, whoever asks."""

    def __init__(self, flights: Flights, tasks: Tasks, metrics: Metrics) -> None:
        self._flights = flights
        self._tasks = tasks
        self._refreshed = metrics.background_refreshes.labels("ok")
        self._failed = metrics.background_refreshes.labels("error")

    def refresh(self, shelf: Shelf, ids: Sequence[Id], ticket: Ticket) -> None:
        """Fetch `ids` anew without keeping anybody waiting."""
        idle = [id_ for id_ in ids if not self._flights.flying(shelf, id_)]
        if idle:
            waiter = self._flights.join(
                shelf, idle, ticket=ticket, marks=ticket.marks, keep=True, lane=Lane.BACKGROUND, party=Party()
            )
            self._tasks.spawn("refresh", self._count(waiter))

    async def _count(self, waiter: Waiter) -> None:
        await waiter.wait(float("inf"))
        failed = sum(isinstance(outcome, GatewayError) for outcome in waiter.outcomes.values())
        self._failed.inc(failed)
        self._refreshed.inc(len(waiter.outcomes) - failed)
