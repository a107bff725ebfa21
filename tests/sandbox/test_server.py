import asyncio

import aiohttp
import pytest

from gateway.clock import SystemClock
from gateway.sandbox import ADA, Sandbox, Where


async def test_it_has_no_address_before_its_first_start():
    with pytest.raises(RuntimeError, match="never started"):
        _ = Sandbox().url


async def test_starting_twice_is_an_error(sandbox):
    with pytest.raises(RuntimeError, match="already"):
        await sandbox.start()


async def test_a_taken_port_is_an_error_and_leaves_it_startable(sandbox):
    other = Sandbox()
    with pytest.raises(OSError):
        await other.start(port=int(sandbox.url.rpartition(":")[2]))
    await other.start()
    await other.stop()


async def test_it_restarts_on_the_same_port_with_its_state(sandbox, call, http):
    await call("PUT", "albums/9", json={"attributes": {"value": 1}})
    url, port = sandbox.url, int(sandbox.url.rpartition(":")[2])
    await sandbox.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await call("GET", "albums/9")
    await sandbox.start(port=port)
    assert sandbox.url == url
    assert (await call("GET", "albums/9")).ids == ["9"]


async def test_stopping_twice_is_allowed(sandbox):
    await sandbox.stop()
    await sandbox.stop()


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_stopping_ends_waiting_calls(sandbox, call, method):
    held = sandbox.hold(Where(method=method))
    waiting = asyncio.ensure_future(call(method, "albums/9", json={"attributes": {"value": 1}}))
    await held.reached()
    await sandbox.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await waiting
    assert (sandbox.calls.in_flight, held.waiting) == (0, 0)


async def test_the_url_of_a_wildcard_address_is_loopback():
    sandbox = Sandbox()
    await sandbox.start("0.0.0.0")
    try:
        assert sandbox.url.startswith("http://127.0.0.1:")
    finally:
        await sandbox.stop()


async def test_an_unknown_path_is_40400_in_apples_envelope(sandbox, http):
    async with http.get(f"{sandbox.url}/v1/catalog/us/albums/1") as response:
        assert response.status == 404
        assert (await response.json())["errors"][0]["code"] == "40400"


async def test_by_default_it_uses_the_clocks_of_the_machine():
    async with Sandbox() as sandbox, aiohttp.ClientSession() as http:
        assert isinstance(sandbox.clock, SystemClock)
        headers = {"Authorization": f"Bearer {sandbox.developer_token()}", "Music-User-Token": ADA}
        async with http.get(f"{sandbox.url}/v1/me/ratings/albums/475655712", headers=headers) as response:
            assert response.status == 200
