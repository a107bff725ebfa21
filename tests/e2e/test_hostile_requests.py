"""Raw bytes against the API listener: no 500, no logged bug, and other callers are served."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from gateway.sandbox import ADA, Hold, Latency
from gateway.web import heads, listener, timers
from tests.e2e.harness import Caller, bug_logged, gateway_on

TOKEN = b"Music-User-Token: " + ADA.encode() + b"\r\n"
HEADERS = b"Host: gateway\r\n" + TOKEN
MANY = b"/v1/me/ratings/albums?ids=1138988512"
ONE = b"/v1/me/ratings/albums/1138988512"
RATING = b'{"type":"rating","attributes":{"value":1}}'


class Raw(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Line:
    """A connection on which a test says what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        assert isinstance(writer.transport, asyncio.Transport)
        self._transport = writer.transport

    def pause(self) -> None:
        """Read nothing more."""
        self._transport.pause_reading()

    def resume(self) -> None:
        self._transport.resume_reading()

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self, *, bodiless: bool = False) -> Raw:
        """The next answer."""
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            headers = dict(line.split(": ", 1) for line in head[1:-1])
            length = 0 if bodiless else int(headers.get("Content-Length", 0))
            return Raw(int(head[0].split()[1]), headers, await self.reader.readexactly(length))

    async def ended(self) -> bytes:
        """What is said until the other side has closed."""
        async with asyncio.timeout(10):
            return await self.reader.read()


@asynccontextmanager
async def line(gateway: Caller) -> AsyncIterator[Line]:
    port = int(gateway.served.api_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


def request(
    method: bytes, target: bytes, *headers: bytes, body: bytes = b"", version: bytes = b"1.1"
) -> bytes:
    said = b"".join(header + b"\r\n" for header in headers)
    return b"%b %b HTTP/%b\r\n%b%b\r\n%b" % (method, target, version, HEADERS, said, body)


def put(*headers: bytes, body: bytes = RATING) -> bytes:
    return request(b"PUT", ONE, *headers, body=body)


def sized(body: bytes) -> bytes:
    return b"Content-Length: %d" % len(body)


GET = request(b"GET", MANY)
CHUNKED = b"Transfer-Encoding: chunked"
SMUGGLED = b"0\r\n\r\n" + request(b"DELETE", ONE)

REFUSED = {
    "CL and TE": (put(b"Content-Length: 5", CHUNKED, body=SMUGGLED), 400),
    "TE and CL": (put(CHUNKED, b"Content-Length: 5", body=SMUGGLED), 400),
    "two lengths": (put(b"Content-Length: 42", b"Content-Length: 43"), 400),
    "the same length twice": (put(b"Content-Length: 42", b"Content-Length: 42"), 400),
    "a list of lengths": (put(b"Content-Length: 42, 42"), 400),
    "a negative length": (put(b"Content-Length: -1"), 400),
    "a signed length": (put(b"Content-Length: +42"), 400),
    "a length beyond all numbers": (put(b"Content-Length: 99999999999999999999999"), 400),
    "a length beyond the bound": (put(b"Content-Length: 2097153"), 413),
    "an unknown transfer coding": (put(b"Transfer-Encoding: xchunked", body=SMUGGLED), 400),
    "a blank before the colon": (put(b"Transfer-Encoding : chunked", body=SMUGGLED), 400),
    "chunked twice over": (put(CHUNKED, b"Transfer-Encoding: identity", body=SMUGGLED), 400),
    "a chunk of no size": (put(CHUNKED, body=b"zz\r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk size with a sign": (put(CHUNKED, body=b"-1\r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk that is longer than it says": (put(CHUNKED, body=b"1\r\nabc\r\n0\r\n\r\n"), 400),
    "a folded header": (request(b"GET", MANY, b"X-A: b\r\n c"), 400),
    "bare line feeds": (GET.replace(b"\r\n", b"\n"), 400),
    "bare carriage returns": (GET.replace(b"\r\n", b"\r"), 400),
    "a NUL in a header": (request(b"GET", MANY, b"X-A: \0"), 400),
    "a header without a colon": (request(b"GET", MANY, b"X-A"), 400),
    "two Host headers": (request(b"GET", MANY, b"Host: other"), 400),
    "two user tokens": (request(b"GET", MANY, b"Music-User-Token: other"), 400),
    "no Host": (GET.replace(b"Host: gateway\r\n", b""), 400),
    "a broken absolute form": (request(b"GET", b"http://[::1" + MANY), 400),
    "a port that is none": (request(b"GET", b"http://a:99999999/"), 400),
    "an unknown method": (request(b"BREW", MANY), 400),
    "an unknown version": (request(b"GET", MANY, version=b"1.9"), 400),
    "HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": (bytes.fromhex("16030100a5010000a10303") + bytes(99), 400),
    "bytes beyond ASCII in the target": (request(b"GET", b"/v1/me/ratings/albums?ids=\xff\xfe"), 400),
    "bytes beyond ASCII in the token": (GET.replace(ADA.encode(), b"\xff\xfe"), 403),
    "escapes that are none": (request(b"GET", b"/v1/me/ratings/albums/%00%ff%zz"), 400),
    "dots in the path": (request(b"GET", b"/v1/me/ratings/albums/../../x"), 404),
    "escaped slashes in an id": (request(b"DELETE", b"/v1/me/ratings/library-albums/l.%2e%2e%2fx"), 400),
    "another path": (request(b"OPTIONS", b"*"), 404),
    "CONNECT": (request(b"CONNECT", b"example.com:443"), 404),
    "TRACE": (request(b"TRACE", MANY), 405),
    "OPTIONS": (request(b"OPTIONS", MANY), 405),
    "a target over the bound": (request(b"GET", MANY + b"1" * heads.MAX_TARGET_BYTES), 414),
    "a target without an end": (b"GET /" + b"1" * heads.MAX_TARGET_BYTES * 2, 414),
    "a header over the bound": (request(b"GET", MANY, b"X: " + b"a" * 2 * heads.MAX_HEADER_BYTES), 431),
    "too many headers": (request(b"GET", MANY, *[b"X-%d: a" % n for n in range(heads.MAX_HEADERS)]), 431),
    "deep JSON": (put(b"Content-Length: 100000", body=b"[" * 100_000), 400),
    "a lone surrogate": (put(b"Content-Length: 16", body=b'{"type":"\\ud800"'), 400),
    "a compressed body": (
        put(b"Content-Encoding: gzip", sized(gzip.compress(RATING)), body=gzip.compress(RATING)),
        415,
    ),
    "a body that is not gzip": (put(b"Content-Encoding: gzip", b"Content-Length: 3", body=b"abc"), 415),
    "a bomb": (
        put(b"Content-Encoding: gzip", b"Content-Length: 9999", body=gzip.compress(bytes(9_000_000))[:9999]),
        415,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_malformed_requests_are_refused_in_the_envelope(gateway, sandbox, capfd, caplog, name):
    data, status = REFUSED[name]
    async with line(gateway) as caller:
        await caller.say(data)
        reply = await caller.hear()
    assert reply.status == status
    (error,) = json.loads(reply.body)["errors"]
    assert error["status"] == str(status)
    assert ADA not in reply.body.decode()
    assert sandbox.calls.total == 0
    assert (await gateway.get("albums", [1138988512])).status == 200
    unlogged(capfd, caplog)


def unlogged(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """Neither a bug nor a traceback was logged, nor the user's token, and nothing by aiohttp."""
    written = "".join(capfd.readouterr())
    assert "Traceback" not in written
    assert not bug_logged(written)
    assert ADA not in written
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


ACCEPTED = {
    "a plain read": GET,
    "absolute form": request(b"GET", b"http://api.music.apple.com" + MANY),
    "empty lines before it": b"\r\n\r\n" + GET,
    "a read with a body": request(b"GET", MANY, b"Content-Length: 4", body=b"abcd"),
    "a read with a chunked body": request(b"GET", MANY, CHUNKED, body=b"4\r\nabcd\r\n0\r\n\r\n"),
    "an upgrade that is not taken": request(b"GET", MANY, b"Connection: Upgrade", b"Upgrade: websocket"),
    "a huge chunk extension": put(CHUNKED, body=b"2a;%b\r\n%b\r\n0\r\n\r\n" % (b"a" * 300_000, RATING)),
    "trailers": put(CHUNKED, body=b"2a\r\n%b\r\n0\r\nX-A: b\r\n\r\n" % RATING),
    "an unknown expectation": request(b"GET", MANY, b"Expect: tea"),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
@pytest.mark.parametrize("pieces", [1, 7])
async def test_unusual_but_valid_requests_are_answered_and_the_connection_is_kept(
    gateway, capfd, caplog, name, pieces
):
    data = ACCEPTED[name]
    step = len(data) // pieces + 1
    async with line(gateway) as caller:
        for start in range(0, len(data), step):
            await caller.say(data[start : start + step])
        assert (await caller.hear()).status == 200
        await caller.say(GET)
        assert (await caller.hear()).status == 200
    unlogged(capfd, caplog)


async def test_a_request_that_comes_byte_by_byte_is_answered_hit_or_not(gateway):
    async with line(gateway) as caller:
        for _ in range(2):
            for at in range(len(GET)):
                await caller.say(GET[at : at + 1])
            assert (await caller.hear()).status == 200


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("wanted", [b"close", b"keep-alive"])
async def test_a_connection_is_closed_for_http_1_0_and_on_request(gateway, version, wanted):
    kept = version == b"1.1" and wanted == b"keep-alive"
    for _ in range(2):
        async with line(gateway) as caller:
            await caller.say(request(b"GET", MANY, b"Connection: " + wanted, version=version))
            reply = await caller.hear()
            assert (reply.status, reply.headers.get("Connection")) == (200, None if kept else "close")
            if not kept:
                assert await caller.ended() == b""


async def test_pipelined_requests_are_answered_in_order_hits_and_misses_mixed(gateway, sandbox):
    await gateway.get("albums", [1, 2, 3])
    sandbox.faults.add(Latency(0.02))
    wanted = [1, 4, 2, 5, 3, 1, 6]
    async with line(gateway) as caller:
        said = [
            request(b"GET", b"/v1/me/ratings/albums?ids=%d" % n, b"X-Request-Id: r%d" % n) for n in wanted
        ]
        await caller.say(b"".join(said))
        replies = [await caller.hear() for _ in wanted]
    assert [reply.headers["X-Request-Id"] for reply in replies] == [f"r{n}" for n in wanted]
    assert [reply.status for reply in replies] == [200] * len(wanted)


async def test_a_hit_sent_behind_a_miss_waits_for_it(gateway, sandbox):
    await gateway.get("albums", [1138988512])
    held = sandbox.faults.add(Hold())
    async with line(gateway) as caller:
        await caller.say(request(b"GET", b"/v1/me/ratings/albums?ids=77", b"X-Request-Id: miss"))
        await held.reached()
        await caller.say(request(b"GET", MANY, b"X-Request-Id: hit"))
        held.release()
        assert [(await caller.hear()).headers["X-Request-Id"] for _ in range(2)] == ["miss", "hit"]


async def test_a_smuggled_request_is_not_carried_out(gateway, sandbox):
    async with line(gateway) as caller:
        await caller.say(put(b"Content-Length: 5", CHUNKED, body=SMUGGLED))
        assert (await caller.hear()).status == 400
        assert await caller.ended() == b""
    assert sandbox.calls.total == 0


async def test_expect_100_continue_is_answered_before_the_body(gateway):
    async with line(gateway) as caller:
        await caller.say(put(sized(RATING), b"Expect: 100-continue", body=b""))
        assert await caller.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await caller.say(RATING)
        assert (await caller.hear()).status == 200


async def test_the_connection_is_closed_after_a_refusal_that_does_not_wait_for_the_body(gateway):
    """The caller may send the body or not: the next request would be taken for it."""
    async with line(gateway) as caller:
        unknown = put(sized(RATING), b"Expect: 100-continue", body=b"").replace(b"/albums/", b"/movies/")
        await caller.say(unknown)
        refusal = await caller.hear()
        assert (refusal.status, refusal.headers.get("Connection")) == (400, "close")
        assert await caller.ended() == b""


@pytest.mark.parametrize("refused", [b"Content-Length: 2097153", b"Content-Encoding: gzip"])
async def test_the_connection_is_closed_after_a_body_that_is_not_read(gateway, refused):
    async with line(gateway) as caller:
        extra = () if refused.startswith(b"Content-Length") else (b"Content-Length: 42",)
        await caller.say(put(refused, *extra, body=b"{"))
        assert (await caller.hear()).headers.get("Connection") == "close"


async def test_a_refusal_whose_body_is_on_its_way_does_not_cost_the_connection(gateway):
    async with line(gateway) as caller:
        await caller.say(put(sized(RATING), body=b"").replace(b"/albums/", b"/movies/"))
        assert (await caller.hear()).status == 400
        await caller.say(RATING + GET)
        assert (await caller.hear()).status == 200


async def test_a_caller_of_http_1_0_is_not_asked_to_continue(gateway):
    async with line(gateway) as caller:
        expects = (sized(RATING), b"Expect: 100-continue")
        await caller.say(request(b"PUT", ONE, *expects, body=RATING, version=b"1.0"))
        assert (await caller.hear()).status == 200


async def test_a_head_request_has_no_body_and_does_not_spoil_the_connection(gateway):
    async with line(gateway) as caller:
        await caller.say(request(b"HEAD", MANY) + GET)
        assert (await caller.hear(bodiless=True)).status == 200
        assert (await caller.hear()).status == 200


@pytest.mark.parametrize("target", [MANY, b"/v1/me/ratings/albums?ids=99"], ids=["hit", "miss"])
async def test_a_half_closed_connection_still_gets_its_answers(gateway, target):
    await gateway.get("albums", [1138988512])
    async with line(gateway) as caller:
        await caller.say(request(b"GET", target) * 2)
        caller.writer.write_eof()
        assert [(await caller.hear()).status for _ in range(2)] == [200, 200]
        assert await caller.ended() == b""


async def test_a_caller_that_leaves_in_the_middle_of_its_body_is_not_logged_as_a_bug(
    gateway, sandbox, capfd, caplog
):
    for _ in range(3):
        async with line(gateway) as caller:
            await caller.say(put(b"Content-Length: 42", body=b"{"))
            await turns()
    assert (await gateway.get("albums", [1])).status == 200
    assert sandbox.calls.total == 1
    unlogged(capfd, caplog)


async def turns() -> None:
    """Let the loop turn until what was sent has come; loopback needs a few turns."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_body_that_is_slow_to_come_is_given_up_at_the_requests_deadline(gateway, sandbox):
    async with line(gateway) as caller:
        await caller.say(put(b"Content-Length: 42", b"X-Request-Timeout-Ms: 50", body=b"{"))
        reply = await caller.hear()
        assert (reply.status, json.loads(reply.body)["errors"][0]["code"]) == (504, "50400")
    assert sandbox.calls.total == 0


@pytest.mark.parametrize(
    "later", [b"zz\r\n", b"1\r\nabc", b"0\r\nX\0: a\r\n\r\n"], ids=["size", "end", "trailer"]
)
async def test_a_body_that_turns_out_broken_is_refused_at_once(gateway, sandbox, capfd, caplog, later):
    async with line(gateway) as caller:
        await caller.say(put(CHUNKED, body=b"1\r\n{\r\n"))
        await turns()
        await caller.say(later)
        reply = await caller.hear()
        assert (reply.status, json.loads(reply.body)["errors"][0]["code"]) == (400, "40006")
        assert await caller.ended() == b""
    assert sandbox.calls.total == 0
    unlogged(capfd, caplog)


@pytest.mark.parametrize("said", [b"", GET], ids=["first", "later"])
async def test_headers_that_are_slow_to_come_cost_the_connection(gateway, monkeypatch, said):
    monkeypatch.setattr(timers, "HEAD_SECONDS", 0.05)
    async with line(gateway) as caller:
        if said:
            await caller.say(said)
            await caller.hear()
        await caller.say(b"GET / HTTP/1.1\r\nX-A: ")
        assert await caller.ended() == b""


async def test_headers_that_come_in_time_do_not(gateway, monkeypatch):
    monkeypatch.setattr(timers, "HEAD_SECONDS", 0.05)
    async with line(gateway) as caller:
        await caller.say(GET[:20])
        await turns()
        await caller.say(GET[20:])
        assert (await caller.hear()).status == 200
        await asyncio.sleep(0.1)  # nothing less shows that no timer is left
        await caller.say(GET)
        assert (await caller.hear()).status == 200


LONG = b"/v1/me/ratings/albums?ids=" + b",".join(b"%d" % n for n in range(1, 3001))


class Connections(list[Any]):
    """The API listener's."""

    @property
    def open(self) -> int:
        return sum(each.transport is not None for each in self)

    @property
    def buffered(self) -> int:
        """Bytes that wait for their callers."""
        return sum(each.transport.get_write_buffer_size() for each in self if each.transport is not None)


@pytest.fixture
def connections(monkeypatch) -> Connections:
    made = Connections()
    make = listener.ApiServer.__call__

    def recorded(server: listener.ApiServer) -> Any:
        made.append(make(server))
        return made[-1]

    monkeypatch.setattr(listener.ApiServer, "__call__", recorded)
    return made


async def test_a_caller_that_reads_nothing_fills_no_memory_and_gets_all_once_it_reads(sandbox, connections):
    for n in range(1, 3001):
        sandbox.rate(ADA, "albums", str(n), 1)
    async with gateway_on(sandbox) as gateway, line(gateway) as caller:
        size = len((await gateway.get("albums", range(1, 3001))).body)
        caller.pause()
        count = 0
        while not connections.buffered:
            await caller.say(request(b"GET", LONG))
            count += 1
            await turns()
        for _ in range(20):
            caller.writer.write(request(b"GET", LONG))
            await turns()
        assert connections.buffered < 2 * size
        caller.resume()
        assert {(await caller.hear()).status for _ in range(count + 20)} == {200}


async def test_a_caller_that_goes_on_reading_nothing_is_given_up(sandbox, connections, monkeypatch):
    monkeypatch.setattr(timers, "UNREAD_SECONDS", 0.05)
    for n in range(1, 3001):
        sandbox.rate(ADA, "albums", str(n), 1)
    async with gateway_on(sandbox) as gateway, line(gateway) as caller:
        await gateway.get("albums", range(1, 3001))
        before = connections.open
        caller.pause()
        while not connections.buffered:
            await caller.say(request(b"GET", LONG))
            await turns()
        async with asyncio.timeout(5):
            while connections.open == before:
                await turns()
        assert connections.buffered == 0


async def test_a_drain_answers_hits_and_asks_callers_to_close(gateway):
    async with line(gateway) as caller:
        await caller.say(GET)
        assert "Connection" not in (await caller.hear()).headers
        await caller.say(GET)
        assert "Connection" not in (await caller.hear()).headers
        gateway.served.gateway.api.draining = True
        await caller.say(GET)
        reply = await caller.hear()
        assert (reply.status, reply.headers["Connection"]) == (200, "close")
        assert await caller.ended() == b""
