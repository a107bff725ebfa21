"""The ops listener, on raw bytes: strict, and silent about malformed requests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest
from aiohttp import web

from gateway.ops import listener
from gateway.ops.listener import MAX_BODY_BYTES, OpsServer

HOST = b"Host: 127.0.0.1\r\n"


class Raw(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Log:
    """Keeps what is logged as an error."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, dict[str, object]]] = []

    def error(self, event: str, **fields: object) -> None:
        self.errors.append((event, fields))


async def _alive(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def _bug(_: web.Request) -> web.Response:
    raise KeyError("secret")


ROUTES = [web.get("/alive", _alive), web.post("/echo", _echo), web.get("/bug", _bug)]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
async def port(log: Log) -> AsyncIterator[int]:
    server = OpsServer(ROUTES, log, keepalive_seconds=60)  # type: ignore[arg-type]  # all that it logs with
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    yield listening.sockets[0].getsockname()[1]
    listening.close()
    await server.shutdown(0.1)


Send = Callable[[bytes], Awaitable[Raw]]


@pytest.fixture
def send(port: int) -> Send:
    """Send bytes on a connection of their own and return the answer."""

    async def sent(data: bytes) -> Raw:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(data)
            async with asyncio.timeout(5):
                return await answer(reader)
        finally:
            writer.close()

    return sent


async def answer(reader: asyncio.StreamReader) -> Raw:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    headers = dict(line.split(": ", 1) for line in head[1:-1])
    body = await reader.readexactly(int(headers.get("Content-Length", 0)))
    return Raw(int(head[0].split()[1]), headers, body)


def get(path: bytes, *lines: bytes, host: bytes = HOST) -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(path: bytes, *lines: bytes, body: bytes = b"") -> bytes:
    return get(path, *lines, b"Content-Length: %d" % len(body)).replace(b"GET", b"POST", 1) + body


MALFORMED = {
    "a host with a path": get(b"/alive", host=b"Host: x/y\r\n"),
    "a host with a blank": get(b"/alive", host=b"Host: a b\r\n"),
    "a host with a user": get(b"/alive", host=b"Host: a@b\r\n"),
    "two hosts": get(b"/alive", b"Host: b"),
    "no host": get(b"/alive", host=b""),
    "not HTTP": b"\x16\x03\x01\x00\xa5secret\r\n\r\n",
    "a broken header": get(b"/alive", b"X-A secret"),
    "a NUL": get(b"/alive", b"X-A: \0secret"),
    "two lengths": get(b"/alive", b"Content-Length: 1", b"Content-Length: 2"),
    "a body that is not gzip": post(b"/echo", b"Content-Encoding: gzip", body=b"abc"),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_requests_are_400_and_neither_quoted_nor_logged(send, log, caplog, name):
    refused = await send(MALFORMED[name])
    assert refused.status == 400
    assert b"secret" not in refused.body
    assert (await send(get(b"/alive"))).status == 200
    assert log.errors == []
    assert caplog.records == []


async def test_a_request_of_http_1_0_needs_no_host(send):
    assert (await send(b"GET /alive HTTP/1.0\r\n\r\n")).status == 200


async def test_head_is_answered_without_the_body(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(get(b"/alive", b"Connection: close").replace(b"GET", b"HEAD", 1))
    async with asyncio.timeout(5):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert (head.split()[1], body) == (b"200", b"")
    writer.close()


async def test_an_unknown_path_is_404_and_points_to_the_index(send):
    missing = await send(get(b"/nowhere"))
    assert missing.status == 404
    assert b"/ lists all pages" in missing.body


@pytest.mark.parametrize(
    ("request_", "allowed"),
    [(get(b"/echo"), "POST"), (post(b"/alive"), "GET, HEAD")],
)
async def test_another_method_is_405_and_names_those_allowed(send, request_, allowed):
    refused = await send(request_)
    assert refused.status == 405
    assert set(refused.headers["Allow"].split(",")) == set(allowed.replace(" ", "").split(","))


async def test_a_handler_that_fails_is_500_and_logged_without_the_request(send, log):
    failed = await send(get(b"/bug?token=secret"))
    assert failed.status == 500
    assert b"secret" not in failed.body
    ((event, fields),) = log.errors
    assert (event, fields["where"]) == ("bug", "ops /bug")
    assert isinstance(fields["exc_info"], Exception)


@pytest.mark.parametrize("expected", [b"\xff", b"tea", b"100-continue"])
@pytest.mark.parametrize(("path", "status"), [(b"/alive", 200), (b"/nowhere", 404)])
async def test_no_expectation_is_an_error(send, log, caplog, expected, path, status):
    assert (await send(get(path, b"Expect: " + expected))).status == status
    assert log.errors == []
    assert caplog.records == []


async def test_a_client_that_waits_for_100_continue_receives_it(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(b"/echo", b"Expect: 100-continue", body=b"{}").removesuffix(b"{}"))
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert (await answer(reader)).body == b"{}"
    writer.close()


@pytest.mark.parametrize("asked", [[get(b"/alive")], [get(b"/alive")] * 3, []], ids=["one", "three", "none"])
async def test_a_client_that_sends_no_more_is_answered_before_the_connection_closes(port, asked):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.writelines(asked)
    writer.write_eof()
    async with asyncio.timeout(5):
        assert [(await answer(reader)).status for _ in asked] == [200 for _ in asked]
        assert await reader.read() == b""
    writer.close()


async def test_a_body_that_does_not_arrive_in_time_is_408(send, monkeypatch):
    monkeypatch.setattr(listener, "BODY_SECONDS", 0.1)
    assert (await send(post(b"/echo", body=b"{}").removesuffix(b"}"))).status == 408


async def test_a_body_over_the_limit_is_413(send):
    assert (await send(post(b"/echo", body=b"x" * (MAX_BODY_BYTES + 1)))).status == 413


@pytest.mark.parametrize("begun", [b"", b"GET /alive HTTP/1.1\r\nHost: "])
async def test_a_connection_whose_first_request_does_not_arrive_is_closed(port, monkeypatch, begun):
    monkeypatch.setattr(listener, "HEAD_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(begun)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_a_connection_whose_first_request_arrived_in_time_is_kept(port, monkeypatch):
    monkeypatch.setattr(listener, "HEAD_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(get(b"/alive"))
        async with asyncio.timeout(5):
            assert (await answer(reader)).status == 200
        await asyncio.sleep(0.1)  # nothing less shows that no timer is left
    writer.close()


@pytest.mark.parametrize(
    "data", [get(b"/alive"), get(b"/nowhere"), get(b"/bug"), get(b"/echo"), get(b"/", b"X-A")]
)
async def test_no_answer_names_a_version_of_the_server(send, data):
    assert (await send(data)).headers["Server"] == "ratings-gateway"
