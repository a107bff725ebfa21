"""Ids that Apple refuses or fails for: answered from memory for 10 s, then asked for apart from other ids.

Only the user for whom an id failed is answered from memory. Other users' calls ask for it by itself, so that
an id that many users have is not searched for in the calls of each. Time is an argument.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from math import inf
from operator import itemgetter
from typing import Final

import msgspec
from msgspec.structs import replace

from gateway.apple.trial import PriorFailures
from gateway.bounded import keep_latest
from gateway.chunks import chunks
from gateway.errors import UpstreamError
from gateway.model import Id, Kind, Partition, Variant

ASKED_AGAIN: Final = 10.0
"""Seconds for which an id is answered from memory."""

SUSPECTED: Final = 60.0
"""Seconds for which a first failure is remembered: a second one means that the id fails, not Apple."""

MOST_IDS: Final = 10_000
"""Most ids of one user and type; those that failed longest ago are dropped first."""

MOST_KEYS: Final = 10_000
"""Most users and types; those without a failure for longest are dropped first."""

MOST_SHARED: Final = 10_000
"""Most ids that failed for any user, in all; those that failed longest ago are dropped first."""

ALIKE: Final = 600.0
"""Seconds for which a refused call is not divided after one whose every fragment was refused alike, and for
which an answer to the variant shows that refusals are the ids' fault."""


class _Failing(msgspec.Struct, frozen=True):
    failure: UpstreamError | None
    """None while the id is only suspected."""
    since: float
    """When it failed first."""
    alone: float
    """When it failed last by itself."""
    until: float
    """Until when memory answers."""


class SortedIds(msgspec.Struct):
    """How the ids of one fetch are to be asked for."""

    known: dict[Id, UpstreamError] = {}
    """Answered from memory."""
    again: list[Sequence[Id]] = []
    """Those that failed before, by call: most by themselves, or several in a call that is not divided."""
    rest: list[Id] = []


class FailingIds:
    """Memory of failing ids, by user and type, and of refused variants."""

    def __init__(self) -> None:
        self._ids: OrderedDict[tuple[bytes, Kind], OrderedDict[tuple[Variant, Id], _Failing]] = OrderedDict()
        self._for_any_user: OrderedDict[tuple[Kind, Variant, Id], float] = OrderedDict()
        """When the id failed last for any user."""
        self._explained_until = -inf
        """What was only suspected until then is explained by an outage."""
        self._alike: OrderedDict[tuple[bytes, Kind, Variant], tuple[bool, float]] = OrderedDict()
        """Whether a call with the variant was last refused alike, or answered, and until when that holds."""

    def sort(
        self, partition: Partition, ids: Iterable[Id], now: float, *, most_alone: int, largest: int
    ) -> SortedIds:
        """Sort `ids`. Of those to be asked for again, at most `most_alone` go alone, the others together.

        The others take as many calls again, of at most `largest` ids; what is left stays remembered. Those
        that were asked for alone longest ago come first, so that each has its turn: among others, an id would
        fail with them. An id that failed only for another user is asked for alone, or is among the rest.
        """
        kept = self._ids.get((partition.user.key, partition.kind)) or OrderedDict()
        if not (kept or self._for_any_user):
            return SortedIds(rest=list(ids))
        found = SortedIds()
        retried: list[tuple[float, Id, UpstreamError]] = []
        for id_ in ids:
            failing = kept.get((partition.variant, id_))
            if failing is not None and failing.failure is not None:
                if now < failing.until:
                    found.known[id_] = _from_memory(failing.failure, failing.until - now)
                else:
                    retried.append((failing.alone, id_, failing.failure))
            elif self._failed_elsewhere(partition, id_, now) < inf and len(found.again) < most_alone:
                found.again.append([id_])
            else:
                found.rest.append(id_)
        retried.sort(key=itemgetter(0))
        alone = most_alone - len(found.again)
        found.again += [[id_] for _, id_, _ in retried[:alone]]
        others = retried[alone:]
        size = min(largest, max(2, -(-len(others) // most_alone)))
        found.again += [[id_ for _, id_, _ in group] for group in chunks(others, size)[:most_alone]]
        found.known |= {id_: _from_memory(failure, 0.0) for _, id_, failure in others[size * most_alone :]}
        return found

    def answer(self, partition: Partition, id_: Id, now: float) -> UpstreamError | None:
        """Return the failure that answers for this id without asking Apple, or None."""
        return self.sort(partition, [id_], now, most_alone=1, largest=1).known.get(id_)

    def suspects(self, partition: Partition, ids: Iterable[Id], now: float) -> bool:
        """Whether any of these ids failed lately: for this user, or for another."""
        return any(
            self.since(partition, id_, now) < inf or self._failed_elsewhere(partition, id_, now) < inf
            for id_ in ids
        )

    def prior(self, partition: Partition, ids: Iterable[Id], now: float) -> PriorFailures:
        """What is known to a call for `ids`, which are among the rest (`SortedIds`)."""
        return PriorFailures(
            first_failed=max(self.since(partition, id_, now) for id_ in ids),
            refused_alike=self._refused_alike(partition, now),
            variant_answered=self._variant_answered(partition, now),
        )

    def prior_of_failing(self, partition: Partition, ids: Sequence[Id], now: float) -> PriorFailures:
        """What is known to a call for ids that are to be asked for again (`SortedIds`)."""
        failing = [self._find(partition, id_) for id_ in ids]
        return replace(
            self.prior(partition, ids, now),
            failed_elsewhere=max(self._failed_elsewhere(partition, id_, now) for id_ in ids),
            remembered=all(each is not None and each.failure is not None for each in failing),
        )

    def since(self, partition: Partition, id_: Id, now: float) -> float:
        """When this id failed first for this user; `inf` if it did not fail lately."""
        failing = self._find(partition, id_)
        if failing is None or failing.until + SUSPECTED <= now:
            return inf
        return inf if failing.failure is None and failing.since <= self._explained_until else failing.since

    def remember(
        self, partition: Partition, id_: Id, failure: UpstreamError, first: float, now: float
    ) -> None:
        """The failure is the id's own; `first` says when the call failed first."""
        since = min(self.since(partition, id_, now), first)
        self._keep(partition, id_, _Failing(failure, since, now, now + ASKED_AGAIN))
        keep_latest(self._for_any_user, (partition.kind, partition.variant, id_), now, MOST_SHARED)

    def failed_together(self, partition: Partition, ids: Iterable[Id], now: float) -> dict[Id, UpstreamError]:
        """A call for these remembered ids failed: each keeps its own failure, for another 10 s."""
        known: dict[Id, UpstreamError] = {}
        for id_ in ids:
            failing = self._find(partition, id_)
            if failing is not None and failing.failure is not None:
                self._keep(partition, id_, replace(failing, until=now + ASKED_AGAIN))
                known[id_] = _from_memory(failing.failure, ASKED_AGAIN)
        return known

    def suspect(self, partition: Partition, id_: Id, first: float, now: float) -> None:
        """The id failed alone; whether the id or Apple is at fault is not decided yet."""
        since = min(self.since(partition, id_, now), first)
        self._keep(partition, id_, _Failing(None, since, now, now))

    def forget_failures(self, now: float) -> None:
        """An outage explains what failed until now, except for ids that were found to be at fault."""
        self._for_any_user.clear()
        self._explained_until = now

    def answered(self, partition: Partition, ids: Iterable[Id], now: float) -> None:
        """These ids were answered: neither they nor the variant are at fault."""
        keep_latest(self._alike, partition.key, (False, now + ALIKE), MOST_KEYS)
        if self._for_any_user:
            for id_ in ids:
                self._for_any_user.pop((partition.kind, partition.variant, id_), None)
        key = (partition.user.key, partition.kind)
        kept = self._ids.get(key)
        if kept is not None:
            for id_ in ids:
                kept.pop((partition.variant, id_), None)
            if not kept:
                del self._ids[key]

    def note_all_refused(self, partition: Partition, now: float) -> bool:
        """Record that every fragment of a call was refused alike, unless the variant was answered lately.

        Returns whether it was recorded: then it is the request that Apple refuses, not the ids.
        """
        if self._variant_answered(partition, now):
            return False
        keep_latest(self._alike, partition.key, (True, now + ALIKE), MOST_KEYS)
        return True

    def _failed_elsewhere(self, partition: Partition, id_: Id, now: float) -> float:
        """When this id failed last for any user; `inf` if it did not fail lately."""
        failed = self._for_any_user.get((partition.kind, partition.variant, id_), -inf)
        return failed if now < failed + ASKED_AGAIN + SUSPECTED else inf

    def _refused_alike(self, partition: Partition, now: float) -> bool:
        """Whether a refused call with this variant is not to be divided."""
        alike, until = self._alike.get(partition.key, (False, now))
        return alike and now < until

    def _variant_answered(self, partition: Partition, now: float) -> bool:
        """Whether a call with this variant was answered lately, so that refusals are the ids' fault."""
        alike, until = self._alike.get(partition.key, (True, now))
        return not alike and now < until

    def _find(self, partition: Partition, id_: Id) -> _Failing | None:
        kept = self._ids.get((partition.user.key, partition.kind))
        return None if kept is None else kept.get((partition.variant, id_))

    def _keep(self, partition: Partition, id_: Id, failing: _Failing) -> None:
        key = (partition.user.key, partition.kind)
        kept = self._ids.get(key, OrderedDict())
        keep_latest(kept, (partition.variant, id_), failing, MOST_IDS)
        keep_latest(self._ids, key, kept, MOST_KEYS)


def _from_memory(failure: UpstreamError, left: float) -> UpstreamError:
    """Return the failure as remembered; Apple is asked again in `left` seconds."""
    known = failure.as_remembered()
    if known.retry_after is not None:
        known.retry_after = min(known.retry_after, left)
    return known
