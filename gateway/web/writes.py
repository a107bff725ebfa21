"""Writes and favorites. Also renders what Apple answered to them, and to reads that were relayed."""

from gateway.apple.client import AppleSuccess
from gateway.errors import UpstreamError
from gateway.ratings.query import CacheOutcome, Part, TierCounts
from gateway.ratings.relay import RelayResult, Unrated
from gateway.ratings.write import Writer
from gateway.waiters import Requester
from gateway.web.accepted import AcceptedOther
from gateway.web.headers import preconditions
from gateway.web.request_record import RequestRecord
from gateway.web.response import Reply, error_reply, forwarded, success_reply, unrated_reply
from gateway.web.target import FavoritesTarget, WriteTarget


class WriteRequests:
    """Sends writes and favorites, and renders what Apple answers."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def write(self, accepted: AcceptedOther, target: WriteTarget, value: int | None) -> Reply:
        """Rate the id in the target (1 or -1), or remove its rating (None)."""
        record, requester = accepted.record, Requester()
        record.ids = 1
        record.parts = (Part(target.kind, (target.id,)),)
        answer = await self._writer.write(
            accepted.user,
            target.kind,
            target.id,
            value,
            query=target.query,
            deadline=accepted.deadline,
            requester=requester,
            conditions=preconditions(accepted.headers),
        )
        return rendered(record, requester, answer, CacheOutcome.METHOD)

    async def favorites(self, accepted: AcceptedOther, target: FavoritesTarget, method: str) -> Reply:
        """Add (POST) or remove (DELETE) favorites."""
        record, requester = accepted.record, Requester()
        record.ids = len(target.ids)
        answer = await self._writer.favorites(
            accepted.user,
            method,
            target.ids,
            query=target.query,
            deadline=accepted.deadline,
            requester=requester,
            conditions=preconditions(accepted.headers),
        )
        return rendered(record, requester, answer, CacheOutcome.METHOD)


def bypassed(record: RequestRecord, requester: Requester, answer: RelayResult) -> Reply:
    """Render a relayed read, and record that it bypassed the cache."""
    record.cache = CacheOutcome.BYPASS
    if isinstance(answer, Unrated):
        record.counts = TierCounts(calls=requester.calls)
        return unrated_reply(answer.body, forwarded(CacheOutcome.BYPASS))
    return rendered(record, requester, answer, CacheOutcome.BYPASS)


def rendered(
    record: RequestRecord, requester: Requester, answer: AppleSuccess | UpstreamError, outcome: CacheOutcome
) -> Reply:
    """Render what Apple answered, and record the calls that were made and the failure."""
    record.counts = TierCounts(calls=requester.calls)
    if isinstance(answer, AppleSuccess):
        return success_reply(answer, outcome)
    record.fail(answer)
    return error_reply(answer, forwarded(outcome))
