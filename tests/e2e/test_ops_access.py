"""DNS rebinding, foreign origins and proxies in front of the live ops listener, as raw bytes."""

import asyncio
from typing import NamedTuple

import pytest

from tests.e2e.harness import Caller

HOST = b"Host: 127.0.0.1\r\n"


class Raw(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


async def said(gateway: Caller, data: bytes) -> Raw:
    port = int(gateway.served.ops_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(5):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            headers = dict(line.split(": ", 1) for line in head[1:-1])
            body = await reader.readexactly(int(headers.get("Content-Length", 0)))
        return Raw(int(head[0].split()[1]), headers, body)
    finally:
        writer.close()


def get(path: bytes, *lines: bytes, host: bytes = HOST) -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(path: bytes, *lines: bytes, host: bytes = HOST, body: bytes = b"") -> bytes:
    head = get(path, *lines, b"Content-Length: %d" % len(body), host=host)
    return head.replace(b"GET", b"POST", 1) + body


CHANGING = {
    "reload": post(b"/-/reload", b"%b"),
    "purge": post(b"/-/purge", b"Music-User-Token: ada", b"%b"),
    "explain": get(b"/-/explain?id=1", b"Music-User-Token: ada", b"%b"),
    "explain by form": post(b"/-/explain", b"%b"),
}
REMOTE = {
    "rebound DNS": (b"X: y", b"Host: evil.example\r\n"),
    "another origin": (b"Origin: http://evil.example", HOST),
    "no origin to name": (b"Origin: null", HOST),
    "a proxy": (b"Via: 1.1 proxy", HOST),
    "a mesh": (b"X-Envoy-Peer-Metadata: x", HOST),
}


@pytest.mark.parametrize("what", CHANGING)
@pytest.mark.parametrize("how", REMOTE)
async def test_without_a_token_remote_requests_change_and_learn_nothing(gateway, what, how):
    line, host = REMOTE[how]
    data = CHANGING[what].replace(b"%b", line).replace(HOST, host)
    assert (await said(gateway, data)).status == 403


async def test_a_rebound_host_reads_no_settings(gateway):
    status = await said(gateway, get(b"/status?format=json", host=b"Host: evil.example\r\n"))
    assert b"redis_url" not in status.body
    assert b"redis_url" in (await said(gateway, get(b"/status?format=json"))).body


async def test_a_page_of_another_origin_reads_no_status(gateway):
    assert (await said(gateway, get(b"/status", b"Origin: http://evil.example"))).status == 403
