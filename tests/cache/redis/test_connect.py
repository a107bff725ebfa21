"""Names are resolved without blocking anybody, and an address that swallows packets costs a moment only."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from gateway.breaker import State
from gateway.cache.redis.connect import CONNECT_SECONDS
from gateway.resolver import AddressInfo, Resolver, system_lookup
from tests.cache.redis.harness import ALBUMS, ONE, side_of
from tests.redis_sentinel import watched_by_sentinel
from tests.redis_server import RedisServer
from tests.waiting import until

pytestmark = pytest.mark.redis_server

NAME = "redis.test"


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A loopback port whose queue of connections is full: further ones are neither accepted nor refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.2", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.2", port))
        yield port
        for each in waiting:
            each.close()


def info(host: str) -> AddressInfo:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0))


async def test_a_black_hole_among_the_addresses_is_passed_over(black_hole: int) -> None:
    with RedisServer(port=black_hole) as server:
        resolver = Resolver(lambda _: [info("127.0.0.2"), info("127.0.0.1")])
        began = time.monotonic()
        async with side_of(f"redis://{NAME}:{server.port}", resolver=resolver) as side:
            assert side.link.state is State.CLOSED
            assert time.monotonic() - began < CONNECT_SECONDS


async def test_a_sentinel_may_have_a_name() -> None:
    with watched_by_sentinel() as watched:
        resolver = Resolver(lambda _: [info("127.0.0.1")])
        url = f"redis+sentinel://{NAME}:{watched.sentinel.port}/main"
        async with side_of(url, resolver=resolver) as side:
            assert side.link.state is State.CLOSED


class SlowLookup:
    """Answers once `release` is set."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.calls = 0

    def __call__(self, host: str) -> Sequence[AddressInfo]:
        self.calls += 1
        self.release.wait(30)
        return system_lookup("127.0.0.1")


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
async def test_a_name_that_does_not_resolve_delays_a_start_by_a_second_only(
    server: RedisServer, scheme: str
) -> None:
    lookup = SlowLookup()
    began = time.monotonic()
    async with side_of(f"{scheme}://{NAME}:{server.port}", resolver=Resolver(lookup)) as side:
        assert time.monotonic() - began < CONNECT_SECONDS + 0.5
        assert side.link.state is State.OPEN
        assert lookup.calls == 1
        lookup.release.set()


async def test_a_lookup_that_hangs_is_named_and_redis_is_used_once_it_ends(server: RedisServer) -> None:
    lookup = SlowLookup()
    async with side_of(f"redis://{NAME}:{server.port}", resolver=Resolver(lookup)) as side:

        async def counted() -> float:
            await side.look(ALBUMS, ONE)
            return side.errors("dns_timeout")

        while not await counted():
            assert not side.errors("connection")
        assert lookup.calls == 1
        lookup.release.set()
        await until(lambda: side.link.state is State.CLOSED)
        assert (await side.look(ALBUMS, ONE)).version == b"0"


async def test_an_unknown_name_is_named_in_the_counts() -> None:
    def fail(_: str) -> Sequence[AddressInfo]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with side_of(f"redis://{NAME}", resolver=Resolver(fail)) as side:
        await side.look(ALBUMS, ONE)
        assert side.errors("dns_error") == 1
