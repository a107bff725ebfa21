"""Handles one HTTP request: records it in the journal, applies faults, answers."""

import asyncio
from collections.abc import Sequence
from email.utils import formatdate
from random import Random
from weakref import WeakSet

from aiohttp import web

from gateway.clock import Clock
from gateway.sandbox import answers, wire
from gateway.sandbox.answers import SandboxAnswer
from gateway.sandbox.api import Favorites, RatingsApi, RatingsRequest
from gateway.sandbox.arming import Armed, Faults
from gateway.sandbox.faults import (
    CannedReply,
    Effect,
    Hold,
    Lag,
    Latency,
    Reset,
    Skew,
    SlowBody,
    Truncate,
    WaitPoint,
)
from gateway.sandbox.journal import Journal, RecordedCall
from gateway.sandbox.reshape import replacement, reshape, substitute
from gateway.sandbox.store import RatingStore
from gateway.sandbox.verify import TokenVerifier


class SandboxServing:
    """Handles requests to `/v1/me/ratings/…`, `/v1/me/favorites` and `/v1/test`."""

    def __init__(
        self,
        *,
        api: RatingsApi,
        store: RatingStore,
        tokens: TokenVerifier,
        faults: Faults,
        journal: Journal,
        clock: Clock,
        sleep: wire.Sleep,
        random: Random,
    ) -> None:
        self._api = api
        self._store = store
        self._tokens = tokens
        self._faults = faults
        self._journal = journal
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._writes: set[asyncio.Task[web.StreamResponse]] = set()
        self._used: WeakSet[asyncio.Transport] = WeakSet()
        """Connections that have carried a call."""

    async def handle(self, http: web.Request) -> web.StreamResponse:
        """Answer a request. A read ends when its caller disconnects; a write is completed."""
        request = wire.parsed(http, await http.read() if http.method == "PUT" else b"")
        call = self._begin(http, request)
        if http.method not in ("PUT", "DELETE"):
            return await self._recorded(http, request, call)
        return await self._completed(http, request, call)

    async def favorite(self, http: web.Request) -> web.StreamResponse:
        """Answer a request to `/v1/me/favorites`; it is completed even if its caller disconnects."""
        request = wire.favorites(http)
        call = self._journal.begin(
            method=http.method,
            path=http.path,
            kind=None,
            user=self._store.label(request.user_token) if request.user_token else "",
            ids=tuple(id_ for _, id_ in request.ids),
            many=True,
            query=wire.other_parameters(http),
            kept=self._kept(http),
        )
        return await self._completed(http, request, call)

    async def test(self, http: web.Request) -> web.StreamResponse:
        """Answer `GET /v1/test`: whether the developer token is valid."""
        call = self._journal.begin(
            method=http.method,
            path=http.path,
            kind=None,
            user="",
            ids=(),
            many=False,
            query="",
            kept=self._kept(http),
        )
        return await self._recorded(http, None, call)

    async def cancel_writes(self) -> None:
        """Cancel writes whose callers disconnected."""
        writes = tuple(self._writes)
        for write in writes:
            write.cancel()
        await asyncio.gather(*writes, return_exceptions=True)

    def _begin(self, http: web.Request, request: RatingsRequest) -> RecordedCall:
        plain = len(http.rel_url.query) == request.has_ids
        return self._journal.begin(
            method=http.method,
            path=http.path,
            kind=request.kind,
            user=self._store.label(request.user_token) if request.user_token else "",
            ids=request.ids,
            many=request.id is None,
            query="" if plain else wire.other_parameters(http),
            kept=self._kept(http),
        )

    def _kept(self, http: web.Request) -> bool:
        transport = http.transport
        kept = transport in self._used
        if transport is not None:
            self._used.add(transport)
        return kept

    async def _completed(
        self, http: web.Request, request: RatingsRequest | Favorites, call: RecordedCall
    ) -> web.StreamResponse:
        write = asyncio.get_running_loop().create_task(self._recorded(http, request, call))
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)
        return await asyncio.shield(write)

    async def _recorded(
        self, http: web.Request, request: RatingsRequest | Favorites | None, call: RecordedCall
    ) -> web.StreamResponse:
        status: int | None = None
        try:
            struck = self._faults.strike(call) if self._faults else ()
            if struck:
                call.faults = tuple(armed.id for armed in struck)
                response = await self._struck(http, request, call, struck)
            else:
                response = wire.whole(self._answer(http, request, call))
            status = None if isinstance(response, wire.NoAnswer) else response.status
            if not response.prepared:
                response.headers["Date"] = formatdate(self._clock.time() + _skew(struck), usegmt=True)
            return response
        finally:
            self._journal.end(call, status)

    def _answer(
        self,
        http: web.Request,
        request: RatingsRequest | Favorites | None,
        call: RecordedCall,
        *,
        lag: float = 0.0,
        skew: float = 0.0,
    ) -> SandboxAnswer:
        call.objection = self._tokens.objection(
            http.headers.get("Authorization"),
            origin=http.headers.get("Origin"),
            now=self._clock.time() + skew,
        )
        if call.objection is not None:
            return answers.UNAUTHORIZED
        if request is None:
            return answers.TESTED
        if isinstance(request, Favorites):
            return self._api.answer_favorites(request, now=self._clock.monotonic(), lag=lag)
        return self._api.answer(request, now=self._clock.monotonic(), lag=lag)

    async def _struck(
        self,
        http: web.Request,
        request: RatingsRequest | Favorites | None,
        call: RecordedCall,
        struck: tuple[Armed, ...],
    ) -> web.StreamResponse:
        effects = [armed.fault.effect for armed in struck]
        await self._wait(struck, "arrival")
        answer = self._outcome(http, request, call, effects)
        await self._wait(struck, "answer")
        return wire.reset(http) if answer is None else await self._delivered(http, answer, effects)

    def _outcome(
        self,
        http: web.Request,
        request: RatingsRequest | Favorites | None,
        call: RecordedCall,
        effects: Sequence[Effect],
    ) -> SandboxAnswer | None:
        instead = replacement(effects)
        if instead is None or (isinstance(instead, CannedReply | Reset) and instead.applied):
            lag = max((effect.seconds for effect in effects if isinstance(effect, Lag)), default=0.0)
            skew = sum(effect.seconds for effect in effects if isinstance(effect, Skew))
            answer = self._answer(http, request, call, lag=lag, skew=skew)
            if instead is None:
                return reshape(answer, effects, call, self._random)
        return substitute(instead, call, self._random)

    async def _wait(self, struck: tuple[Armed, ...], moment: WaitPoint) -> None:
        for armed in struck:
            effect = armed.fault.effect
            if isinstance(effect, Latency) and effect.at == moment:
                await self._sleep(effect.seconds + effect.jitter * self._random.random())
            elif isinstance(effect, Hold) and effect.at == moment:
                await armed.wait()

    async def _delivered(
        self, http: web.Request, answer: SandboxAnswer, effects: Sequence[Effect]
    ) -> web.StreamResponse:
        for effect in effects:
            if isinstance(effect, Truncate):
                return await wire.truncated(http, answer, effect)
            if isinstance(effect, SlowBody):
                return await wire.slow(http, answer, effect, self._sleep)
        return wire.whole(answer)


def _skew(struck: Sequence[Armed]) -> float:
    return sum(armed.fault.effect.seconds for armed in struck if isinstance(armed.fault.effect, Skew))
