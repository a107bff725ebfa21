"""A sandbox that listens, a client with its tokens, and a clock that only tests move."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from gateway.sandbox import ADA, Sandbox

START = 1_800_000_000.0


class HandClock:
    """Monotonic and wall time, moved by tests; sleeping is recorded and takes no time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return START + self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Answered:
    """One answer, read to its end."""

    def __init__(self, status: int, headers: Any, body: bytes, document: Any) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.document = document

    @property
    def ids(self) -> list[str]:
        return [resource["id"] for resource in self.document["data"]]

    @property
    def error(self) -> dict[str, Any]:
        (error,) = self.document["errors"]
        return dict(error)


Call = Callable[..., Awaitable[Answered]]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def sandbox(clock: HandClock) -> AsyncIterator[Sandbox]:
    async with Sandbox(clock=clock, sleep=clock.sleep) as sandbox:
        yield sandbox


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def call(sandbox: Sandbox, http: aiohttp.ClientSession) -> Call:
    """`await call("GET", "albums?ids=1", user=BEN)`: as that user, with a good developer token."""

    async def call(method: str, path: str, *, user: str | None = ADA, **options: Any) -> Answered:
        headers = {"Authorization": f"Bearer {sandbox.developer_token()}"}
        if user is not None:
            headers["Music-User-Token"] = user
        headers |= options.pop("headers", {})
        url = f"{sandbox.url}/v1/me/ratings/{path}"
        async with http.request(method, url, headers=headers, **options) as response:
            body = await response.read()
            json = response.content_type == "application/json" and body
            return Answered(response.status, response.headers, body, await response.json() if json else None)

    return call


@pytest.fixture
def control(sandbox: Sandbox, http: aiohttp.ClientSession) -> Call:
    """`await control("POST", "faults", json={…})`."""

    async def control(method: str, path: str, **options: Any) -> Answered:
        async with http.request(method, f"{sandbox.url}/_sandbox/{path}", **options) as response:
            body = await response.read()
            json = response.content_type == "application/json"
            return Answered(response.status, response.headers, body, await response.json() if json else None)

    return control
