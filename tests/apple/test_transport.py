"""One exchange over real sockets: what goes out, what comes back, and how the way to Apple can fail."""

import asyncio
import gzip
import socket
import ssl
from typing import Any, NoReturn

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from gateway.apple import transport as module
from gateway.apple.answer_reader import AnswerReader
from gateway.apple.response import AppleResponse
from gateway.apple.session import Sessions
from gateway.apple.transport import Transport, connect
from gateway.errors import Unusable
from tests.apple.exchanges import ask, failed
from tests.apple.scripted import held, raw, reply, reset

KEY = ConnectionKey("apple.invalid", 443, True, True, None, None, None)


@pytest.fixture
async def apple(script, clock):
    async with connect(base_url=script.url, origin=None, max_concurrency=4, clock=clock) as transport:
        yield transport


class TestOut:
    async def test_only_what_apple_needs_goes_out(self, apple, script):
        script.otherwise = reply(200, "{}")
        await ask(apple)
        (seen,) = script.seen
        assert seen.headers.pop("host") in script.url
        assert seen.headers.pop("user-agent").startswith("ratings-gateway/")
        assert seen.headers.pop("accept-encoding")
        assert seen.headers == {
            "accept": "application/json",
            "authorization": "Bearer dev",
            "music-user-token": "user",
        }

    async def test_a_body_goes_out_as_json(self, apple, script):
        script.otherwise = reply(200, "{}")
        await ask(apple, "PUT", body=b'{"type":"rating"}')
        (seen,) = script.seen
        assert (seen.method, seen.body) == ("PUT", b'{"type":"rating"}')
        assert seen.headers["content-type"] == "application/json"

    @pytest.mark.parametrize("method", ["POST", "DELETE"])
    async def test_no_body_has_no_type(self, apple, script, method):
        script.otherwise = reply(200, "{}")
        await ask(apple, method)
        (seen,) = script.seen
        assert (seen.method, seen.body, seen.headers.get("content-type")) == (method, b"", None)

    async def test_the_origin_goes_out_where_one_is_set(self, script, clock):
        script.otherwise = reply(200, "{}")
        origin = "https://example.com"
        async with connect(base_url=script.url, origin=origin, max_concurrency=4, clock=clock) as transport:
            await ask(transport)
        assert script.seen[0].headers["origin"] == origin

    @pytest.mark.parametrize("target", ["/v1/x?ids=1,2", "/v1/x?ids=1%2C2&l=a%20b", "/v1/%7Ex?a+b=%C3%A4"])
    async def test_path_and_query_go_out_as_they_are(self, apple, script, target):
        script.otherwise = reply(200, "{}")
        await ask(apple, target=target)
        assert script.seen[0].target == target

    async def test_a_base_url_may_have_a_path_of_its_own(self, script, clock):
        script.otherwise = reply(200, "{}")
        url = script.url + "/apple/"
        async with connect(base_url=url, origin=None, max_concurrency=4, clock=clock) as transport:
            await ask(transport)
        assert script.seen[0].target == "/apple/v1/x"


class TestBack:
    async def test_status_and_body_come_back(self, apple, script):
        script.otherwise = reply(418, b"tea")
        assert await ask(apple) == AppleResponse(418, b"tea")

    async def test_retry_after_comes_back_in_seconds(self, apple, script):
        script.otherwise = reply(429, Retry_After="7")
        assert (await ask(apple)).retry_after == 7.0

    async def test_redirects_are_not_followed(self, apple, script):
        script.otherwise = reply(302, Location="/elsewhere")
        assert (await ask(apple)).status == 302
        assert len(script.seen) == 1

    async def test_a_body_beyond_the_bound_is_unusable(self, apple, script, monkeypatch):
        monkeypatch.setattr(module, "LARGEST_BODY", 10)
        script.otherwise = reply(200, b"x" * 11)
        with pytest.raises(Unusable, match="too large"):
            await ask(apple)

    async def test_a_body_of_the_bound_is_not(self, apple, script, monkeypatch):
        monkeypatch.setattr(module, "LARGEST_BODY", 10)
        script.otherwise = reply(200, b"x" * 10)
        assert len((await ask(apple)).body) == 10


class Failing:
    """A session whose requests all fail alike, before anything is sent."""

    def __init__(self, fault: BaseException) -> None:
        self._fault = fault

    def request(self, *_: object, **__: object) -> NoReturn:
        raise self._fault


class TestFaults:
    async def test_a_refused_connection_sent_nothing(self, clock):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            async with connect(base_url=url, origin=None, max_concurrency=4, clock=clock) as transport:
                failure = await failed(transport, "PUT")
        assert (failure.proxy_error, failure.sent) == ("connection_refused", False)

    async def test_no_tls_behind_https_sent_nothing(self, clock):
        async def talk(_: asyncio.StreamReader, wire: asyncio.StreamWriter) -> None:
            wire.write(b"220 mail.example.com ESMTP\r\n")
            wire.close()

        async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with connect(base_url=url, origin=None, max_concurrency=4, clock=clock) as transport:
                failure = await failed(transport)
        assert (failure.proxy_error, failure.sent) == ("tls_protocol_error", False)

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (aiohttp.ClientConnectorDNSError(KEY, OSError()), "dns_error"),
            (
                aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError()),
                "tls_certificate_error",
            ),
            (aiohttp.ClientConnectorError(KEY, OSError(113, "No route to host")), "destination_unavailable"),
            (ConnectionResetError(), "connection_terminated"),
        ],
    )
    async def test_every_fault_has_a_kind(self, clock, fault, kind):
        session: Any = Failing(fault)
        with AnswerReader() as reader:
            transport = Transport(Sessions(session, session), "https://apple.invalid", clock, reader)
            failure = await failed(transport)
        assert (failure.proxy_error, failure.sent) == (kind, False)

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
    async def test_a_broken_connection_may_have_sent_it_and_nothing_is_repeated_here(
        self, apple, script, method
    ):
        script.otherwise = reset
        failure = await failed(apple, method)
        assert (failure.proxy_error, failure.sent) == ("connection_terminated", True)
        assert len(script.seen) == 1

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
    async def test_not_even_when_a_kept_connection_breaks(self, apple, script, method):
        script.plays = [reply(200, "{}"), reset]
        await ask(apple, method)
        assert (await failed(apple, method)).sent is True
        assert [seen.connection for seen in script.seen] == [1, 1]

    async def test_an_answer_that_breaks_off(self, apple, script):
        script.otherwise = reply(200, b'{"data":[', announced=100)
        failure = await failed(apple)
        assert (failure.proxy_error, failure.sent) == ("http_response_incomplete", True)

    async def test_an_answer_that_does_not_unpack(self, apple, script):
        script.otherwise = reply(200, b"not gzip", Content_Encoding="gzip")
        assert (await failed(apple)).proxy_error == "http_response_incomplete"

    async def test_an_answer_that_is_not_http_is_unreachable(self, apple, script):
        script.otherwise = raw(b"220 mail.example.com ESMTP\r\n\r\n")
        assert (await failed(apple)).proxy_error == "http_protocol_error"

    async def test_no_answer_in_time(self, apple, script):
        script.plays = [reply(200, "{}")]
        script.otherwise = held(asyncio.Event(), reply(200, "{}"))
        await ask(apple)
        failure = await failed(apple, seconds=0.2)
        assert (failure.proxy_error, failure.sent) == ("http_response_timeout", True)
        assert failure.detail == "Apple Music did not answer in time."

    async def test_a_body_that_comes_too_slowly(self, apple, script):
        async def drip(_, wire):
            wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1")
            await asyncio.Event().wait()

        script.plays = [reply(200, "{}")]
        script.otherwise = drip
        await ask(apple)
        assert (await failed(apple, seconds=0.2)).proxy_error == "http_response_timeout"

    async def test_no_connection_in_time(self, apple, script):
        release = asyncio.Event()
        script.otherwise = held(release, reply(200, "{}"))
        others = [asyncio.create_task(ask(apple)) for _ in range(4)]
        await script.arrived(4)
        failure = await failed(apple, seconds=0.05)
        assert (failure.proxy_error, failure.sent) == ("connection_timeout", False)
        assert failure.detail == "Apple Music could not be reached: connection timeout."
        release.set()
        await asyncio.gather(*others)

    async def test_no_detail_names_a_token(self, apple, script):
        script.otherwise = reset
        detail = (await failed(apple)).detail
        assert "dev" not in detail
        assert "user" not in detail


class TestXGzip:
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
