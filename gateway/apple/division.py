"""The division of a call that failed: what its fragments showed, and whose fault the failures are in the end.

If Apple answered any fragment, those that failed by themselves are their ids' fault. If it answered none, the
fault is not an id's: it is the request's, the user's or Apple's.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from math import inf
from typing import Final, NamedTuple, TypeAlias

from gateway.apple.attribution import Asked
from gateway.apple.batch_size import AnsweredInFragments
from gateway.apple.call import Failed
from gateway.apple.failing_ids import FailingIds
from gateway.apple.symptom import symptom_of
from gateway.apple.trial import Trial
from gateway.errors import Cause, GatewayError
from gateway.model import Id, Partition, Rating
from gateway.waiters import Waiters

SAMPLES: Final = 3
"""Ids that are asked for by themselves if no half is answered; one is good if at most two ids are bad."""

Found: TypeAlias = dict[Id, Rating | Failed]
Results: TypeAlias = dict[Id, Rating | GatewayError]


class Job(NamedTuple):
    """What the calls of one fetch have in common."""

    partition: Partition
    waiters: Waiters
    deadline: float


class RequestCalls:
    """What the calls of one request share."""

    __slots__ = ("_learnt_at", "most", "splitting")

    def __init__(self) -> None:
        self.splitting = asyncio.Lock()
        """Held while a failed call is divided: the request's other calls use the batch size that it shows."""
        self.most = inf
        """The most ids of one call, as far as the request's own calls have shown."""
        self._learnt_at = inf

    def learn(self, began: float, of_fragments: int, in_doubt: int, now: float) -> None:
        """Make smaller calls because the fragments of one that began at `began` were answered.

        `in_doubt` is the size for the first time, which may be due to chance. What a later call shows is not,
        whatever other requests' calls show: then `of_fragments`, the size that was answered.
        """
        self.most = min(self.most, of_fragments if began > self._learnt_at else in_doubt)
        self._learnt_at = min(self._learnt_at, now)


class Division:
    """The division of one call, with what it has shown so far."""

    def __init__(
        self, trial: Trial, ids: Sequence[Id], size: int, whole: Failed, splitting_lock: AsyncExitStack
    ) -> None:
        self.trial = trial
        self.ids = ids
        """Those of the undivided call."""
        self.size = size
        """The batch size when it began."""
        self.whole = whole
        """The failure of the undivided call."""
        self.splitting_lock = splitting_lock
        """Holds the request's lock until its other calls have nothing to learn from this one."""
        self.alone: dict[Id, float] = {}
        """Ids that failed by themselves, and when they, and the fragments beside them, were asked for."""
        self.most = inf
        """The most ids of one fragment, as far as others have shown."""
        self._sampled = False

    def in_fragments(self, ids: Sequence[Id], largest: Sequence[Id], *, refused: bool) -> AnsweredInFragments:
        """Describe a call or fragment for `ids` that failed although its fragments were answered."""
        return AnsweredInFragments(
            self.trial.began, self.size, len(self.ids), len(ids), len(largest), refused
        )

    def latest_failure(self, found: Found) -> float | None:
        """When those were asked for that failed last by themselves, refusals aside; None if none did."""
        failed = [
            asked
            for id_, asked in self.alone.items()
            if isinstance(result := found.get(id_), Failed) and not result.verdict.refused
        ]
        return max(failed, default=None)

    def hopeless(self, failed: Failed) -> bool:
        """Whether Apple seems to fail for all that is asked, so that more fragments would only be more calls.

        A refusal is not a failure. Answers to other calls do not show that Apple answers this one: it may
        fail for one type only.
        """
        return not (failed.verdict.refused or self.trial.answered)

    def sample(
        self,
        fragments: Sequence[Sequence[Id]],
        answers: Sequence[dict[Id, Rating] | Failed],
        chance: Callable[[], float],
    ) -> list[Id]:
        """Choose the ids to ask for by themselves before the division ends without an answer, once.

        Each half may contain a bad id. A refused half shows nothing about one that failed. For an isolated
        user one id is chosen: Apple probably fails for all. `chance` returns random numbers from 0 to 1,
        excluding 1.
        """
        untested: list[Id] = []
        most = SAMPLES
        for fragment, answer in zip(fragments, answers, strict=True):
            if not isinstance(answer, Failed) or answer.abandoned or self.trial.answered:
                return []
            if not self.hopeless(answer):
                continue
            untested += fragment if answer.verdict.divide else ()
            most = 1 if answer.verdict.cause is Cause.USER else most
        if self._sampled or not untested:
            return []
        self._sampled = True
        return [untested.pop(int(chance() * len(untested))) for _ in range(min(most, len(untested)))]


class Settlement:
    """Attributes the failures of divisions for good.

    `conclude` and `answered_from` are the caller's, `failing` remembers ids, `count` counts a failed fragment
    that is an id's fault.
    """

    def __init__(
        self,
        conclude: Callable[[Trial, Failed, Asked], Failed],
        answered_from: Callable[[Trial, float], bool],
        failing: FailingIds,
        now: Callable[[], float],
        count: Callable[[], None],
    ) -> None:
        self._conclude = conclude
        self._answered_from = answered_from
        self._failing = failing
        self._now = now
        self._count = count

    def settle(self, job: Job, division: Division, found: Found) -> Results:
        """Attribute the remaining failures of a division for good."""
        failures = {id_: failed for id_, failed in found.items() if isinstance(failed, Failed)}
        unanswered = sum(not failed.verdict.refused for failed in failures.values())
        division.trial.divided_in_vain = not division.trial.answered and unanswered > len(found) / 2
        if division.trial.answered or any(_failed_elsewhere_answered(failed) for failed in failures.values()):
            self._settle_ids(job, division, failures)
        elif not all(_refused(failed) for failed in failures.values()):
            self._settle_fault(job, division, failures)
        elif _alike(failures.values()) and self._failing.note_all_refused(job.partition, self._now()):
            for failed in failures.values():
                failed.error.attribute(Cause.REQUEST, stale_allowed=False)
        else:
            self._settle_ids(job, division, failures)
        return {id_: result.error if isinstance(result, Failed) else result for id_, result in found.items()}

    def note_single_failure(
        self, partition: Partition, ids: Sequence[Id], answer: dict[Id, Rating] | Failed, trial: Trial
    ) -> None:
        """Remember or suspect the id of a call for one id that failed."""
        if len(ids) > 1 or not isinstance(answer, Failed):
            return
        if answer.verdict.cause is Cause.ID:
            self._failing.remember(partition, ids[0], answer.error, trial.first_failed, self._now())
        elif answer.verdict.counts and symptom_of(answer.error).sent:
            self._failing.suspect(partition, ids[0], trial.first_failed, self._now())

    def _settle_ids(self, job: Job, division: Division, failures: Mapping[Id, Failed]) -> None:
        """Apple answers other calls of the user: what failed is the ids' fault."""
        first, now = division.trial.first_failed, self._now()
        causes: dict[int, Cause] = {}
        for id_, failed in failures.items():
            if id(failed) not in causes:
                cause = causes[id(failed)] = self._conclude(division.trial, failed, _ALONE).verdict.cause
                if cause is Cause.ID:
                    self._count()
            if causes[id(failed)] is not Cause.ID:
                continue
            if id_ in division.alone and (failed.verdict.refused or self._answered_since(job, division, id_)):
                self._failing.remember(job.partition, id_, failed.error, first, now)
            else:
                self._failing.suspect(job.partition, id_, first, now)

    def _answered_since(self, job: Job, division: Division, id_: Id) -> bool:
        """Whether Apple answered anything since the id failed by itself: now, or lately for the first time.

        If not, an outage may have begun after the last fragment was answered.
        """
        since = self._failing.since(job.partition, id_, self._now())
        return self._answered_from(division.trial, min(since, division.alone[id_]))

    def _settle_fault(self, job: Job, division: Division, failures: Mapping[Id, Failed]) -> None:
        """No fragment was answered: the fault is the user's or Apple's, not an id's."""
        final = self._conclude(division.trial, division.whole, _AS_A_WHOLE).verdict
        for id_, failed in failures.items():
            if failed.verdict.counts or failed.verdict.divide:
                if id_ in division.alone:
                    self._failing.suspect(job.partition, id_, division.trial.first_failed, self._now())
                failed.error.attribute(final.cause, stale_allowed=final.stale_allowed)


_ALONE: Final = Asked(ids=1, read=True, idempotent=True, last=True)
_AS_A_WHOLE: Final = Asked(read=True, idempotent=True, last=True)


def results_of(ids: Sequence[Id], answer: dict[Id, Rating] | Failed) -> Results:
    """What a call for `ids` has shown."""
    return dict.fromkeys(ids, answer.error) if isinstance(answer, Failed) else {**answer}


def _failed_elsewhere_answered(failed: Failed) -> bool:
    """Whether Apple failed for a fragment while it answered other calls of the user."""
    verdict = failed.verdict
    return verdict.cause is Cause.ID and not (verdict.refused or verdict.counts)


def _refused(failed: Failed) -> bool:
    """Whether Apple refused the ids, in a call that was made for them."""
    return failed.verdict.refused and failed.verdict.cause in (Cause.ID, Cause.REQUEST)


def _alike(failures: Iterable[Failed]) -> bool:
    return len({(failed.error.status, failed.error.code) for failed in failures}) == 1
