"""Requests relayed to Apple: writes, favorites, and reads whose answer is not a list of ratings."""

from collections.abc import Awaitable

from gateway.apple.client import Relay
from gateway.clock import Clock
from gateway.errors import Cause, GatewayError, Relayed, Unusable
from gateway.ratings.partition_read import not_cached
from gateway.ratings.query import Answer, CacheOutcome, Part, Query, TierCounts
from gateway.ratings.read import Reader
from gateway.ratings.write import Writer
from gateway.waiters import Requester
from gateway.web.accepted import Accepted
from gateway.web.headers import preconditions
from gateway.web.request_record import RequestRecord
from gateway.web.response import Reply, error_reply, forwarded, relayed_reply
from gateway.web.variant import RelayedPartitions


class Relays:
    """Relays requests, and renders what Apple answers."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._now = clock.monotonic
        self._relayed = RelayedPartitions()

    def relays(self, accepted: Accepted, query: Query) -> bool:
        """Whether Apple's answer to such a read was recently not a list of ratings."""
        return accepted.target.relayable and any(
            self._relayed.has(query.partition(part), self._now()) for part in query.parts
        )

    async def read(self, accepted: Accepted, query: Query, requester: Requester) -> Reply | Answer | None:
        """Answer a read that `relays`: from the cache, else by a relay, else by ratings that stand in.

        None if it is to be read like any other: because it may not call Apple, because Apple's answer is a
        list after all, or because only such a read can join several calls, or apply the hold of a write.
        """
        (part,) = query.parts
        if query.directives.only_if_cached or not self._writer.fits_one_call(len(part.ids)):
            return None
        cached = await self._reader.read(query, requester, unfetched=not_cached())
        if not cached.failures:
            return cached
        if await self._writer.held(query.partition(part), part.ids):
            return None
        sent = await self._send(accepted, query, requester)
        if not isinstance(sent, GatewayError):
            return sent
        cached = await self._reader.read(query, requester, unfetched=sent)
        return _fallback(accepted, query, requester, sent, cached)

    async def read_no_list(
        self, accepted: Accepted, query: Query, requester: Requester, answer: Answer
    ) -> Reply | Answer | None:
        """Relay a read whose `answer` has just failed because Apple's is not a list of ratings.

        None if it is to be read again, because Apple's answer is a list after all.
        """
        (part,) = query.parts
        sent: Reply | GatewayError | None = _several_calls(len(part.ids))
        if self._writer.fits_one_call(len(part.ids)):
            sent = await self._send(accepted, query, requester)
        if isinstance(sent, GatewayError):
            answer.counts.calls = requester.calls
            return _fallback(accepted, query, requester, sent, answer)
        if sent is not None:
            self._relayed.add(query.partition(part), self._now())
        return sent

    async def _send(
        self, accepted: Accepted, query: Query, requester: Requester
    ) -> Reply | GatewayError | None:
        """Send a read to Apple as it came, and render the answer: None if it is a list of ratings after all.

        A failure is returned as it is.
        """
        target = accepted.target
        (part,) = query.parts
        many = (part.kind, part.ids) if target.id is None else None
        relay = await _outcome(
            self._writer.bypass(accepted.user, target.path, target.query, accepted.deadline, requester, many)
        )
        # "Unrated" is the list form's answer if none of the ids is rated.
        unrated = _is_unrated(relay)
        if (many is not None and unrated) or (isinstance(relay, Relay) and relay.lists_ratings):
            self._relayed.discard(query.partition(part))
            return None
        if isinstance(relay, Relay) or unrated:
            return _bypassed(accepted.record, requester, relay)
        return relay

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
    """Whether every id that failed did so because Apple's answer is JSON, but not a list of ratings."""
    errors = [failure.error for failure in answer.failures]
    return bool(errors) and all(isinstance(error, Unusable) and error.other_shape for error in errors)


def _is_unrated(relay: Relay | GatewayError) -> bool:
    """Whether Apple answered that nothing is rated: no other 404 to a read is `Relayed`."""
    return isinstance(relay, Relayed) and relay.status == 404


def _fallback(
    accepted: Accepted, query: Query, requester: Requester, failed: GatewayError, answer: Answer
) -> Reply | Answer:
    """Answer a read whose relay `failed` by `answer`, unless the request needs an id that `answer` lacks."""
    if not answer.failures or (query.lenient and accepted.target.id is None):
        return answer
    return _bypassed(accepted.record, requester, failed)


def _bypassed(record: RequestRecord, requester: Requester, relay: Relay | GatewayError) -> Reply:
    record.cache = CacheOutcome.BYPASS
    return _rendered(record, requester, relay, CacheOutcome.BYPASS)


def _several_calls(ids: int) -> Unusable:
    detail = "With these parameters Apple Music's answer is not a list of ratings and cannot be merged; "
    error = Unusable(f"{detail}{ids} ids take several calls.", received_status=200)
    return error.attribute(Cause.REQUEST, stale_allowed=False)


async def _relayed(
    record: RequestRecord, requester: Requester, sending: Awaitable[Relay], outcome: CacheOutcome
) -> Reply:
    return _rendered(record, requester, await _outcome(sending), outcome)


async def _outcome(sending: Awaitable[Relay]) -> Relay | GatewayError:
    try:
        return await sending
    except GatewayError as error:
        return error


def _rendered(
    record: RequestRecord, requester: Requester, relay: Relay | GatewayError, outcome: CacheOutcome
) -> Reply:
    record.counts = TierCounts(calls=requester.calls)
    if isinstance(relay, Relay):
        return relayed_reply(relay, outcome)
    record.fail(relay)
    return error_reply(relay, forwarded(outcome))
