"""Requests relayed to Apple: writes, favorites, and reads whose answer is not a list of ratings."""

from collections.abc import Awaitable

from gateway.apple.client import Relay
from gateway.clock import Clock
from gateway.errors import GatewayError, Unusable
from gateway.ratings.partition_read import not_cached
from gateway.ratings.query import Answer, CacheOutcome, Query, TierCounts
from gateway.ratings.write import Writer
from gateway.telemetry.recent import read_target
from gateway.waiters import Requester
from gateway.web.accepted import Accepted
from gateway.web.headers import preconditions
from gateway.web.request_record import RequestRecord
from gateway.web.response import Reply, error_reply, forwarded, relayed_reply
from gateway.web.target import Target
from gateway.web.variant import RelayedVariants


class Relays:
    """Relays requests, and renders what Apple answers."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._now = clock.monotonic
        self._variants = RelayedVariants()

    def relays(self, target: Target) -> bool:
        """Whether the answer to such a read was not a list of ratings lately."""
        return target.relayable and self._variants.has(target.variant, self._now())

    async def read(self, accepted: Accepted, query: Query) -> Reply:
        """Relay a read whose parameters make Apple's answer something other than a list of ratings."""
        record, target, requester = accepted.record, accepted.target, Requester()
        record.cache = CacheOutcome.BYPASS
        if query.directives.only_if_cached:
            raise not_cached()
        if not self._writer.fits_one_call(record.ids):
            detail = (
                "With these parameters Apple Music's answer is not a list of ratings and cannot be merged; "
            )
            raise Unusable(f"{detail}{record.ids} ids take several calls.", received_status=200)
        sending = self._writer.bypass(accepted.user, target.path, target.query, accepted.deadline, requester)
        reply = await _relayed(record, requester, sending, CacheOutcome.BYPASS)
        if reply.status == 200:
            self._variants.add(target.variant, self._now())
        return reply

    async def write(self, accepted: Accepted, value: int | None) -> Reply:
        """Rate the id in the target (1 or -1), or remove its rating (None)."""
        record, target = accepted.record, accepted.target
        assert target.kind is not None
        assert target.id is not None
        record.ids = 1
        record.again = read_target(target.kind, (target.id,))
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


async def _relayed(
    record: RequestRecord, requester: Requester, sending: Awaitable[Relay], forward: CacheOutcome
) -> Reply:
    try:
        return relayed_reply(await sending, forward)
    except GatewayError as error:
        record.fail(error)
        return error_reply(error, forwarded(forward))
    finally:
        record.tally = TierCounts(calls=requester.calls)
