"""The API listener's requests: check, parse, hand to a use case, render, log, count."""

import random
from collections.abc import Callable

import msgspec
from aiohttp import HttpVersion11, web
from structlog.typing import FilteringBoundLogger

from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.model import User, Variant
from gateway.ratings.partition_read import not_cached
from gateway.ratings.query import Answer, CacheOutcome, Part, Query, TierCounts
from gateway.ratings.read import Reader
from gateway.ratings.write import Writer
from gateway.telemetry.logs import RequestLog
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.recent import RecentErrors, read_target
from gateway.waiters import Requester
from gateway.web.access_log import AccessLog
from gateway.web.body import read_parts, read_rating
from gateway.web.headers import (
    CallerCheck,
    Headers,
    read_directives,
    read_timeout,
    read_user,
    wants_leniency,
)
from gateway.web.intake import read_body
from gateway.web.rendering import (
    Reply,
    answer_label,
    answer_reply,
    error_reply,
    failed_reply,
    forwarded,
    one_reply,
    relayed_reply,
)
from gateway.web.request_record import RequestRecord
from gateway.web.response import WholeResponse
from gateway.web.target import SEVERAL, Target, TargetParser


class Asked(msgspec.Struct, frozen=True):
    """Who asks for what, and until when (monotonic seconds)."""

    target: Target
    user: User
    deadline: float


Observe = Callable[[RequestRecord, Reply], None]
"""Whoever wants to see each request with its answer."""


class Api:
    """Answers the requests of callers."""

    def __init__(
        self,
        *,
        reader: Reader,
        writer: Writer,
        max_ids: int,
        check_caller: CallerCheck,
        request_timeout_seconds: float,
        sample_hits: float,
        clock: Clock,
        metrics: Metrics,
        log: FilteringBoundLogger,
        request_log: RequestLog | None,
        recent: RecentErrors,
        observe: Observe | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = TargetParser(max_ids=max_ids)
        self._max_ids = max_ids
        self._check_caller = check_caller
        self._request_timeout = request_timeout_seconds
        self._sample_hits = sample_hits
        self._clock = clock
        self._log = log
        self._afterwards = AccessLog(metrics, request_log)
        self._observe = observe
        self._recent = recent
        self.draining = False
        """While True, answers ask callers to close their connections."""

    def at_once(self, method: str, raw_path: str, headers: Headers) -> WholeResponse | None:
        """Answer a read from memory alone; None: `handle` it."""
        exchange = RequestRecord(method, headers, self._clock.monotonic())
        try:
            asked = self._recognise(method, raw_path, headers, exchange)
            if not asked.target.parts:
                return None
            query = self._query(asked, asked.target.parts, asked.target.variant, headers)
            answer = self._reader.at_once(query)
            if answer is None:
                return None
            reply = _reply(answer, query, asked.target, exchange)
        except Exception:  # noqa: BLE001 - refused, unrated or a bug: `handle` meets it again, and answers it
            return None
        return self._finish(exchange, reply, keep_alive=True)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; whatever happens, in the one envelope."""
        exchange = RequestRecord(request.method, request.headers, self._clock.monotonic())
        try:
            reply = await self._answer(request, exchange)
        except GatewayError as error:
            exchange.fail(error)
            reply = error_reply(error)
        except Exception as error:  # noqa: BLE001 - a bug must cost one answer, not the connection
            self._log.exception("bug", request_id=exchange.request_id, route=exchange.route)
            exchange.error = GatewayError(f"The gateway failed: {type(error).__name__}.")
            reply = error_reply(exchange.error)
        keep_alive = request.keep_alive and request.version >= HttpVersion11
        return self._finish(exchange, reply, keep_alive=keep_alive)

    def refuse(self, request: web.BaseRequest, error: GatewayError) -> web.StreamResponse:
        """Answer a request that could not even be parsed as HTTP."""
        exchange = RequestRecord(request.method, request.headers, self._clock.monotonic())
        exchange.error = error
        return self._finish(exchange, error_reply(error), keep_alive=False)

    def settle(self) -> None:
        """Count and log what was answered until now."""
        self._afterwards.flush()

    def _recognise(self, method: str, raw_path: str, headers: Headers, exchange: RequestRecord) -> Asked:
        """Who asks for what. Raises `Refused`."""
        target = self._parser.parse(method, raw_path)
        exchange.route = target.route
        exchange.kind = target.kind
        self._check_caller(headers)
        if target.refusal is not None:
            raise target.refusal.anew()
        user = read_user(headers)
        exchange.user = user.label
        timeout = read_timeout(headers)
        deadline = exchange.started + (self._request_timeout if timeout is None else timeout)
        return Asked(target, user, deadline)

    def _query(self, asked: Asked, parts: tuple[Part, ...], variant: Variant, headers: Headers) -> Query:
        return Query(
            asked.user, parts, variant, read_directives(headers), wants_leniency(headers), asked.deadline
        )

    async def _answer(self, request: web.BaseRequest, exchange: RequestRecord) -> Reply:
        asked = self._recognise(request.method, request.raw_path, request.headers, exchange)
        target = asked.target
        if request.method in ("PUT", "DELETE") or target.bypass:
            return await self._relay(request, exchange, asked)
        parts, variant = target.parts, target.variant
        if target.route == SEVERAL:
            body = await self._body(request, asked)
            parts, variant = read_parts(body, max_ids=self._max_ids)
        query = self._query(asked, parts, variant, request.headers)
        return await self._read(query, target, exchange)

    async def _read(self, query: Query, target: Target, exchange: RequestRecord) -> Reply:
        exchange.ids = sum(len(part.ids) for part in query.parts)
        exchange.again = read_target(query.parts[0].kind, query.parts[0].ids)
        return _reply(await self._reader.read(query), query, target, exchange)

    async def _body(self, request: web.BaseRequest, asked: Asked) -> bytes:
        return await read_body(request, seconds=asked.deadline - self._clock.monotonic())

    async def _relay(self, request: web.BaseRequest, exchange: RequestRecord, asked: Asked) -> Reply:
        target, user, deadline = asked.target, asked.user, asked.deadline
        requester = Requester()
        if target.bypass:
            forward, exchange.cache = CacheOutcome.BYPASS, "bypass"
            if read_directives(request.headers).only_if_cached:
                raise not_cached()
            sending = self._writer.bypass(user, target.path, target.query, deadline, requester)
        else:
            forward, exchange.ids = CacheOutcome.METHOD, 1
            assert target.kind is not None
            assert target.id is not None
            exchange.again = read_target(target.kind, (target.id,))
            value = read_rating(await self._body(request, asked)) if request.method == "PUT" else None
            sending = self._writer.write(
                user, target.kind, target.id, value, target.query, deadline, requester
            )
        try:
            return relayed_reply(await sending, forward)
        except GatewayError as error:
            exchange.fail(error)
            return error_reply(error, forwarded(forward))
        finally:
            exchange.tally = TierCounts(calls=requester.calls)

    def _finish(self, exchange: RequestRecord, reply: Reply, *, keep_alive: bool) -> WholeResponse:
        exchange.status = reply.status
        now = self._clock.monotonic()
        logged = exchange.cache != CacheOutcome.HIT or self._sampled()
        self._afterwards.add(exchange, now, logged=logged)
        if exchange.error is not None:
            self._remember(exchange, exchange.error)
        if self._observe is not None:
            self._observe(exchange, reply)
        head = (
            f"{reply.head}X-Request-Id: {exchange.request_id}\r\n"
            f"Server-Timing: total;dur={(now - exchange.started) * 1000:.2f}\r\n"
        )
        return WholeResponse(
            reply.status,
            head,
            reply.body,
            keep_alive=keep_alive and not self.draining,
            bodiless=exchange.method == "HEAD",
        )

    def _remember(self, exchange: RequestRecord, error: GatewayError) -> None:
        self._recent.add(
            error,
            request_id=exchange.request_id,
            at=self._clock.time(),
            method=exchange.method,
            route=exchange.route,
            again=exchange.again,
        )

    def _sampled(self) -> bool:
        return self._sample_hits >= 1 or random.random() < self._sample_hits  # noqa: S311 - a log sample


def _reply(answer: Answer, query: Query, target: Target, exchange: RequestRecord) -> Reply:
    exchange.ids = sum([len(part.ids) for part in query.parts])
    exchange.tally = answer.tally
    if answer.failures and not (query.lenient and target.id is None):
        exchange.fail(answer.failures[0].error)
        return failed_reply(answer)
    exchange.cache = answer_label(answer)
    if target.id is not None:
        return one_reply(answer, target.id, lenient=query.lenient)
    return answer_reply(answer, lenient=query.lenient)
