"""The API listener's requests: check, parse, call a use case, render, count.

`begin` does everything that needs no waiting, and answers cache hits and refusals. `run` does the rest.
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
from aiohttp import HttpVersion11, web
from structlog.typing import FilteringBoundLogger

from gateway.clock import Clock
from gateway.errors import GatewayError, Refused
from gateway.expect_header import may_withhold_body
from gateway.model import Id, Kind, User, Variant
from gateway.ratings.query import Answer, CacheOutcome, Failure, Part, Query, TierCounts
from gateway.ratings.read import Reader
from gateway.ratings.relay import RelayedReads, RelayedRequest
from gateway.ratings.write import Writer
from gateway.telemetry.logs import RequestLog
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.recent import RecentErrors, read_target
from gateway.waiters import Requester
from gateway.web.accepted import Accepted, AcceptedOther, AcceptedRead
from gateway.web.access_log import AccessLog
from gateway.web.body import read_body, read_rating, read_several
from gateway.web.headers import (
    CallerCheck,
    Headers,
    check_host,
    read_directives,
    read_timeout,
    read_user,
    wants_leniency,
)
from gateway.web.ids import invalid_ids
from gateway.web.request_record import RequestRecord
from gateway.web.response import (
    Reply,
    WholeResponse,
    answer_label,
    answer_reply,
    error_reply,
    failed_reply,
    one_reply,
)
from gateway.web.target import (
    FavoritesTarget,
    ReadTarget,
    RefusedTarget,
    SeveralTarget,
    TargetParser,
    WriteTarget,
)
from gateway.web.writes import WriteRequests, bypassed

Observe = Callable[[RequestRecord, Reply], None]
"""Called with each request and its answer."""


class Api:
    """Answers the requests of callers."""

    def __init__(
        self,
        *,
        reader: Reader,
        relayed: RelayedReads,
        writer: Writer,
        max_ids: int,
        check_caller: CallerCheck,
        request_timeout_seconds: float,
        logs_hit: Callable[[], bool],
        clock: Clock,
        metrics: Metrics,
        log: FilteringBoundLogger,
        request_log: RequestLog | None,
        recent: RecentErrors,
        observe: Observe | None = None,
    ) -> None:
        self._reader = reader
        self._relayed = relayed
        self._writes = WriteRequests(writer)
        self._parser = TargetParser(max_ids=max_ids)
        self._max_ids = max_ids
        self._check_caller = check_caller
        self._request_timeout = request_timeout_seconds
        self._logs_hit = logs_hit
        self._clock = clock
        self._log = log
        self._access_log = AccessLog(metrics, request_log)
        self._observe = observe
        self._recent = recent
        self.draining = False
        """While True, answers ask callers to close their connections."""

    async def handle(self, request: web.BaseRequest, *, last: bool) -> WholeResponse:
        """Answer a request that aiohttp has parsed; the connection can take no other if it is the `last`."""
        keep_alive = not last and request.keep_alive and request.version >= HttpVersion11
        withheld = may_withhold_body(request)
        begun = self.begin(
            request.method, request.raw_path, request.headers, keep_alive=keep_alive, withheld=withheld
        )
        return begun if isinstance(begun, WholeResponse) else await self.run(begun, request)

    def begin(
        self, method: str, raw_path: str, headers: Headers, *, keep_alive: bool = True, withheld: bool = False
    ) -> WholeResponse | Accepted:
        """Answer a request without waiting, or say what `run` has to do.

        `withheld`: the caller may never send the request's body if it is answered now.
        """
        record = RequestRecord(method, headers, self._clock.monotonic())
        try:
            accepted = self._accept(method, raw_path, headers, record, keep_alive=keep_alive)
            if not isinstance(accepted, AcceptedRead):
                return accepted
            target, answer = accepted.target, self._at_once(accepted.query)
            if answer is None:
                return accepted
            reply = _read_reply(answer, accepted.query, record, target.id, target.invalid)
        except Exception as error:  # noqa: BLE001 - every request gets an answer
            reply = self._failed(record, error)
        return self._finish(record, reply, keep_alive=keep_alive and not withheld)

    async def run(self, accepted: Accepted, request: web.BaseRequest | None) -> WholeResponse:
        """Answer an accepted request; `request` has its body, if it may have one."""
        record = accepted.record
        try:
            if isinstance(accepted, AcceptedRead):
                reply = await self._read(accepted)
            else:
                reply = await self._answer(accepted, request)
        except Exception as error:  # noqa: BLE001 - every request gets an answer
            reply = self._failed(record, error)
        except asyncio.CancelledError:  # by the end of the drain, and nothing else
            reply = self._failed(record, _cut_off(accepted))
        # What is still to come of a body, or is not, must not be taken for the next request.
        keep_alive = accepted.keep_alive
        if request is not None and not request.content.is_eof():
            keep_alive = keep_alive and record.error is None and not may_withhold_body(request)
        return self._finish(record, reply, keep_alive=keep_alive)

    def refuse(self, request: web.BaseRequest, error: GatewayError) -> WholeResponse:
        """Answer a request that could not be parsed as HTTP."""
        record = RequestRecord(request.method, request.headers, self._clock.monotonic())
        record.error = error
        return self._finish(record, error_reply(error), keep_alive=False)

    def flush(self) -> None:
        """Count and log what was answered until now."""
        self._access_log.flush()

    def _accept(
        self, method: str, raw_path: str, headers: Headers, record: RequestRecord, *, keep_alive: bool
    ) -> Accepted:
        """Check a request. Raises `Refused`."""
        target = self._parser.parse(method, raw_path)
        record.route = target.route
        record.kind = target.kind
        check_host(headers)
        self._check_caller(headers)
        # For any other target, `isinstance` would take 0.2 µs: a hundredth of a hit.
        if type(target) is RefusedTarget:
            raise target.refusal
        user = read_user(headers)
        record.user = user.label
        timeout = read_timeout(headers)
        deadline = record.started + (self._request_timeout if timeout is None else timeout)
        if not isinstance(target, ReadTarget):
            return AcceptedOther(record, target, headers, user, deadline, keep_alive)
        query = _query(user, target.parts, target.variant, headers, deadline)
        if target.invalid and not query.lenient:
            raise invalid_ids(target.kind, [id_ for _, id_ in target.invalid])
        record.ids = query.size
        return AcceptedRead(record, target, query, keep_alive)

    def _at_once(self, query: Query) -> Answer | None:
        return self._reader.at_once(query) if query.parts else _NOTHING

    async def _answer(self, accepted: AcceptedOther, request: web.BaseRequest | None) -> Reply:
        assert request is not None
        body = b""
        if request.method != "DELETE":
            body = await read_body(request, seconds=accepted.deadline - self._clock.monotonic())
        match accepted.target:
            case SeveralTarget():
                return await self._read_several(accepted, body)
            case FavoritesTarget() as target:
                return await self._writes.favorites(accepted, target, request.method)
            case WriteTarget() as target:
                value = read_rating(body) if request.method == "PUT" else None
                return await self._writes.write(accepted, target, value)

    async def _read_several(self, accepted: AcceptedOther, body: bytes) -> Reply:
        several = read_several(body, max_ids=self._max_ids)
        query = _query(accepted.user, several.parts, several.variant, accepted.headers, accepted.deadline)
        if several.refusal is not None and not query.lenient:
            raise several.refusal
        record = accepted.record
        record.ids = query.size
        record.parts = query.parts
        answer = await self._reader.read(query) if query.parts else _NOTHING
        return _read_reply(answer, query, record, None, several.invalid)

    async def _read(self, accepted: AcceptedRead) -> Reply:
        record, target, query = accepted.record, accepted.target, accepted.query
        record.parts = query.parts
        if target.relay is not None:
            return await self._read_relayable(accepted, target.relay)
        answer = await self._reader.read(query) if query.parts else _NOTHING
        return _read_reply(answer, query, record, target.id, target.invalid)

    async def _read_relayable(self, accepted: AcceptedRead, request: RelayedRequest) -> Reply:
        record, query, requester = accepted.record, accepted.query, Requester()
        answer = await self._relayed.read(query, request, requester)
        if isinstance(answer, Answer):
            return _read_reply(answer, query, record, accepted.target.id)
        return bypassed(record, requester, answer)

    def _failed(self, record: RequestRecord, error: Exception) -> Reply:
        if not isinstance(error, GatewayError):
            # A bug must cost one answer, not the connection.
            where = f"{record.method} {record.route}"
            self._log.error("bug", where=where, request_id=record.request_id, exc_info=error)
            error = GatewayError(f"The gateway failed: {type(error).__name__}.")
        record.fail(error)
        return error_reply(error)

    def _finish(self, record: RequestRecord, reply: Reply, *, keep_alive: bool) -> WholeResponse:
        record.status = reply.status
        now = self._clock.monotonic()
        logged = record.cache != CacheOutcome.HIT or self._logs_hit()
        self._access_log.add(record, now, logged=logged)
        if record.error is not None:
            self._remember(record, record.error)
        if self._observe is not None:
            self._observe(record, reply)
        head = (
            f"{reply.head}X-Request-Id: {record.request_id}\r\n"
            f"Server-Timing: total;dur={(now - record.started) * 1000:.2f}\r\n"
        )
        return WholeResponse(
            reply.status,
            head,
            reply.body,
            keep_alive=keep_alive and not self.draining,
            bodiless=record.method == "HEAD",
        )

    def _remember(self, record: RequestRecord, error: GatewayError) -> None:
        self._recent.add(
            error,
            request_id=record.request_id,
            at=self._clock.time(),
            method=record.method,
            route=record.route,
            again=read_target(record.parts[0].kind, record.parts[0].ids) if record.parts else None,
        )


def _cut_off(accepted: Accepted) -> Refused:
    detail = "The gateway is stopping, and its time to drain is over."
    if isinstance(accepted.target, WriteTarget | FavoritesTarget):
        detail += " The write may have been carried out."
    return Refused(503, "50300", "Service Unavailable", detail)


_NOTHING = Answer(b"", TierCounts(), CacheOutcome.HIT)
"""The answer to a lenient request of which no id can be of its type."""


def _query(user: User, parts: tuple[Part, ...], variant: Variant, headers: Headers, deadline: float) -> Query:
    return Query(user, parts, variant, read_directives(headers), wants_leniency(headers), deadline)


def _read_reply(
    answer: Answer,
    query: Query,
    record: RequestRecord,
    id_: Id | None,
    invalid: Sequence[tuple[Kind, str]] = (),
) -> Reply:
    """Render a read of `id_`, or of many ids of which some are `invalid`."""
    record.counts = answer.counts
    if answer.failures and not (query.lenient and id_ is None):
        record.fail(answer.failures[0].error)
        return failed_reply(answer)
    record.cache = answer_label(answer)
    if id_ is not None:
        return one_reply(answer, id_, lenient=query.lenient)
    if invalid:
        failures = [Failure(kind, Id(wrong), invalid_ids(kind, [wrong])) for kind, wrong in invalid]
        answer = msgspec.structs.replace(answer, failures=(*answer.failures, *failures))
    return answer_reply(answer, lenient=query.lenient)
