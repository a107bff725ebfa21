"""Raw bytes against the live ops listener: it is as strict as the API's, and logs no error for nonsense."""

import asyncio
from typing import NamedTuple

import pytest

from gateway.ops import listener
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


MALFORMED = {
    "a host with a path": get(b"/livez", host=b"Host: x/y\r\n"),
    "a host with a blank": get(b"/livez", host=b"Host: a b\r\n"),
    "a host with a user": get(b"/livez", host=b"Host: a@b\r\n"),
    "two hosts": get(b"/livez", b"Host: b"),
    "no host": get(b"/livez", host=b""),
    "no HTTP": b"\x16\x03\x01\x00\xa5secret\r\n\r\n",
    "a broken header": get(b"/livez", b"X-A secret"),
    "a NUL": get(b"/livez", b"X-A: \0secret"),
    "two lengths": get(b"/livez", b"Content-Length: 1", b"Content-Length: 2"),
    "a body that is not gzip": post(b"/-/purge", b"Content-Encoding: gzip", body=b"abc"),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_requests_are_400_and_not_logged_as_errors(gateway, capfd, name):
    answer = await said(gateway, MALFORMED[name])
    assert answer.status == 400
    assert "secret" not in answer.body.decode()
    assert (await gateway.ask("GET", "/livez")).status == 200
    logged = "".join(capfd.readouterr())
    assert "error" not in logged.lower()
    assert "Traceback" not in logged


@pytest.mark.parametrize("expected", [b"\xff", b"tea", b"100-continue"])
@pytest.mark.parametrize("path", [b"/livez", b"/nowhere"])
async def test_no_expectation_is_an_error(gateway, capfd, expected, path):
    answer = await said(gateway, get(path, b"Expect: " + expected))
    assert answer.status == (200 if path == b"/livez" else 404)
    assert "Traceback" not in "".join(capfd.readouterr())


async def test_a_body_is_asked_for_where_the_client_waits_for_that(gateway):
    port = int(gateway.served.ops_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = post(b"/-/purge", b"Music-User-Token: ada", b"Expect: 100-continue", body=b"{}")
    writer.write(head.removesuffix(b"{}"))
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert (await reader.readline()).split()[1] == b"200"
    writer.close()


async def test_a_body_that_does_not_arrive_is_408(gateway, monkeypatch):
    monkeypatch.setattr(listener, "BODY_SECONDS", 0.1)
    data = b"POST /-/purge HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n{"
    assert (await said(gateway, data)).status == 408


@pytest.mark.parametrize("begun", [b"", b"GET /livez HTTP/1.1\r\nHost: "])
async def test_a_request_that_does_not_arrive_costs_the_connection(gateway, monkeypatch, begun):
    monkeypatch.setattr(listener, "HEAD_SECONDS", 0.05)
    port = int(gateway.served.ops_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(begun)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_a_connection_whose_request_arrived_in_time_is_kept(gateway, monkeypatch):
    monkeypatch.setattr(listener, "HEAD_SECONDS", 0.05)
    port = int(gateway.served.ops_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(get(b"/livez"))
        async with asyncio.timeout(5):
            assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.1)  # nothing less shows that no timer is left
    writer.close()


@pytest.mark.parametrize("path", [b"/livez", b"/nowhere", b"/-/reload", b"/status", b"/-/explain"])
async def test_no_answer_names_a_version_of_the_server(gateway, path):
    assert (await said(gateway, get(path))).headers["Server"] == "ratings-gateway"
    malformed = await said(gateway, get(path, b"X-A"))
    assert malformed.headers["Server"] == "ratings-gateway"


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


@pytest.mark.parametrize("path", [b"/-/reload", b"/-/purge"])
async def test_a_get_on_a_route_that_changes_something_is_405_and_names_post(gateway, path):
    answer = await said(gateway, get(path))
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


async def test_the_first_page_links_to_all_others(gateway):
    page = (await said(gateway, get(b"/"))).body
    for path in (b"/status", b"/docs", b"/runbook", b"/metrics", b"/openapi.json", b"/readyz?verbose"):
        assert b'href="' + path + b'"' in page
