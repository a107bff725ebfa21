"""The API listener's requests: check, parse, hand to a use case, render, log, count."""

import random
from collections.abc import Callable

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_exceptions import HTTPRequestEntityTooLarge
from aiohttp.web_protocol import RequestPayloadError
from structlog.typing import FilteringBoundLogger

from gateway.clock import Clock
from gateway.errors import GatewayError, Refused
from gateway.model import User
from gateway.ratings.query import Forward, Part, Query
from gateway.ratings.reading import Reader
from gateway.ratings.writing import Writer
from gateway.telemetry.logs import RequestLog
from gateway.telemetry.metrics import Metrics
from gateway.web.bodies import bad_body, read_parts, read_rating
from gateway.web.counting import RequestCounts
from gateway.web.exchange import Exchange
from gateway.web.headers import (
    CallerCheck,
    read_directives,
    read_timeout,
    read_user,
    wants_leniency,
)
from gateway.web.parsing import SEVERAL, Target, TargetParser
from gateway.web.rendering import (
    Reply,
    answer_label,
    answer_reply,
    error_reply,
    one_reply,
    relayed_reply,
)
from gateway.web.response import WholeResponse

MAX_BODY_BYTES = 2 * 1024 * 1024
"""10,000 of the longest ids fit into one body."""


Observe = Callable[[Exchange, Reply], None]
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
        self._counts = RequestCounts(metrics)
        self._log = log
        self._request_log = request_log
        self._observe = observe
        self.draining = False
        """While True, answers ask callers to close their connections."""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; whatever happens, in the one envelope."""
        exchange = Exchange(request.method, request.headers, self._clock.monotonic())
        try:
            reply = await self._answer(request, exchange)
        except GatewayError as error:
            exchange.error = error
            reply = error_reply(error)
        except Exception as error:  # noqa: BLE001 - a bug must cost one answer, not the connection
            self._log.exception("bug", request_id=exchange.request_id, route=exchange.route)
            exchange.error = GatewayError(f"The gateway failed: {type(error).__name__}.")
            reply = error_reply(exchange.error)
        return self._finish(exchange, reply, keep_alive=request.keep_alive)

    def refuse(self, request: web.BaseRequest, error: GatewayError) -> web.StreamResponse:
        """Answer a request that could not even be parsed as HTTP."""
        exchange = Exchange(request.method, request.headers, self._clock.monotonic())
        exchange.error = error
        return self._finish(exchange, error_reply(error), keep_alive=False)

    async def _answer(self, request: web.BaseRequest, exchange: Exchange) -> Reply:
        headers = request.headers
        target = self._parser.parse(request.method, request.raw_path)
        exchange.route = target.route
        exchange.kind = target.kind
        self._check_caller(headers)
        if target.refusal is not None:
            raise target.refusal
        user = read_user(headers)
        exchange.user = user.label
        timeout = read_timeout(headers)
        deadline = exchange.started + (self._request_timeout if timeout is None else timeout)
        if request.method in ("PUT", "DELETE") or target.bypass:
            return await self._relay(request, exchange, target, user, deadline)
        parts: tuple[Part, ...]
        if target.route == SEVERAL:
            parts, variant = read_parts(await read_body(request), max_ids=self._max_ids)
        else:
            parts, variant = target.parts, target.variant
        lenient = wants_leniency(headers)
        query = Query(user, parts, variant, read_directives(headers), lenient, deadline)
        return await self._read(query, exchange, target)

    async def _read(self, query: Query, exchange: Exchange, target: Target) -> Reply:
        exchange.ids = sum(len(part.ids) for part in query.parts)
        answer = self._reader.at_once(query) or await self._reader.read(query)
        exchange.tally = answer.tally
        exchange.cache = answer_label(answer)
        reply = one_reply(answer, target.id) if target.id is not None else answer_reply(answer)
        if query.lenient:
            reply.headers["Preference-Applied"] = "handling=lenient"
        return reply

    async def _relay(
        self, request: web.BaseRequest, exchange: Exchange, target: Target, user: User, deadline: float
    ) -> Reply:
        if target.bypass:
            forward, exchange.cache = Forward.BYPASS, "bypass"
            sending = self._writer.bypass(user, target.path, target.query, deadline)
        else:
            forward, exchange.ids = Forward.METHOD, 1
            assert target.kind is not None
            assert target.id is not None
            value = read_rating(await read_body(request)) if request.method == "PUT" else None
            sending = self._writer.write(user, target.kind, target.id, value, target.query, deadline)
        try:
            return relayed_reply(await sending, forward)
        except GatewayError as error:
            exchange.error = error
            reply = error_reply(error)
            reply.headers["Cache-Status"] = f"ratings-gateway; fwd={forward.value}"
            return reply

    def _finish(self, exchange: Exchange, reply: Reply, *, keep_alive: bool) -> web.StreamResponse:
        exchange.status = reply.status
        now = self._clock.monotonic()
        head = "".join([f"{name}: {value}\r\n" for name, value in reply.headers.items()])
        head += (
            f"X-Request-Id: {exchange.request_id}\r\n"
            f"Server-Timing: total;dur={(now - exchange.started) * 1000:.2f}\r\n"
        )
        self._counts.count(exchange, now)
        if self._observe is not None:
            self._observe(exchange, reply)
        if self._request_log is not None and (exchange.cache != Forward.HIT.value or self._sampled()):
            self._request_log(exchange.line(now))
        return WholeResponse(reply.status, head, reply.body, keep_alive=keep_alive and not self.draining)

    def _sampled(self) -> bool:
        return self._sample_hits >= 1 or random.random() < self._sample_hits  # noqa: S311 - a log sample


async def read_body(request: web.BaseRequest) -> bytes:
    """The whole body. Raises `Refused` 413 where it is too large, 400 where it cannot be read."""
    try:
        return await request.read()
    except HTTPRequestEntityTooLarge:
        raise Refused(413, "41300", "Payload Too Large", f"A body may have {MAX_BODY_BYTES} bytes.") from None
    except (web.PayloadAccessError, ClientPayloadError, RequestPayloadError, HttpProcessingError) as error:
        raise bad_body(f"The body could not be read: {type(error).__name__}.", "") from None
