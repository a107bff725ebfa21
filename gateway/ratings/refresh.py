"""Background refreshes of entries that were served stale."""

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
    """Starts refreshes; an id that is already in flight is not fetched again."""

    def __init__(self, flights: SingleFlight, tasks: Tasks, metrics: Metrics) -> None:
        self._flights = flights
        self._tasks = tasks
        self._refreshed = metrics.background_refreshes.labels("ok")
        self._failed = metrics.background_refreshes.labels("error")

    def refresh(self, partition: Partition, ids: Sequence[Id], token: FillToken, due: Sequence[Id]) -> None:
        """Refetch `ids` without delaying the answer, and ids that are `due` along with them."""
        idle = [id_ for id_ in ids if not self._flights.in_flight(partition, id_)]
        if idle:
            fetch = self._flights.join(
                partition,
                idle,
                token=token,
                keep=True,
                priority=Priority.BACKGROUND,
                requester=Requester(),
                due=due,
            )
            self._tasks.spawn("refresh", self._count(fetch))

    async def _count(self, fetch: PendingFetch) -> None:
        await fetch.wait(float("inf"))
        failed = sum(isinstance(outcome, GatewayError) for outcome in fetch.outcomes.values())
        self._failed.inc(failed)
        self._refreshed.inc(len(fetch.outcomes) - failed)
