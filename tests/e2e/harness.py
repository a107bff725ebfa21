"""A gateway in front of a sandbox, both in this process, as a caller meets them."""

import asyncio
import io
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import ClientSession

from gateway.sandbox import ADA, Sandbox
from gateway.server import Serving, serving
from gateway.settings import load

ROOT = "/v1/me/ratings"


class ShiftedClock:
    """This machine's clocks plus a shift that a test sets."""

    def __init__(self) -> None:
        self.shift = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.shift

    def time(self) -> float:
        return time.time() + self.shift


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def values(self) -> dict[str, int]:
        return {item["id"]: item["attributes"]["value"] for item in self.json["data"]}

    @property
    def code(self) -> str:
        code: str = self.json["errors"][0]["code"]
        return code

    @property
    def cache(self) -> str:
        """`Cache-Status` without its name, counts and ttl."""
        line = re.sub(r"; (detail=\"[^\"]*\"|ttl=-?\d+)", "", self.headers["Cache-Status"])
        return line.removeprefix("ratings-gateway; ")

    @property
    def counts(self) -> dict[str, int]:
        found = re.findall(r"(local|shared|upstream|stale)=(\d+)", self.headers["Cache-Status"])
        return {name: int(count) for name, count in found}


class Client:
    """Calls one gateway, which may be another process."""

    def __init__(self, session: ClientSession, api_url: str, ops_url: str) -> None:
        self.session = session
        self._api_url = api_url
        self._ops_url = ops_url

    async def ask(
        self,
        method: str,
        path: str,
        *,
        user: str | None = ADA,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Reply:
        sent = dict(headers or {})
        if user is not None:
            sent["Music-User-Token"] = user
        raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        data = None if raw is None else io.BytesIO(raw)
        is_ops = path.startswith(("/-/", "/metrics", "/readyz", "/livez", "/status"))
        url = (self._ops_url if is_ops else self._api_url) + path
        async with self.session.request(method, url, headers=sent, data=data) as response:
            return Reply(response.status, response.headers, await response.read())

    async def get(self, kind: str, ids: Iterable[object], query: str = "", **more: Any) -> Reply:
        return await self.ask("GET", f"{ROOT}/{kind}?ids={','.join(map(str, ids))}{query}", **more)

    async def one(self, kind: str, id_: object, **more: Any) -> Reply:
        return await self.ask("GET", f"{ROOT}/{kind}/{id_}", **more)

    async def rate(self, kind: str, id_: object, value: int, **more: Any) -> Reply:
        body = {"type": "rating", "attributes": {"value": value}}
        return await self.ask("PUT", f"{ROOT}/{kind}/{id_}", body=body, **more)

    async def unrate(self, kind: str, id_: object, **more: Any) -> Reply:
        return await self.ask("DELETE", f"{ROOT}/{kind}/{id_}", **more)

    async def metrics(self) -> dict[str, float]:
        text = (await self.ask("GET", "/metrics")).body.decode()
        samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}


class Caller(Client):
    """Calls one gateway of this process, and may look into it."""

    def __init__(self, session: ClientSession, served: Serving, clock: ShiftedClock) -> None:
        super().__init__(session, served.api_url, served.ops_url)
        self.served = served
        self.clock = clock

    def sample(self, name: str, **labels: str) -> float:
        """A metric as it stands; 0 where it was not counted yet."""
        return self.served.gateway.metrics.registry.get_sample_value(name, labels) or 0.0


async def until(condition: Callable[[], bool]) -> None:
    """Let everything run until `condition()` holds: for what no event reports."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - no event reports it
            await asyncio.sleep(0)


def bug_logged(written: str) -> bool:
    """Whether a bug was logged: these gateways run without the commands' set-up, so lines are structlog's."""
    return re.search(r'"bug"|^\S+ \S+ \[\w+ *\] bug\b', written, re.MULTILINE) is not None


def task_names() -> set[str]:
    """Names of the tasks of all gateways in this process; tests and libraries do not name theirs."""
    return {name for task in asyncio.all_tasks() if not (name := task.get_name()).startswith("Task-")}


async def stored() -> None:
    """Wait until what was fetched is in Redis: that is done after the answer."""
    await until(lambda: "fill" not in task_names())


def environment(sandbox: Sandbox, **settings: object) -> dict[str, str]:
    """Variables for a gateway on that sandbox; `cache__fresh_seconds=1` sets one more."""
    credentials = sandbox.credentials
    return {
        "GATEWAY_APPLE__BASE_URL": sandbox.url,
        "GATEWAY_APPLE__TEAM_ID": credentials.team_id,
        "GATEWAY_APPLE__KEY_ID": credentials.key_id,
        "GATEWAY_APPLE__PRIVATE_KEY": credentials.private_key_pem,
        "GATEWAY_SERVER__PORT": "0",
        "GATEWAY_OPS__PORT": "0",
        "GATEWAY_SERVER__DRAIN_SECONDS": "0.05",
        "GATEWAY_CACHE__JITTER": "0",
    } | {f"GATEWAY_{name.upper()}": str(value) for name, value in settings.items()}


@asynccontextmanager
async def gateway_on(
    sandbox: Sandbox, clock: ShiftedClock | None = None, /, **settings: object
) -> AsyncIterator[Caller]:
    """A gateway with these settings besides the defaults, on a clock that the test may shift."""
    clock = clock or ShiftedClock()
    loaded = load(None, environment(sandbox, **settings))
    async with ClientSession() as session, serving(loaded, clock=clock) as served:
        yield Caller(session, served, clock)
