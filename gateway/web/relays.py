"""Requests relayed to Apple: writes, favorites, and reads whose answer is not a list of ratings."""

from collections.abc import Awaitable

from gateway.apple.client import Relay
from gateway.clock import Clock
from gateway.errors import Cause, GatewayError, Unusable
from gateway.ratings.partition_read import not_cached
from gateway.ratings.query import Answer, CacheOutcome, Part, Query, TierCounts
from gateway.ratings.write import Writer
from gateway.waiters import Requester
from gateway.web.accepted import Accepted
from gateway.web.headers import preconditions
from gateway.web.request_record import RequestRecord
from gateway.web.response import Reply, error_reply, forwarded, relayed_reply
from gateway.web.variant import RelayedPartitions


class Relays:
    """Relays requests, and renders what Apple answers."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._now = clock.monotonic
        self._relayed = RelayedPartitions()

    def relays(self, accepted: Accepted, query: Query) -> bool:
        """Whether Apple's answer to such a read was recently not a list of ratings."""
        return accepted.target.relayable and any(
            self._relayed.has(query.partition(part), self._now()) for part in query.parts
        )

    async def read(
        self, accepted: Accepted, query: Query, requester: Requester, *, no_list: bool = False
    ) -> Reply | None:
        """Relay a read whose parameters seem to make Apple's answer something other than a list of ratings.

        None if it is to be read like any other: because it is a list after all, or because only such a read
        can join several calls, or apply the hold of a write. `no_list`: an ordinary read of this request has
        just found that the answer is not a list.
        """
        record, target = accepted.record, accepted.target
        (part,) = query.parts
        partition = query.partition(part)
        if no_list:
            self._relayed.add(partition, self._now())
        elif not self._writer.fits_one_call(record.ids) or await self._writer.held(partition, part.ids):
            return None
        if query.directives.only_if_cached:
            raise not_cached()
        if not self._writer.fits_one_call(record.ids):
            raise _several_calls(record.ids)
        many = (part.kind, part.ids) if target.id is None else None
        relay = await _outcome(
            self._writer.bypass(accepted.user, target.path, target.query, accepted.deadline, requester, many)
        )
        if isinstance(relay, Relay) and relay.lists_ratings:
            self._relayed.discard(partition)
            return None
        record.cache = CacheOutcome.BYPASS
        return _rendered(record, requester, relay, CacheOutcome.BYPASS)

    async def write(self, accepted: Accepted, value: int | None) -> Reply:
        """Rate the id in the target (1 or -1), or remove its rating (None)."""
        record, target = accepted.record, accepted.target
        assert target.kind is not None
        assert target.id is not None
        record.ids = 1
        record.parts = (Part(target.kind, (target.id,)),)
        requester = Requester()
        sending = self._writer.write(
            accepted.user,
            target.kind,
            target.id,
            value,
            query=target.query,
            deadline=accepted.deadline,
            requester=requester,
            conditions=preconditions(accepted.headers),
        )
        return await _relayed(record, requester, sending, CacheOutcome.METHOD)

    async def favorites(self, accepted: Accepted, method: str) -> Reply:
        """Add (POST) or remove (DELETE) favorites."""
        record, target, requester = accepted.record, accepted.target, Requester()
        record.ids = len(target.favorites)
        sending = self._writer.favorites(
            accepted.user,
            method,
            target.favorites,
            query=target.query,
            deadline=accepted.deadline,
            requester=requester,
            conditions=preconditions(accepted.headers),
        )
        return await _relayed(record, requester, sending, CacheOutcome.METHOD)


def is_no_list(answer: Answer) -> bool:
    """Whether Apple answered with success, but not with ratings, for every id."""
    errors = [failure.error for failure in answer.failures]
    return bool(errors) and all(
        isinstance(error, Unusable) and error.received_status == 200 for error in errors
    )


def _several_calls(ids: int) -> Unusable:
    detail = "With these parameters Apple Music's answer is not a list of ratings and cannot be merged; "
    error = Unusable(f"{detail}{ids} ids take several calls.", received_status=200)
    return error.attribute(Cause.REQUEST, stale_allowed=False)


async def _relayed(
    record: RequestRecord, requester: Requester, sending: Awaitable[Relay], forward: CacheOutcome
) -> Reply:
    return _rendered(record, requester, await _outcome(sending), forward)


async def _outcome(sending: Awaitable[Relay]) -> Relay | GatewayError:
    try:
        return await sending
    except GatewayError as error:
        return error


def _rendered(
    record: RequestRecord, requester: Requester, relay: Relay | GatewayError, forward: CacheOutcome
) -> Reply:
    record.tally = TierCounts(calls=requester.calls)
    if isinstance(relay, Relay):
        return relayed_reply(relay, forward)
    record.fail(relay)
    return error_reply(relay, forwarded(forward))
