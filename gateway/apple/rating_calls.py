"""Makes one call for the ratings of several ids, and records which ids, and how many, were answered."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from gateway.apple.attribution import Asked
from gateway.apple.batch_size import BatchSize
from gateway.apple.call import Call, Failed, asked_of
from gateway.apple.caller import Caller
from gateway.apple.division import Job
from gateway.apple.failing_ids import FailingIds
from gateway.apple.response import read_many
from gateway.apple.trial import Trial
from gateway.model import Id, Partition, Rating, has_other_parameters, ratings_path
from gateway.telemetry.metrics import Metrics


class RatingCalls:
    """Makes calls through `caller`."""

    def __init__(
        self,
        caller: Caller,
        *,
        sizes: BatchSize,
        failing: FailingIds,
        now: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._caller = caller
        self._sizes = sizes
        self._failing = failing
        self._now = now
        self._batch_ids = metrics.upstream_batch_ids

    async def make(
        self,
        job: Job,
        ids: Sequence[Id],
        trial: Trial,
        *,
        divisible: bool = False,
        single_try: bool = False,
        riders: bool = False,
        fits: Callable[[], bool] = lambda: True,
    ) -> dict[Id, Rating] | Failed:
        """Ask for `ids`; see `Asked` for the flags, and `Call` for `fits`."""
        partition = job.partition
        asked = replace(
            asked_of("GET"),
            ids=len(ids),
            other_parameters=has_other_parameters(partition.variant),
            divisible=divisible,
            single_try=single_try,
            riders=riders,
        )
        call = _call(job, ids, trial, asked, fits)
        answer = await self._caller.run(
            call, lambda answer: read_many(partition.kind, ids, answer), job.deadline
        )
        if not isinstance(answer, Failed):
            self._failing.answered(partition, ids, self._now())
            self._sizes.answered(len(ids), self._now())
        if not (isinstance(answer, Failed) and answer.abandoned):
            # A first try that was abandoned was not sent: the deadline never cuts it short.
            self._batch_ids.observe(len(ids))
        return answer


def _call(job: Job, ids: Sequence[Id], trial: Trial, asked: Asked, fits: Callable[[], bool]) -> Call:
    return Call(
        operation="read",
        method="GET",
        target=_target(job.partition, ids),
        user=job.partition.user,
        waiters=job.waiters,
        trial=trial,
        asked=asked,
        full_timeout=True,
        fits=fits,
    )


def _target(partition: Partition, ids: Sequence[Id]) -> str:
    query = f"ids={','.join(ids)}" + (f"&{partition.variant}" if partition.variant else "")
    return f"{ratings_path(partition.kind)}?{query}"
