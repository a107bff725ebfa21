"""The proxies that README.md and docs/deploy.md show, run in front of gateways as they are written there."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from aiohttp import ClientSession, web
from yarl import URL

from gateway.sandbox import Sandbox
from tests.deploy import proxies
from tests.deploy.proxies import GUIDE, README, block
from tests.e2e.harness import Caller, Client, gateway_on
from tests.e2e.processes import process

TOKEN_HEADERS = ("Music-User-Token", "Media-User-Token")
USERS = [f"user-{number}" for number in range(24)]
MANY = [str(number) for number in range(1_000_000_000, 1_000_010_000)]
PATHS = [
    pytest.param("nginx", marks=pytest.mark.needs("nginx")),
    pytest.param(
        "envoy",
        marks=pytest.mark.skipif(proxies.envoy_program() is None, reason="not installed: envoy"),
    ),
]
BALANCERS = [*PATHS, pytest.param("haproxy", marks=pytest.mark.needs("haproxy"))]


class Apple(NamedTuple):
    """What stands in for the rest of Apple Music: it answers 404 and keeps what it was asked."""

    port: int
    asked: list[web.Request]


@pytest.fixture
async def apple() -> AsyncIterator[Apple]:
    asked: list[web.Request] = []

    async def keep(request: web.Request) -> web.Response:
        asked.append(request)
        return web.Response(status=404)

    runner = web.ServerRunner(web.Server(keep))  # type: ignore[arg-type]
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield Apple(runner.addresses[0][1], asked)
    await runner.cleanup()


def port_of(url: str) -> int:
    port = URL(url).port
    assert port is not None
    return port


def by_path(proxy: str, folder: Path, gateway: Caller, apple: Apple) -> AbstractAsyncContextManager[str]:
    """README's proxy: ratings and favorites to the gateway, everything else to Apple."""
    port = port_of(gateway.served.api_url)
    if proxy == "nginx":
        written = block(README, "nginx", "ratings|favorites")
        replaced = written.replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace(
            "https://api.music.apple.com", f"http://127.0.0.1:{apple.port}"
        )
        return proxies.nginx(folder, replaced)
    routes = msgspec.yaml.decode(block(README, "yaml", "ratings-gateway").encode())["routes"]
    clusters = [proxies.cluster("ratings-gateway", port), proxies.cluster("apple-music", apple.port)]
    return proxies.envoy(folder, routes, clusters)


def by_user(proxy: str, folder: Path, gateways: Iterable[Caller]) -> AbstractAsyncContextManager[str]:
    """The guide's proxy in front of a shared deployment."""
    return balancer(proxy, folder, [(one.served.api_url, one.served.ops_url) for one in gateways])


def balancer(proxy: str, folder: Path, urls: Iterable[tuple[str, str]]) -> AbstractAsyncContextManager[str]:
    """The same in front of gateways with these URLs of API and ops listener."""
    addresses = [(port_of(api), port_of(ops)) for api, ops in urls]
    if proxy == "envoy":
        written = msgspec.yaml.decode(block(GUIDE, "yaml", "RING_HASH").encode())
        (cluster,) = written["clusters"]
        ours = proxies.cluster(cluster["name"], *(api for api, _ in addresses))
        return proxies.envoy(
            folder, written["routes"], [cluster | {"load_assignment": ours["load_assignment"]}]
        )
    example = block(GUIDE, proxy, "consistent")
    for number, (api, ops) in enumerate(addresses, 1):
        example = re.sub(rf"(gateway-{number}:8080 check port) 8081", rf"\1 {ops}", example)
        example = example.replace(f"gateway-{number}:8080", f"127.0.0.1:{api}")
    return {"nginx": proxies.nginx, "haproxy": proxies.haproxy}[proxy](folder, example)


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Client]:
    async with ClientSession() as session:
        yield Client(session, url, url)


@asynccontextmanager
async def sandbox_with_users() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        for user in USERS:
            sandbox.store.add_user(user, ratings={})
        yield sandbox


async def requests_of(gateway: Caller) -> float:
    found = await gateway.metrics()
    return sum(count for name, count in found.items() if name.startswith("gateway_http_requests_total"))


@pytest.mark.parametrize("proxy", PATHS)
async def test_a_client_with_one_base_url_reaches_the_gateway_for_ratings_and_apple_for_the_rest(
    proxy, apple, tmp_path
):
    async with (
        Sandbox() as sandbox,
        gateway_on(sandbox) as gateway,
        by_path(proxy, tmp_path, gateway, apple) as url,
        client(url) as caller,
    ):
        headers = {"Authorization": "Bearer developer-token"}
        read = await caller.get("albums", ["1138988512"], headers=headers)
        liked = await caller.ask("POST", "/v1/me/favorites?ids[albums]=1138988512", headers=headers)
        rest = ["/v1/me/ratingsx", "/v1/catalog/us/albums/1?l=en", "/v1/me/library/albums"]
        elsewhere = [await caller.ask("GET", path, headers=headers) for path in rest]

    assert (read.values, read.cache) == ({"1138988512": 1}, "fwd=miss; stored")
    assert (liked.status, liked.cache) == (202, "fwd=method")
    assert {reply.status for reply in elsewhere} == {404}
    assert [one.path_qs for one in apple.asked] == rest
    assert {one.headers["Host"] for one in apple.asked} == {"api.music.apple.com"}
    assert {one.headers["Authorization"] for one in apple.asked} == {"Bearer developer-token"}


@pytest.mark.parametrize("proxy", PATHS)
async def test_ten_thousand_ids_pass_in_one_request_line(proxy, apple, tmp_path):
    async with (
        Sandbox() as sandbox,
        gateway_on(sandbox) as gateway,
        by_path(proxy, tmp_path, gateway, apple) as url,
        client(url) as caller,
    ):
        assert (await caller.get("albums", MANY)).status == 200


@pytest.mark.parametrize("proxy", BALANCERS)
async def test_each_user_is_routed_to_one_gateway_with_either_token_header(proxy, tmp_path):
    async with (
        sandbox_with_users() as sandbox,
        gateway_on(sandbox) as one,
        gateway_on(sandbox) as other,
        by_user(proxy, tmp_path, [one, other]) as url,
        client(url) as caller,
    ):
        for user in USERS:
            for expected in ("fwd=miss; stored", "hit", "hit"):
                for header in TOKEN_HEADERS if expected == "hit" else TOKEN_HEADERS[:1]:
                    reply = await caller.get("albums", ["1", "2"], user=None, headers={header: user})
                    assert reply.cache == expected
        assert min(await requests_of(one), await requests_of(other)) > 0


@pytest.mark.parametrize("proxy", BALANCERS)
async def test_a_gateway_that_is_gone_costs_no_user_an_answer(proxy, tmp_path):
    async with AsyncExitStack() as living, AsyncExitStack() as dying:
        sandbox = await living.enter_async_context(sandbox_with_users())
        one = await living.enter_async_context(gateway_on(sandbox))
        other = await dying.enter_async_context(gateway_on(sandbox))
        url = await living.enter_async_context(by_user(proxy, tmp_path, [one, other]))
        caller = await living.enter_async_context(client(url))
        assert (await caller.get("albums", MANY)).status == 200

        await dying.aclose()

        replies = [await caller.get("albums", ["1"], user=user) for user in USERS]
    assert [reply.status for reply in replies] == [200] * len(USERS)


@pytest.mark.parametrize("proxy", BALANCERS)
async def test_a_gateway_that_drains_fails_no_request(proxy, tmp_path):
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(sandbox_with_users())
        enter = stack.enter_async_context
        # Nobody reads their output meanwhile.
        settings = {"server__drain_delay_seconds": 1, "log__sample_hits": 0}
        gateways = [await enter(process(sandbox, None, **settings)) for _ in range(2)]
        url = await enter(balancer(proxy, tmp_path, [(one.api, one.ops) for one in gateways]))
        caller = await enter(client(url))
        _, leaving = gateways

        leaving.process.terminate()
        ended = asyncio.create_task(leaving.line("stopped"))
        answered, failed = 0, []
        while not ended.done() or answered % len(USERS):
            reply = await caller.get("albums", ["1"], user=USERS[answered % len(USERS)])
            answered += 1
            if reply.status != 200:
                failed.append(reply)

    assert failed == []
    assert answered > len(USERS)
