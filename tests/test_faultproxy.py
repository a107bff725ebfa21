"""The proxy applies the faults that a test adds, and no others."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.faultproxy import (
    Bandwidth,
    Direction,
    FaultProxy,
    Garbage,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    Timeout,
)

Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def echo() -> AsyncIterator[asyncio.Server]:
    """A server that echoes what it receives, and closes when the client has ended."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server
    server.close()
    await server.wait_closed()


@pytest.fixture
async def proxy(echo: asyncio.Server) -> AsyncIterator[FaultProxy]:
    async with FaultProxy("127.0.0.1", echo.sockets[0].getsockname()[1]) as proxy:
        yield proxy


@pytest.fixture
async def peer(proxy: FaultProxy) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    yield reader, writer
    writer.close()


async def said(peer: Peer, data: bytes) -> bytes:
    """What comes back for `data` until the other side closes; our side is ended behind it."""
    peer[1].write(data)
    peer[1].write_eof()
    return await peer[0].read()


async def test_without_toxics_everything_passes_and_both_ends_are_passed_on(peer: Peer):
    data = bytes(range(256)) * 4096
    assert await said(peer, data) == data


async def test_latency_delays_without_slowing_down_what_follows(proxy: FaultProxy, peer: Peer):
    loop = asyncio.get_running_loop()
    proxy.add(Latency(0.05))
    began = loop.time()
    for n in range(5):
        peer[1].write(b"%d" % n)
        await peer[1].drain()
    assert await peer[0].readexactly(5) == b"01234"
    assert 0.05 <= loop.time() - began < 0.2


async def test_jitter_varies_the_delay_by_the_seed(echo: asyncio.Server):
    drawn = [FaultProxy("127.0.0.1", 1, seed=seed).chance.uniform(-1, 1) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


async def test_bandwidth_bounds_the_rate(proxy: FaultProxy, peer: Peer):
    loop = asyncio.get_running_loop()
    proxy.add(Bandwidth(100_000))
    began = loop.time()
    assert len(await said(peer, b"x" * 10_000)) == 10_000
    assert loop.time() - began >= 0.1


async def test_a_slicer_cuts_without_losing_anything(proxy: FaultProxy, peer: Peer):
    proxy.add(Slicer(10, variation=9))
    assert await said(peer, b"0123456789" * 50) == b"0123456789" * 50


async def test_a_timeout_swallows_its_direction_only(proxy: FaultProxy, peer: Peer):
    swallowing = proxy.add(Timeout(), Direction.UPSTREAM)
    peer[1].write(b"lost")
    await peer[1].drain()
    await _until_idle(proxy)
    proxy.remove(swallowing)
    assert await said(peer, b"kept") == b"kept"


async def test_a_timeout_with_a_limit_closes_the_connection(proxy: FaultProxy, peer: Peer):
    peer[1].write(b"a")
    assert await peer[0].read(1) == b"a"
    proxy.add(Timeout(0.01))
    assert await peer[0].read() == b""


async def test_reset_peer_resets_connections_that_are_open(proxy: FaultProxy, peer: Peer):
    peer[1].write(b"a")
    assert await peer[0].read(1) == b"a"
    proxy.add(ResetPeer())
    with pytest.raises(ConnectionResetError):
        await peer[0].read()


async def test_reset_peer_resets_connections_that_come(proxy: FaultProxy):
    proxy.add(ResetPeer())
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_limit_data_cuts_in_the_middle(proxy: FaultProxy, peer: Peer):
    proxy.add(LimitData(7))
    peer[1].write(b"0123456789")
    assert await peer[0].read() == b"0123456"


@pytest.mark.parametrize("text", [b"", b"HTTP/1.1 200 OK\r\n"])
async def test_garbage_is_as_long_as_what_it_replaces(proxy: FaultProxy, peer: Peer, text: bytes):
    proxy.add(Garbage(text))
    heard = await said(peer, b"x" * 100)
    assert len(heard) == 100
    assert heard.startswith(text)
    assert b"xxx" not in heard


async def test_toxics_are_applied_in_the_order_in_which_they_came(proxy: FaultProxy, peer: Peer):
    proxy.add(Garbage(b"ab"))
    proxy.add(LimitData(3))
    peer[1].write(b"xxxxxx")
    assert await peer[0].read() == b"aba"


async def test_clearing_removes_every_toxic(proxy: FaultProxy, peer: Peer):
    proxy.add(Garbage())
    proxy.add(Timeout(), Direction.UPSTREAM)
    proxy.clear()
    assert await said(peer, b"as it is") == b"as it is"


async def test_down_closes_and_refuses_until_it_is_up_on_the_same_port(proxy: FaultProxy, peer: Peer):
    peer[1].write(b"a")
    assert await peer[0].read(1) == b"a"
    await proxy.down()
    assert await peer[0].read() == b""
    assert proxy.connections == 0
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)
    await proxy.up()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await said((reader, writer), b"back") == b"back"
    assert proxy.accepted == 2
    writer.close()


async def test_open_connections_can_be_reset_once(proxy: FaultProxy, peer: Peer):
    peer[1].write(b"a")
    assert await peer[0].read(1) == b"a"
    await proxy.reset_connections()
    with pytest.raises(ConnectionResetError):
        await peer[0].read()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await said((reader, writer), b"back") == b"back"
    writer.close()


async def test_a_server_that_is_away_closes_the_client():
    async with FaultProxy("127.0.0.1", 1) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await reader.read() == b""
        writer.close()


async def _until_idle(proxy: FaultProxy) -> None:
    """Turn the loop until what was sent has been read and swallowed: loopback needs a few turns."""
    for _ in range(200):
        await asyncio.sleep(0)
