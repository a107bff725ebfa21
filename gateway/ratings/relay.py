"""Relayed reads: Apple's answer is JSON but not a list of ratings, and is passed on as it came.

Query parameters besides `ids`, `include`, `extend` and `l` may ask for it, as `format[resources]=map` does.

1. The first read is an ordinary one. It fails, because Apple's answer is not a list of ratings.
2. The request is sent to Apple again as it came, and Apple's answer to that is passed on.
3. For a minute, reads of the same partition are relayed without step 1. The cache still answers what it can,
   and reads that need the hold of a write or several calls remain ordinary ones.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.apple.client import Apple, AppleSuccess, Outbound
from gateway.bounded import keep_latest
from gateway.cache.cache import Cache
from gateway.clock import Clock
from gateway.errors import AppleError, Cause, Unusable, UpstreamError
from gateway.model import LONGEST_VARIANT, Id, Partition, PartitionKey
from gateway.ratings.partition_read import not_cached
from gateway.ratings.query import Answer, Query
from gateway.ratings.read import Reader
from gateway.waiters import Requester, Waiters

MAX_RELAYED: Final = 1024
RELAYED_SECONDS: Final = 60.0


class RelayedPartitions:
    """Partitions for which Apple's answer was recently not a list of ratings: they are relayed at once.

    By user and type, because one user's strange answer must not turn the cache off for the others.
    """

    def __init__(self) -> None:
        self._until: OrderedDict[PartitionKey, float] = OrderedDict()

    def add(self, partition: Partition, now: float) -> None:
        """Remember a partition; `now` in monotonic seconds."""
        if len(partition.variant) <= LONGEST_VARIANT:
            keep_latest(self._until, partition.key, now + RELAYED_SECONDS, MAX_RELAYED)

    def discard(self, partition: Partition) -> None:
        """Forget a partition: its answer was a list of ratings again."""
        self._until.pop(partition.key, None)

    def has(self, partition: Partition, now: float) -> bool:
        return self._until.get(partition.key, now) > now


class RelayedRequest(msgspec.Struct, frozen=True):
    """A read as it came, which is what a relay sends to Apple."""

    path: str
    query: str
    """Without the question mark."""
    lists_ids: bool
    """Whether it asks for a list of ids. If not, its path names one id."""


class Unrated(msgspec.Struct, frozen=True):
    """Apple's answer to a relay that nothing is rated: an answer, not a failure."""

    body: bytes


RelayResult = AppleSuccess | Unrated | UpstreamError
"""What Apple answered to a relay, or why there is no answer."""


class RelayedReads:
    """Answers reads to which Apple's answer may not be a list of ratings, because of their parameters."""

    def __init__(self, reader: Reader, *, cache: Cache, apple: Apple, clock: Clock) -> None:
        self._reader = reader
        self._cache = cache
        self._apple = apple
        self._now = clock.monotonic
        self._relayed = RelayedPartitions()

    async def read(self, query: Query, request: RelayedRequest, requester: Requester) -> Answer | RelayResult:
        """Answer a query of one part as `Reader.read` does, or by what Apple answers to `request`.

        If a relay failed, and the cache lacks what the request needs, its failure is returned.
        """
        (part,) = query.parts
        if self._relayed.has(query.partition(part), self._now()):
            answered = await self._relay_at_once(query, request, requester)
            if answered is not None:
                return answered
        answer = await self._reader.read(query, requester)
        if not is_no_list(answer):
            return answer
        if not self._fits_one_call(part.ids):
            return _stand_in(
                answer, _several_calls(len(part.ids), self._apple.batch_size()), query, request, requester
            )
        sent = await self._send(query, request, requester)
        if _lists_ratings(sent, request):
            return await self._reader.read(query, requester)
        if isinstance(sent, UpstreamError):
            return _stand_in(answer, sent, query, request, requester)
        self._relayed.add(query.partition(part), self._now())
        return sent

    async def _relay_at_once(
        self, query: Query, request: RelayedRequest, requester: Requester
    ) -> Answer | RelayResult | None:
        """Answer from the cache, else by a relay, else by ratings that stand in.

        None if it is to be read like any other: because it may not call Apple, because Apple's answer is a
        list after all, or because only such a read can join several calls, or apply the hold of a write.
        """
        (part,) = query.parts
        if query.directives.only_if_cached or not self._fits_one_call(part.ids):
            return None
        cached = await self._reader.read(query, requester, unfetched=not_cached())
        if not cached.failures:
            return cached
        if await self._held(query.partition(part), part.ids):
            return None
        sent = await self._send(query, request, requester)
        if _lists_ratings(sent, request):
            return None
        if isinstance(sent, UpstreamError):
            cached = await self._reader.read(query, requester, unfetched=sent)
            return _stand_in(cached, sent, query, request, requester)
        return sent

    def _fits_one_call(self, ids: Sequence[Id]) -> bool:
        return len(ids) <= self._apple.batch_size()

    async def _held(self, partition: Partition, ids: Sequence[Id]) -> bool:
        """Whether one of the ids was written so recently that Apple may still report its old rating."""
        tiers = await self._cache.look_up(partition, ids, self._now())
        return not tiers.holds.keys().isdisjoint(ids)

    async def _send(self, query: Query, request: RelayedRequest, requester: Requester) -> RelayResult:
        """Send a read to Apple as it came. Forgets the partition if the answer is a list of ratings."""
        (part,) = query.parts
        call = Outbound(
            operation="bypass",
            method="GET",
            path=request.path,
            query=request.query,
            user=query.user,
            many=(part.kind, part.ids) if request.lists_ids else None,
        )
        sent: RelayResult
        sent = await self._apple.send(call, query.deadline, Waiters(requester))
        if isinstance(sent, AppleError) and sent.status == 404:
            # A 404 to a read that does not say "unrated" is an `Unusable`.
            sent = Unrated(sent.body)
        if _lists_ratings(sent, request):
            self._relayed.discard(query.partition(part))
        return sent


def is_no_list(answer: Answer) -> bool:
    """Whether every id that failed did so because Apple's answer is JSON, but not a list of ratings."""
    errors = [failure.error for failure in answer.failures]
    return bool(errors) and all(isinstance(error, Unusable) and error.other_shape for error in errors)


def _several_calls(ids: int, most: int) -> Unusable:
    detail = (
        "With these parameters Apple Music's answer is not a list of ratings and cannot be merged; "
        f"{ids:,} ids take several calls. Ask for at most {most} per request."
    )
    error = Unusable(detail, received_status=200)
    return error.attribute(Cause.REQUEST, stale_allowed=False)


def _lists_ratings(sent: RelayResult, request: RelayedRequest) -> bool:
    """Whether Apple answered a list of ratings after all: "unrated" is its empty list."""
    if isinstance(sent, AppleSuccess):
        return sent.lists_ratings
    return request.lists_ids and isinstance(sent, Unrated)


def _stand_in(
    answer: Answer, failed: UpstreamError, query: Query, request: RelayedRequest, requester: Requester
) -> Answer | UpstreamError:
    """Return `answer` with all calls counted, or `failed` if the request needs an id that it lacks."""
    if answer.failures and not (query.lenient and request.lists_ids):
        return failed
    counts = msgspec.structs.replace(answer.counts, calls=requester.calls)
    return msgspec.structs.replace(answer, counts=counts)
