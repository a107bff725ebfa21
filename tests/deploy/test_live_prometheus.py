"""A real Prometheus with the shipped rules: it scrapes a gateway, sees an outage, its end, and the gateway's.

Its time runs faster: every duration in the rules is divided by `FASTER`.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from aiohttp import ClientSession
from yarl import URL

from gateway.sandbox import CannedReply, Fault, Sandbox
from tests.deploy.files import RULES, document
from tests.deploy.programs import running
from tests.e2e.harness import Caller, gateway_on
from tests.ports import free_port

FASTER = 300
PAUSE = 0.02
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
DURATION = re.compile(r"(?<=\[)(\d+)([smhd])(?=\])|(?<=offset )(\d+)([smhd])\b|^(\d+)([smhd])$")

BURN = "RatingsGatewayAvailabilityBurnFast"
BREAKER = "RatingsGatewayBreakerOpen"
ABSENT = "RatingsGatewayAbsent"
DOWN = "RatingsGatewayTargetDown"

HASTY = {"upstream__attempts": 1, "upstream__breaker_open_seconds": 0.1}
EMPTY: dict[str, list[Any]] = {"result": [], "alerts": []}

pytestmark = pytest.mark.needs("prometheus")


class Alert(NamedTuple):
    severity: str
    summary: str
    runbook: str


def faster(text: str) -> str:
    """A duration, or an expression, with every duration in it divided by `FASTER`."""

    def divided(found: re.Match[str]) -> str:
        number, unit = (group for group in found.groups() if group is not None)
        return f"{int(number) * SECONDS[unit] * 1_000 // FASTER}ms"

    return DURATION.sub(divided, text)


def write_rules(path: Path, folder: Path) -> Path:
    rules = document(path)
    for group in rules["groups"]:
        for timed in (group, *group["rules"]):
            timed |= {name: faster(timed[name]) for name in ("expr", "for", "interval") if name in timed}
    written = folder / path.name
    written.write_bytes(msgspec.yaml.encode(rules))
    return written


class Prometheus:
    """Its HTTP API."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def firing(self) -> dict[str, Alert]:
        found = await self._get("alerts")
        return {
            alert["labels"]["alertname"]: Alert(
                alert["labels"]["severity"],
                alert["annotations"]["summary"],
                alert["annotations"]["runbook_url"],
            )
            for alert in found["alerts"]
            if alert["state"] == "firing"
        }

    async def firing_when(self, condition: Callable[[set[str]], bool]) -> dict[str, Alert]:
        """Wait until `condition` holds of the names of the alerts that fire."""
        async with asyncio.timeout(30):
            while not condition(set(firing := await self.firing())):  # noqa: ASYNC110 - another process
                await asyncio.sleep(PAUSE)
        return firing

    async def once(self, expression: str) -> dict[str, Alert]:
        """Wait until `expression` has a result; what fires then."""
        async with asyncio.timeout(30):
            while not (await self._get("query", query=expression))["result"]:  # noqa: ASYNC110 - the same
                await asyncio.sleep(PAUSE)
        return await self.firing()

    async def _get(self, path: str, **query: str) -> Any:
        async with self._session.get(f"{self._url}/api/v1/{path}", params=query) as response:
            # 503 while it starts.
            return (await response.json())["data"] if response.status == 200 else EMPTY


@asynccontextmanager
async def prometheus(folder: Path, target: str) -> AsyncIterator[Prometheus]:
    config = folder / "prometheus.yaml"
    job = {"job_name": "storefront", "static_configs": [{"targets": [target]}]}
    written = {
        "global": {"scrape_interval": "100ms", "scrape_timeout": "100ms", "evaluation_interval": "100ms"},
        "rule_files": [str(write_rules(path, folder)) for path in RULES],
        "scrape_configs": [job],
    }
    config.write_bytes(msgspec.yaml.encode(written))
    port = free_port()
    options = (f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={folder / 'data'}")
    async with (
        running(folder, port, "prometheus", f"--config.file={config}", *options) as url,
        ClientSession() as session,
    ):
        yield Prometheus(session, url)


@asynccontextmanager
async def traffic(caller: Caller) -> AsyncIterator[None]:
    """Reads of ids that are not cached, one after the other."""

    async def read() -> None:
        for number in count(1_000_000):
            await caller.get("albums", [number])

    reading = asyncio.create_task(read())
    try:
        yield
        assert not reading.done()
    finally:
        reading.cancel()


async def test_an_outage_of_apple_pages_ends_and_differs_from_a_missing_gateway(tmp_path):
    async with Sandbox() as sandbox, AsyncExitStack() as monitoring:
        async with gateway_on(sandbox, **HASTY) as gateway:
            target = URL(gateway.served.ops_url).authority
            seen = await monitoring.enter_async_context(prometheus(tmp_path, target))
            async with traffic(gateway):
                healthy = await seen.once("job:gateway_http_errors:ratio_rate6h == 0")
                sandbox.faults.arm(Fault(CannedReply(503)))
                outage = await seen.firing_when(lambda names: names >= {BURN, BREAKER})
                sandbox.faults.clear()
                # The slow burn rates go on for longer.
                await seen.firing_when(lambda names: names.isdisjoint({BURN, BREAKER}))
        gone = await seen.firing_when(lambda names: names >= {ABSENT, DOWN})

    assert healthy == {}
    assert (outage[BURN].severity, outage[BREAKER].severity) == ("critical", "warning")
    assert re.fullmatch(r"storefront: [\d.]+% of the requests fail; .*", outage[BURN].summary)
    assert outage[BREAKER].summary == "storefront: 1 gateway(s) have stopped calling apple."
    assert outage[BURN].runbook.endswith(f"/runbook.md#{BURN.lower()}")
    assert gone[ABSENT].summary == "storefront: no gateway is scraped any more."
    assert gone[DOWN].summary == "storefront: 1 gateway(s) do not answer the scrape."
