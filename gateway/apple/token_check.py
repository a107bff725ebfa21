"""Decides whether a 401 is due to the developer token or to the user: Apple sends it for both.

Apple documents 401 for a bad developer token, and on personal endpoints also for a user who is not signed in
or has no subscription. `GET /v1/test` needs the developer token alone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from gateway.apple.call import NO_HEADERS
from gateway.apple.transport import Transport
from gateway.errors import Unreachable, Unusable
from gateway.telemetry.metrics import Metrics

TEST_INTERVAL: Final = 30.0
"""Least seconds between two tests; in between, the verdict of the last one holds."""


class _Tested(NamedTuple):
    token: str
    accepted: bool | None
    at: float


class TokenCheck:
    """Evidence for and against the developer token in use.

    `test` asks Apple whether it accepts a token, and returns None if that stays open. Time is an argument.
    """

    def __init__(self, test: Callable[[str], Awaitable[bool | None]]) -> None:
        self._test = test
        self._accepted: tuple[str, float] = ("", float("-inf"))
        self._tested: _Tested | None = None
        self._testing: asyncio.Lock | None = None

    def accept(self, token: str, began: float) -> None:
        """Apple accepted `token` in a call that began at `began`."""
        if token != self._accepted[0] or began > self._accepted[1]:
            self._accepted = (token, began)

    def accepted_since(self, token: str, began: float) -> bool:
        """Whether Apple accepted `token` in a call begun after `began`, so that it was not revoked since."""
        return self._accepted[0] == token and self._accepted[1] > began

    async def verdict(self, token: str, began: float, now: Callable[[], float]) -> bool | None:
        """Whether a token that was refused in a call begun at `began` is good; None if undecided.

        Concurrent callers share one test.
        """
        if self._testing is None:
            self._testing = asyncio.Lock()
        async with self._testing:
            if self.accepted_since(token, began):
                return True
            tested = self._tested
            if tested is None or now() - tested.at >= TEST_INTERVAL:
                # Before the answer, so that a test that hangs or is cancelled is not repeated at once either.
                self._tested = _Tested(token, None, now())
                tested = self._tested = _Tested(token, await self._test(token), now())
            return tested.accepted if tested.token == token else None


class TokenTest:
    """Asks Apple for `/v1/test`, which needs a developer token alone."""

    def __init__(
        self, transport: Transport, timeout_seconds: float, now: Callable[[], float], metrics: Metrics
    ) -> None:
        self._transport = transport
        self._timeout = timeout_seconds
        self._now = now
        self._requests = metrics.upstream_requests
        self._duration = metrics.upstream_request_duration.labels("test")

    async def __call__(self, token: str) -> bool | None:
        """Whether Apple accepts `token`; None without an answer, or with one that leaves it open."""
        began = self._now()
        status: int | None = None
        try:
            answer = await self._transport.exchange(
                "GET",
                "/v1/test",
                developer_token=token,
                user_token=None,
                body=None,
                timeout=self._timeout,
                headers=NO_HEADERS,
                # A kept connection may break, and then the verdict would be open for half a minute.
                fresh=True,
            )
            status = answer.status
        except (Unreachable, Unusable) as error:
            status = error.received_status
        self._requests.labels("test", "unreachable" if status is None else str(status)).inc()
        self._duration.observe(self._now() - began)
        if status is None or status == 429 or status >= 500:
            return None
        return status != 401
