"""The routes of the ops listener: probes, metrics, and what operators request and change."""

from collections.abc import Awaitable, Callable, Sequence

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler

from gateway.model import Id, Kind
from gateway.ops.access import OpsAccess
from gateway.ops.health import Checks, ready, verbose
from gateway.ops.pages import Pages
from gateway.ops.request_fields import kind_of, user_of
from gateway.user_token import user_tokens

PurgeRatings = Callable[[bytes, Kind | None, Sequence[Id] | None], Awaitable[bool]]
Reload = Callable[[], Awaitable["Reloaded"]]


class Reloaded(msgspec.Struct, frozen=True):
    """How a reload ended."""

    fault: str | None = None
    """What is wrong with the settings; then all old values stay in use."""
    not_applied: tuple[str, ...] = ()
    """Settings whose changed value needs a restart, those of earlier reloads included."""


class PurgeBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /-/purge`: one kind or all, these ids (of one kind) or all."""

    type: str | None = None
    ids: list[str] | None = None


class Ops:
    """The handlers of the ops listener; they reach the gateway through the given functions."""

    def __init__(
        self,
        *,
        access: OpsAccess,
        checks: Checks,
        started: Callable[[], bool],
        purge: PurgeRatings,
        pages: Pages,
        registry: CollectorRegistry,
    ) -> None:
        self.access = access
        self._checks = checks
        self._started = started
        self._purge = purge
        self._pages = pages
        self._registry = registry

    def routes(self, reload: Reload) -> list[web.RouteDef]:
        """All routes; `reload` reads the settings again and says what is wrong with them."""
        return [
            web.get("/metrics", make_aiohttp_handler(registry=self._registry)),
            web.get("/livez", _alive),
            web.get("/startupz", self._startupz),
            web.get("/readyz", self._readyz),
            *self._pages.routes(),
            web.post("/-/purge", self._purge_user),
            web.post("/-/reload", self._reloading(reload)),
        ]

    async def _startupz(self, _: web.Request) -> web.Response:
        if self._started():
            return web.Response(text="ok\n")
        return web.Response(status=503, text="the API listener accepts no connections\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        checks = self._checks(granted=self.access.granted(request))
        status = 200 if ready(checks) else 503
        if "verbose" in request.query:
            return web.Response(status=status, text=verbose(checks))
        return web.Response(status=status, text="ready\n" if status == 200 else "not ready\n")

    async def _purge_user(self, request: web.Request) -> web.Response:
        self.access.require(request)
        user = user_of(user_tokens(request.headers))
        try:
            body = msgspec.json.decode(await request.read() or b"{}", type=PurgeBody)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from None
        kind = None if body.type is None else kind_of(body.type)
        if body.ids is not None and kind is None:
            raise web.HTTPBadRequest(text="ids need a type: the same id may exist in several.\n")
        if wrong := [id_ for id_ in body.ids or () if kind is not None and not kind.admits(id_)]:
            raise web.HTTPBadRequest(text=f"Invalid {kind} ids: {', '.join(wrong[:10])}.\n")
        ids = None if body.ids is None else [Id(id_) for id_ in body.ids]
        return web.json_response({"purged": await self._purge(user.key, kind, ids)})

    def _reloading(self, reload: Reload) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            self.access.require(request)
            done = await reload()
            if done.fault is not None:
                return web.json_response({"reloaded": False, "error": done.fault}, status=500)
            if done.not_applied:
                return web.json_response({"reloaded": True, "not_applied": done.not_applied})
            return web.json_response({"reloaded": True})

        return handle


async def _alive(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")
