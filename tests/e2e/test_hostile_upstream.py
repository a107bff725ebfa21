"""An upstream that sends invalid answers: 502, nothing of them cached, no bug logged.

Those that the sandbox can give are in the tables of `test_apple_failures`.
"""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.sandbox import ADA, Credentials
from tests.e2e.harness import Caller, bug_logged, gateway_on

ID = "1138988512"
HREF = f"/v1/me/ratings/albums/{ID}"
SOUND = f'{{"data":[{{"id":"{ID}","type":"ratings","href":"{HREF}","attributes":{{"value":1}}}}]}}'.encode()


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    more = b"".join(header + b"\r\n" for header in headers)
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b" % (
        status,
        len(body),
        more,
        body,
    )


def rated(**members: str) -> bytes:
    """The valid answer with these members replaced, as raw JSON."""
    shown = {"id": f'"{ID}"', "type": '"ratings"', "attributes": '{"value":1}'} | members
    return ('{"data":[{' + ",".join(f'"{name}":{raw}' for name, raw in shown.items()) + "}]}").encode()


UNSOUND = {
    "deep": answer(b'{"data":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "deep in a field": answer(rated(meta="[" * 50_000 + "]" * 50_000)),
    "huge": answer(b'{"data":[' + b" " * (64 << 20) + b"]}"),
    "a bomb": answer(gzip.compress(b" " * (64 << 20)), b"Content-Encoding: gzip"),
    "broken compression": answer(b"abc", b"Content-Encoding: gzip"),
    "a number of a million digits": answer(rated(meta="1" * 1_000_000)),
    "NaN": answer(rated(meta="NaN")),
    "not UTF-8": answer(rated().replace(b"ratings", b"rat\xffngs")),
    "a lone surrogate as id": answer(rated(id='"\\ud800"')),
    "a value of 1.0": answer(rated(attributes='{"value":1.0}')),
    "a value twice": answer(rated(attributes='{"value":-1,"value":1}')),
    "data twice": answer(b'{"data":[],"data":[]}'),
    "an id twice in one object": answer(rated().replace(b'{"id"', b'{"id":"2","id"', 1)),
    "both ratings of one id": answer(
        b'{"data":[%b,%b]}' % (rated()[9:-2], rated(attributes='{"value":-1}')[9:-2])
    ),
    "a redirect": answer(b"", b"Location: http://127.0.0.1:1/", status=b"302 Found"),
    "two lengths": answer(SOUND, b"Content-Length: 1"),
    "length and chunked": answer(SOUND, b"Transfer-Encoding: chunked"),
    "no HTTP": b"\x00\x01\x02SSH-2.0-OpenSSH\r\n\r\n",
    "endless headers": b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100_000,
    "silence": b"",
}  # fmt: skip


class Upstream:
    """Answers every request with the same bytes, and closes."""

    said = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"ontent-Length: " in head:
                await reader.readexactly(int(head.partition(b"ontent-Length: ")[2].split(b"\r\n")[0]))
            writer.write(self.said)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def behind() -> AsyncIterator[tuple[Caller, Upstream]]:
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        stand: Any = Stand(url)
        async with gateway_on(stand, upstream__attempts=1, cache__write_hold_seconds=0) as gateway:
            yield gateway, upstream


class Stand:
    """The properties of an upstream that the harness uses."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.credentials = Credentials.generate()


@pytest.mark.parametrize("name", UNSOUND)
async def test_nonsense_is_a_bad_gateway_and_leaves_no_trace(name, capfd):
    async with behind() as (gateway, upstream):
        upstream.said = UNSOUND[name]
        for reply in (await gateway.get("albums", [ID]), await gateway.one("albums", ID)):
            assert (reply.status, reply.code) == (502, "50200")
            assert reply.headers["Proxy-Status"].startswith("ratings-gateway; ")
        upstream.said = answer(SOUND, b"Connection: close")
        reply = await gateway.get("albums", [ID])
        assert (reply.values, reply.cache) == ({ID: 1}, "fwd=miss; stored")
        upstream.said = UNSOUND[name]
        assert (await gateway.get("albums", [ID])).values == {ID: 1}
    said = "".join(capfd.readouterr())
    assert "Traceback" not in said
    assert not bug_logged(said)
    assert ADA not in said


@pytest.mark.parametrize("name", UNSOUND)
async def test_nonsense_in_answer_to_a_write_is_no_bug_and_no_stranger_rating(name, capfd):
    async with behind() as (gateway, upstream):
        upstream.said = UNSOUND[name]
        reply = await gateway.rate("albums", ID, -1)
        assert reply.status in {200, 502}
        upstream.said = answer(SOUND, b"Connection: close")
        assert (await gateway.get("albums", [ID], headers={"Cache-Control": "no-cache"})).values == {ID: 1}
    said = "".join(capfd.readouterr())
    assert "Traceback" not in said
    assert not bug_logged(said)


@pytest.mark.parametrize(
    "code", [rb"\ud800", rb"40\n000", b"9" * 10_000], ids=["surrogate", "line end", "long"]
)
async def test_an_error_whose_code_is_no_code_is_relayed_and_leaves_one_short_line(code, capfd):
    body = b'{"errors":[{"code":"%b"}]}' % code
    async with behind() as (gateway, upstream):
        upstream.said = answer(body, b"Connection: close", status=b"400 Bad Request")
        for reply in (
            await gateway.get("albums", [ID]),
            await gateway.get("albums", [ID], "&other=1"),
            await gateway.rate("albums", ID, 1),
            await gateway.unrate("albums", ID),
        ):
            assert (reply.status, reply.headers["Proxy-Status"]) == (
                400,
                "ratings-gateway; received-status=400",
            )
        lenient = await gateway.get("albums", [ID], headers={"Prefer": "handling=lenient"})
        assert (lenient.status, lenient.code) == (200, "40000")
    lines = capfd.readouterr().out.splitlines()
    assert not bug_logged("\n".join(lines))
    assert max(map(len, lines)) < 2000
