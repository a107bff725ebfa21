"""What lies between the gateway and Apple: names, proxies, and what the environment says of either."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from gateway.apple import session
from gateway.apple import transport as module
from gateway.apple.transport import connect
from gateway.errors import Unreachable, Unusable
from gateway.resolver import AddressInfo, Resolver
from tests.apple.scripted import reply
from tests.apple.test_transport import ask, failed


class Proxy:
    """A forward proxy that keeps the head of each request, and answers or tunnels as told."""

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
    assert "word" not in failure.detail


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


async def test_a_header_of_15_kib_is_taken(script, clock):
    script.otherwise = reply(200, "{}", Set_Cookie="a" * 15 * 1024)
    async with connect(base_url=script.url, origin=None, max_concurrency=1, clock=clock) as transport:
        assert (await ask(transport)).status == 200


class TestXGzip:
    @pytest.fixture
    async def apple(self, script, clock):
        async with connect(base_url=script.url, origin=None, max_concurrency=1, clock=clock) as transport:
            yield transport

    @pytest.mark.parametrize("name", ["x-gzip", "X-GZIP", "gzip"])
    async def test_it_is_unpacked(self, apple, script, name):
        script.otherwise = reply(200, gzip.compress(b'{"data":[]}'), Content_Encoding=name)
        assert (await ask(apple)).body == b'{"data":[]}'

    @pytest.mark.parametrize("body", [b"not gzip", gzip.compress(b'{"data":[]}')[:-9]], ids=["other", "cut"])
    async def test_what_does_not_unpack_is_no_answer(self, apple, script, body):
        script.otherwise = reply(200, body, Content_Encoding="x-gzip")
        assert (await failed(apple)).proxy_error == "http_response_incomplete"

    async def test_a_bomb_is_too_large(self, apple, script):
        script.otherwise = reply(
            200, gzip.compress(bytes(module.LARGEST_BODY + 1)), Content_Encoding="x-gzip"
        )
        with pytest.raises(Unusable, match="too large"):
            await ask(apple)


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
