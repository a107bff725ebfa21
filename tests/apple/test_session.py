"""Connections to Apple: which are kept, names, proxies, and what the environment says of either."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from gateway.apple import session
from gateway.apple.response import AppleResponse
from gateway.apple.transport import connect
from gateway.errors import Unreachable
from gateway.resolver import AddressInfo, Resolver
from tests.apple.exchanges import ask, failed
from tests.apple.scripted import reply


class Proxy:
    """A forward proxy that keeps the head of each request, and answers or tunnels by its script."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.answer = b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.answer)
        writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
        proxy.url = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield proxy


async def test_https_goes_through_a_tunnel_and_shows_the_proxy_no_token(clock, proxy):
    async with connect(
        base_url="https://api.music.example",
        origin=None,
        max_concurrency=1,
        clock=clock,
        proxy_url=f"http://me:word@{proxy.url}",
    ) as transport:
        failure = await failed(transport, "PUT")
    (head,) = proxy.heads
    assert head.startswith(b"CONNECT api.music.example:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6d29yZA==\r\n" in head
    assert b"dev" not in head
    assert (failure.proxy_error, failure.sent) == ("destination_unavailable", False)
    assert failure.detail == "Apple Music could not be reached: the proxy answered 407."


async def test_plain_http_is_asked_of_the_proxy_itself(script, clock, proxy):
    proxy.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    async with connect(
        base_url=script.url, origin=None, max_concurrency=1, clock=clock, proxy_url=f"http://{proxy.url}"
    ) as transport:
        assert (await ask(transport)).body == b"{}"
    assert proxy.heads[0].startswith(b"GET " + script.url.encode() + b"/v1/x HTTP/1.1\r\n")
    assert script.seen == []


async def test_a_proxy_that_is_away_sent_nothing(clock, proxy):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with connect(
            base_url="https://api.music.example", origin=None, max_concurrency=1, clock=clock, proxy_url=url
        ) as transport:
            failure = await failed(transport, "PUT")
    assert (failure.proxy_error, failure.sent) == ("connection_refused", False)


async def test_neither_netrc_nor_a_proxy_of_the_environment_is_taken_here(
    script, clock, proxy, tmp_path, monkeypatch
):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password word\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.url}")
    monkeypatch.setenv("http_proxy", f"http://{proxy.url}")
    script.otherwise = reply(200, "{}")
    async with connect(base_url=script.url, origin=None, max_concurrency=1, clock=clock) as transport:
        await ask(transport)
    assert script.seen[0].headers["authorization"] == "Bearer dev"
    assert proxy.heads == []


@pytest.fixture
async def apple(script, clock):
    async with connect(base_url=script.url, origin=None, max_concurrency=4, clock=clock) as transport:
        yield transport


async def test_cookies_are_not_kept(apple, script):
    script.otherwise = reply(200, "{}", Set_Cookie="session=1; Path=/")
    await ask(apple)
    await ask(apple)
    assert "cookie" not in script.seen[1].headers


async def test_connections_are_kept(apple, script):
    script.otherwise = reply(500, "{}")
    await ask(apple)
    await ask(apple)
    assert [seen.connection for seen in script.seen] == [1, 1]


async def test_a_fresh_exchange_has_a_connection_of_its_own_that_is_not_kept(apple, script):
    script.otherwise = reply(200, "{}")
    await ask(apple)
    await ask(apple, fresh=True)
    await ask(apple, fresh=True)
    await ask(apple)
    assert [seen.connection for seen in script.seen] == [1, 2, 3, 1]


@pytest.mark.parametrize("status", [200, 408])
async def test_what_comes_unasked_is_not_taken_for_the_next_answer(apple, script, status):
    wires = []

    async def kept(_, wire):
        wires.append(wire)
        await reply(200, "{}")(_, wire)

    script.otherwise = kept
    await ask(apple)
    await reply(status, '{"data":[]}')(script.seen[0], wires[0])
    # Loopback delivers in order: what was written before has come when this is answered.
    await ask(apple, fresh=True)
    assert await ask(apple) == AppleResponse(200, b"{}")
    assert [seen.connection for seen in script.seen] == [1, 2, 3]


async def test_a_header_of_15_kib_is_taken(apple, script):
    script.otherwise = reply(200, "{}", Set_Cookie="a" * 15 * 1024)
    assert (await ask(apple)).status == 200


class Names:
    """A system resolver that answers when it is let."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0

    def __call__(self, host: str) -> Sequence[AddressInfo]:
        self.asked.append(host)
        if host == "nowhere.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]


@asynccontextmanager
async def by_name(script, clock, resolver: Resolver, host: str = "apple.invalid"):
    port = script.url.rpartition(":")[2]
    async with connect(
        base_url=f"http://{host}:{port}", origin=None, max_concurrency=2, clock=clock, resolver=resolver
    ) as transport:
        yield transport


async def test_names_are_resolved_by_our_own_resolver(script, clock):
    script.otherwise = reply(200, "{}")
    names = Names()
    async with by_name(script, clock, Resolver(names)) as transport:
        assert (await ask(transport)).status == 200
    assert names.asked == ["apple.invalid"]


async def test_a_name_that_does_not_exist_is_a_dns_error(script, clock):
    async with by_name(script, clock, Resolver(Names()), "nowhere.invalid") as transport:
        failure = await failed(transport)
    assert (failure.proxy_error, failure.sent) == ("dns_error", False)


@pytest.mark.parametrize(("resolving", "call"), [(0.05, 5.0), (5.0, 0.05)], ids=["lookup", "call"])
async def test_a_name_that_is_not_resolved_in_time_is_a_dns_timeout(
    script, clock, monkeypatch, resolving, call
):
    """Whether the lookup's own time or the call's is over first."""
    monkeypatch.setattr(session, "RESOLVE_SECONDS", resolving)
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(host: str) -> Sequence[AddressInfo]:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
        return Names()(host)

    async with by_name(script, clock, Resolver(slow)) as transport:
        with pytest.raises(Unreachable) as caught:
            await ask(transport, seconds=call)
    release.set()
    assert (caught.value.proxy_error, caught.value.sent) == ("dns_timeout", False)
