"""Asks Apple for many ids, in as many calls as it takes, so that one bad id does not fail the others.

A call whose fragments may succeed although it failed (`Verdict.divide`) is halved, within a bound for each
request. An id found to be at fault is from then on asked for apart from the others (`failing_ids`).

    fetch
    ├── _ask_with_riders            one call, if riders come along
    └── _ask_sorted                 if there are none, or that call must be repeated without them
        ├── _ask_again              an id that failed before, or several of them
        └── _ask_in_batches         the others
            └── _ask                one batch; cut into smaller ones if Apple refuses so many ids meanwhile
                └── _ask_once       its call, or its division:
                    ├── _split          the fragments of a failed call, and theirs in turn
                    │   └── _ask_sample     a few ids by themselves, if no fragment is answered
                    ├── _ask_control    an answered id once more, if nothing else was answered since
                    └── settle          attributes what failed (`Settlement`)

The calls of a request share a lock, `splitting`. `_ask_once` takes it to divide a call. `_split` releases it
once a fragment is answered: a smaller size was learnt, or an id is at fault. Otherwise `_ask_once` does at
the end. A call that would go out meanwhile is not made, but cut anew after the release (`_ask`).
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final
from weakref import WeakKeyDictionary

from gateway.apple.batch_size import AnsweredInFragments, BatchSize
from gateway.apple.call import Failed, Outgrown
from gateway.apple.caller import Caller
from gateway.apple.division import Division, Found, Job, RequestCalls, Results, Settlement, results_of
from gateway.apple.failing_ids import FailingIds
from gateway.apple.rating_calls import RatingCalls
from gateway.apple.reactions import ISOLATED
from gateway.apple.trial import Trial
from gateway.chunks import chunks
from gateway.errors import Cause, UpstreamError
from gateway.model import Id, Partition, Rating, ratings_path
from gateway.riders import Riders
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Requester

MOST_ALONE: Final = 4
"""Failing ids that one fetch asks for again in a call of their own each; others share as many calls."""


class BatchSplitter:
    """Fetches ids through `caller`; remembers the batch size that Apple accepts, and ids that it refuses."""

    def __init__(
        self,
        caller: Caller,
        *,
        max_ids_per_call: int,
        failing: FailingIds,
        now: Callable[[], float],
        chance: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._caller = caller
        self._sizes = BatchSize(max_ids_per_call)
        self._requests: WeakKeyDictionary[Requester, RequestCalls] = WeakKeyDictionary()
        self._failing = failing
        isolated = metrics.upstream_isolated.labels(ISOLATED[Cause.ID])
        self._settlement = Settlement(caller.conclude, caller.answered_from, failing, now, isolated.inc)
        self._now = now
        self._chance = chance
        self._call = RatingCalls(caller, sizes=self._sizes, failing=failing, now=now, metrics=metrics).make
        metrics.upstream_batch_size.set_function(self.batch_size)

    def batch_size(self) -> int:
        """The most ids that one call should ask for now."""
        return self._sizes.current(self._now())

    def _size(self, job: Job) -> int:
        """The same for a call of this request, which may have seen that Apple accepts fewer."""
        return int(min(self.batch_size(), self._calls_of(job).most))

    def _calls_of(self, job: Job) -> RequestCalls:
        return self._requests.setdefault(job.waiters.requesters[0], RequestCalls())

    def refusal(self, partition: Partition, id_: Id, now: float) -> UpstreamError | None:
        """Return the error that answers for this id without a call to Apple, or None. Counts nothing."""
        known = self._failing.answer(partition, id_, now)
        return self._caller.refusal(partition.user.key, now) if known is None else known

    async def fetch(self, job: Job, ids: Sequence[Id], riders: Riders) -> Results:
        """Ask for `ids`; failing ones are answered from memory, or asked for by themselves.

        `riders` come along if all fit into one call and none is remembered as failing.
        """
        ridden = await self._ask_with_riders(job, ids, riders) if riders.ids else None
        if ridden is not None:
            return ridden
        results: Results = {}
        wanted: Sequence[Id] = [*ids, *riders.asked()]
        while wanted:
            results |= await self._ask_sorted(job, wanted)
            # Requests may have joined riders meanwhile.
            wanted = [id_ for id_ in riders.asked() if id_ not in results]
        return results

    async def _ask_sorted(self, job: Job, ids: Sequence[Id]) -> Results:
        sorted_ids = self._failing.sort(
            job.partition, ids, self._now(), most_alone=MOST_ALONE, largest=self._size(job)
        )
        if len(sorted_ids.rest) == len(ids):
            return await self._ask_in_batches(job, ids)
        results: Results = {**sorted_ids.known}
        async with asyncio.TaskGroup() as group:
            rest = group.create_task(self._ask_in_batches(job, sorted_ids.rest))
            again = [group.create_task(self._ask_again(job, failing)) for failing in sorted_ids.again]
        for asking in (rest, *again):
            results |= asking.result()
        return {id_: results[id_] for id_ in ids}

    async def _ask_with_riders(self, job: Job, ids: Sequence[Id], riders: Riders) -> Results | None:
        """Ask for `ids` with their riders; None if that must be repeated without them."""
        partition, now = job.partition, self._now()
        together = [*ids, *riders.ids]
        if self._failing.suspects(partition, together, now) or len(together) > self.batch_size():
            return None
        trial = Trial(partition.user.key, now, topic=ratings_path(partition.kind))
        answer = await self._call(job, together, trial, riders=True)
        if not isinstance(answer, Failed):
            return {**answer}
        riders.failed = answer.verdict.drop_riders
        return None if riders.failed or answer.again else results_of([*ids, *riders.ids], answer)

    async def _ask_again(self, job: Job, ids: Sequence[Id]) -> Results:
        """Ask for ids that failed before, in one call. If it fails, it is not divided."""
        partition, now = job.partition, self._now()
        prior = self._failing.prior_of_failing(partition, ids, now)
        trial = Trial(partition.user.key, now, topic=ratings_path(partition.kind), prior=prior)
        answer = await self._call(job, ids, trial, single_try=True)
        results = results_of(ids, answer)
        self._settlement.note_single_failure(partition, ids, answer, trial)
        if len(ids) > 1 and isinstance(answer, Failed) and answer.verdict.cause is Cause.ID:
            results |= self._failing.failed_together(partition, ids, self._now())
        return results

    async def _ask_in_batches(self, job: Job, ids: Sequence[Id]) -> Results:
        batches = chunks(ids, self._size(job))
        if len(batches) == 1:
            return await self._ask(job, ids)
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(self._ask(job, batch)) for batch in batches]
        return {id_: result for task in asking for id_, result in task.result().items()}

    async def _ask(self, job: Job, ids: Sequence[Id]) -> Results:
        """Ask in one call, or in several if Apple refuses that many ids."""
        splitting = self._calls_of(job).splitting
        trial = self._trial(job.partition, ids)
        try:
            results = await self._ask_once(job, ids, trial, splitting)
        except Outgrown:
            results = None
            async with splitting:
                pass
        finally:
            self._caller.end(trial)
        # Another call's division showed that Apple accepts fewer ids: cut these again, by the new size.
        return await self._ask_in_batches(job, ids) if results is None else results

    async def _ask_once(
        self, job: Job, ids: Sequence[Id], trial: Trial, splitting: asyncio.Lock
    ) -> Results | None:
        """Ask in one call, divided if it fails; None if that many ids are too many by now."""
        size = self.batch_size()
        answer = await self._call(
            job,
            ids,
            trial,
            divisible=1 < len(ids) >= self._size(job),
            fits=lambda: len(ids) <= self._size(job) and not splitting.locked(),
        )
        if not (isinstance(answer, Failed) and answer.verdict.divide and len(ids) > 1):
            self._settlement.note_single_failure(job.partition, ids, answer, trial)
            return results_of(ids, answer)
        async with AsyncExitStack() as splitting_lock:
            await splitting_lock.enter_async_context(splitting)
            if len(ids) <= self._size(job):
                division = Division(trial, ids, size, answer, splitting_lock)
                found = await self._split(job, division, ids, answer)
                await self._ask_control(job, division, found)
                return self._settlement.settle(job, division, found)
        return None

    def _trial(self, partition: Partition, ids: Sequence[Id]) -> Trial:
        now = self._now()
        return Trial(
            partition.user.key,
            now,
            topic=ratings_path(partition.kind),
            subject=ratings_path(partition.kind, ids[0]) if len(ids) == 1 else None,
            prior=self._failing.prior(partition, ids, now),
        )

    async def _split(self, job: Job, division: Division, ids: Sequence[Id], failed: Failed) -> Found:
        """Ask for the fragments of a failed call side by side, then for those of each that failed, in turn.

        In turn, so that the second half uses the batch size learnt from the first.
        """
        size = int(min(self._size(job), division.most))
        halves = size >= len(ids)
        if not halves:
            fragments = chunks(ids, size)
        elif len(ids) > 1 and job.waiters.take_extra(2):
            fragments = chunks(ids, (len(ids) + 1) // 2)
        else:
            return dict.fromkeys(ids, failed)
        asked = self._now()
        answers = await self._ask_fragments(job, division.trial, fragments, single_try=halves)
        if not any(isinstance(answer, Failed) for answer in answers):
            self._learn(
                job, division, division.in_fragments(ids, fragments[0], refused=failed.verdict.refused)
            )
        if any(not isinstance(answer, Failed) for answer in answers):
            # The size is learnt now, or one half failed: then an id fails, not the size.
            await division.splitting_lock.aclose()
        await self._ask_sample(job, division, division.sample(fragments, answers, self._chance))
        found: Found = {}
        for fragment, answer in zip(fragments, answers, strict=True):
            if not isinstance(answer, Failed):
                found |= answer
            elif answer.abandoned and not answer.error.remembered and not failed.verdict.refused:
                # Apple's failure of the whole is more useful than the reason why a fragment was not answered.
                # A refusal of the whole is not: it may be due to an id of another fragment.
                found |= dict.fromkeys(fragment, failed)
            elif len(fragment) > 1 and answer.verdict.divide and not division.hopeless(answer):
                found |= await self._split(job, division, fragment, answer)
            else:
                division.alone.update(dict.fromkeys(fragment, asked) if len(fragment) == 1 else {})
                found |= dict.fromkeys(fragment, answer)
        return found

    def _learn(self, job: Job, division: Division, shown: AnsweredInFragments) -> None:
        """Use smaller calls from now on: for the rest of the division, the request, and other requests."""
        now = self._now()
        division.most = self._sizes.of_fragments(shown)
        self._calls_of(job).learn(shown.began, division.most, self._sizes.learn(shown, now), now)

    async def _ask_sample(self, job: Job, division: Division, sample: Sequence[Id]) -> None:
        """Ask for these ids of a call without an answered fragment; one answer lets the division go on."""
        if sample and job.waiters.take_extra(len(sample)):
            asked = self._now()
            answers = await self._ask_fragments(
                job, division.trial, [[id_] for id_ in sample], single_try=True
            )
            division.alone |= {
                id_: asked
                for id_, answer in zip(sample, answers, strict=True)
                if isinstance(answer, Failed) and not answer.abandoned
            }

    async def _ask_control(self, job: Job, division: Division, found: Found) -> None:
        """Ask once more for an id that was answered, if nothing was since the last ones failed alone.

        Otherwise an outage that began meanwhile would be taken for their fault.
        """
        asked = division.latest_failure(found)
        if asked is None or self._caller.answered_from(division.trial, asked):
            return
        good = next((id_ for id_, result in found.items() if not isinstance(result, Failed)), None)
        if good is not None and job.waiters.take_extra(1):
            await self._ask_fragments(job, division.trial, [[good]], single_try=True)

    async def _ask_fragments(
        self, job: Job, trial: Trial, fragments: Sequence[Sequence[Id]], *, single_try: bool
    ) -> list[dict[Id, Rating] | Failed]:
        async with asyncio.TaskGroup() as group:
            asking = [
                group.create_task(self._call(job, ids, trial, single_try=single_try)) for ids in fragments
            ]
        return [task.result() for task in asking]
