"""The sandbox with its listener."""

from types import TracebackType
from typing import Self

from aiohttp import web

from gateway.sandbox import answers, wire
from gateway.sandbox.control import Control
from gateway.sandbox.state import SandboxState

_MAX_LINE_BYTES = 1 << 20
_MAX_BODY_BYTES = 1 << 24
_REACHABLE = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}  # noqa: S104 - nothing is bound here
_RATINGS = "/v1/me/ratings/{type}"
_SLASH = "{slash:/?}"
"""Apple ignores one at the end: its web player sends some."""


class Sandbox(SandboxState):
    """A stand-in for Apple Music's ratings API: `async with Sandbox() as sandbox: … sandbox.url`.

    It may be restarted after a stop, also on the same port; users, ratings, faults and journal stay.
    """

    _runner: web.AppRunner | None = None
    _url: str | None = None

    @property
    def url(self) -> str:
        """`http://host:port`, with a loopback host if all are bound. Raises RuntimeError before any start."""
        if self._url is None:
            raise RuntimeError("the sandbox was never started")
        return self._url

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 picks a free one.

        Raises OSError if the address is taken, RuntimeError if it listens already.
        """
        if self._runner is not None:
            raise RuntimeError("the sandbox is listening already")
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            handler_cancellation=True,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES,
            shutdown_timeout=0.1,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, reuse_address=True).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self._url = f"http://{_REACHABLE.get(host, host)}:{runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close the listener and every connection, also of calls that wait. May be repeated."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await self.serving.cancel_writes()
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=_MAX_BODY_BYTES)
        application.router.add_route("*", _RATINGS + _SLASH, self.serving.handle)
        application.router.add_route("*", _RATINGS + "/{id}" + _SLASH, self.serving.handle)
        application.router.add_route("*", "/v1/me/favorites" + _SLASH, self.serving.favorite)
        application.router.add_get("/v1/test", self.serving.test)
        application.add_routes(Control(self).routes())
        application.router.add_route("*", "/{path:.*}", self._not_found)
        return application

    async def _not_found(self, _: web.Request) -> web.Response:
        return wire.whole(self.api.refuse(answers.RESOURCE_NOT_FOUND))
