"""Apple's API as writes and relayed reads use it: it records what is sent and answers as a test says."""

import asyncio
from typing import cast

from gateway.apple.client import Apple, AppleSuccess, Outbound
from gateway.errors import UpstreamError
from gateway.model import User
from gateway.waiters import Waiters


class FakeApple:
    """Answers `answer`, or raises it if it is a bug, once `released`, which it is from the start."""

    def __init__(self) -> None:
        self.sent: list[Outbound] = []
        self.answer: AppleSuccess | UpstreamError | Exception = AppleSuccess(200, b"")
        self.size = 100
        self.received = asyncio.Event()
        """Set by each call."""
        self.released = asyncio.Event()
        self.released.set()
        self.refusal: UpstreamError | None = None
        """What is answered instead of asking Apple; `checks` counts for whom."""
        self.checks: list[User] = []

    @property
    def client(self) -> Apple:
        return cast(Apple, self)

    def batch_size(self) -> int:
        return self.size

    def write_refusal(self, user: User) -> UpstreamError | None:
        self.checks.append(user)
        return self.refusal

    async def send(self, call: Outbound, deadline: float, waiters: Waiters) -> AppleSuccess | UpstreamError:
        del deadline
        self.sent.append(call)
        waiters.count_try()
        self.received.set()
        await self.released.wait()
        if isinstance(self.answer, AppleSuccess | UpstreamError):
            return self.answer
        raise self.answer
