"""Background refreshes of entries that were served stale."""

from collections.abc import Sequence

from gateway.errors import GatewayError
from gateway.fetch.single_flight import SingleFlight
from gateway.fetch.wait import FetchWait
from gateway.fill_token import FillToken
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
            wait = self._flights.join(
                partition,
                idle,
                token=token,
                keep=True,
                requester=Requester(Priority.BACKGROUND),
                due=due,
            )
            self._tasks.spawn("refresh", self._count(wait))

    async def _count(self, wait: FetchWait) -> None:
        await wait.until(float("inf"))
        failed = sum(isinstance(result, GatewayError) for result in wait.results.values())
        self._failed.inc(failed)
        self._refreshed.inc(len(wait.results) - failed)
