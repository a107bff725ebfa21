"""Connecting to Redis: sockets, credentials, databases, TLS that is always verified, name resolution."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from redis import Redis

from gateway.breaker import State
from gateway.cache.redis.connect import CONNECT_SECONDS, Tls
from gateway.cache.redis.errors import FailureKind
from gateway.cache.redis.layout import META, Keys
from gateway.model import Kind, Partition
from gateway.resolver import AddressInfo, Resolver, system_lookup
from tests.cache.redis.black_hole import black_hole_at, hole_first, info
from tests.cache.redis.certificates import Authority, Files, tls_server
from tests.cache.redis.harness import ALBUMS, GERMAN, LIKED, MINIMAL_ACL, ONE, TWO, Side, side_of
from tests.redis_sentinel import watched_by_sentinel
from tests.redis_server import RedisServer
from tests.waiting import until

pytestmark = pytest.mark.redis_server

NAME = "redis.test"


async def works(side: Side) -> bool:
    kept = await side.keep(ALBUMS, {ONE: LIKED})
    written = await side.write(ALBUMS, TWO, None)
    purged = await side.store.purge(ALBUMS.user.key, ALBUMS.kind, [TWO])
    return bool(kept and written and purged and await side.seen(ALBUMS, ONE) == LIKED)


async def test_a_unix_socket_works(server: RedisServer) -> None:
    async with side_of(f"unix://{server.socket_path}", listening=True) as side:
        assert await works(side)


async def test_the_database_of_the_url_is_used(server: RedisServer) -> None:
    async with side_of(f"{server.url}/3") as side:
        assert await works(side)
    with server.client(db=3) as client:
        assert client.dbsize()
    with server.client() as client:
        assert not client.dbsize()


@pytest.fixture(scope="module")
def locked() -> Iterator[RedisServer]:
    words = MINIMAL_ACL.removeprefix("user ").split()
    with RedisServer("--requirepass", "open sesame", "--user", *words) as server:
        yield server


async def test_a_password_works(locked: RedisServer) -> None:
    async with side_of(f"redis://:open%20sesame@127.0.0.1:{locked.port}", listening=True) as side:
        assert await works(side)


async def test_the_rights_of_the_documented_acl_are_enough(locked: RedisServer) -> None:
    async with side_of(f"redis://gateway:secret@127.0.0.1:{locked.port}", listening=True) as side:
        assert await works(side)


OF_OLDER_RELEASES = "+exists"
"""A right that the scripts of this release do not need."""
SILENCE_SECONDS = 0.05


@pytest.mark.parametrize(
    "right", [word for word in MINIMAL_ACL.split() if word[0] in "~&+" and word != OF_OLDER_RELEASES]
)
async def test_a_missing_right_is_counted_as_denied_and_as_nothing_else(
    server: RedisServer, client: Redis, right: str
) -> None:
    _, name, *words = MINIMAL_ACL.split()
    client.execute_command("ACL", "SETUSER", name, "reset", *(word for word in words if word != right))
    client.script_flush()
    client.hset(Keys("ratings").main(ALBUMS.user.key, Kind.SONGS), META, b"another owner")
    url = f"redis://{name}:secret@127.0.0.1:{server.port}"
    async with side_of(url, trust_seconds=SILENCE_SECONDS, sampled=lambda: True) as side:
        side.link.listen(side.on_invalidation, side.on_announcement)
        silent_since = time.monotonic() + 10 * SILENCE_SECONDS
        await until(lambda: time.monotonic() > silent_since)
        for partition in (ALBUMS, GERMAN):
            await side.look(partition, ONE)
            await side.store.fill(partition, b"0", {ONE: LIKED, TWO: None})
        await side.store.purge(ALBUMS.user.key, ALBUMS.kind, [TWO])
        await side.write(ALBUMS, ONE, LIKED)
        await side.write(Partition(ALBUMS.user, Kind.SONGS), ONE, LIKED)
        await side.store.purge(ALBUMS.user.key, ALBUMS.kind, None)
        counted = {kind for kind in FailureKind if side.errors(kind)}
    assert counted - {FailureKind.UNAVAILABLE} == {FailureKind.DENIED}
    client.acl_deluser(name)


async def test_a_database_other_than_0_also_needs_the_right_to_select(locked: RedisServer) -> None:
    url = f"redis://gateway:secret@127.0.0.1:{locked.port}/3"
    async with side_of(url) as side:
        assert side.link.state is State.OPEN
    with locked.client(password="open sesame") as client:
        client.execute_command("ACL", "SETUSER", "gateway", "+select")
        async with side_of(url, listening=True) as side:
            assert await works(side)
        client.execute_command("ACL", "SETUSER", "gateway", "-select")


async def counted_as_denied(side: Side) -> None:
    """Repeat a lookup until it fails as denied: the reason is available after an attempt to connect."""
    async with asyncio.timeout(5):
        while not side.errors("denied"):
            await side.look(ALBUMS, ONE)
            await asyncio.sleep(0)


async def test_a_wrong_password_is_counted_as_denied(locked: RedisServer) -> None:
    async with side_of(f"redis://gateway:wrong@127.0.0.1:{locked.port}") as side:
        assert (await side.look(ALBUMS, ONE)).shared_version is None
        await counted_as_denied(side)


async def test_a_missing_password_is_counted_as_denied(locked: RedisServer) -> None:
    async with side_of(locked.url) as side:
        assert (await side.look(ALBUMS, ONE)).shared_version is None
        await counted_as_denied(side)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder, "authority")


@pytest.fixture(scope="module")
def client_files(authority: Authority) -> Files:
    return authority.issue("client", "127.0.0.1")


@pytest.fixture(scope="module")
def encrypted(authority: Authority) -> Iterator[RedisServer]:
    with tls_server(authority, authority.issue("server", "127.0.0.1"), asks_client=False) as server:
        yield server


async def test_tls_works_with_a_private_authority(encrypted: RedisServer, authority: Authority) -> None:
    url = f"rediss://127.0.0.1:{encrypted.tls_port}"
    async with side_of(url, tls=Tls(ca_file=authority.file), listening=True) as side:
        assert await works(side)


async def test_a_certificate_of_an_unknown_authority_is_refused(encrypted: RedisServer) -> None:
    async with side_of(f"rediss://127.0.0.1:{encrypted.tls_port}") as side:
        assert side.link.state is State.OPEN
        attempts = side.errors("denied")
        assert (await side.look(ALBUMS, ONE)).shared_version is None
        assert side.errors("denied") == attempts + 1 > 1


async def test_a_certificate_for_another_address_is_refused(authority: Authority) -> None:
    with tls_server(authority, authority.issue("elsewhere", "127.0.0.2"), asks_client=False) as server:
        async with side_of(f"rediss://127.0.0.1:{server.tls_port}", tls=Tls(ca_file=authority.file)) as side:
            assert side.link.state is State.OPEN


async def test_a_client_certificate_works(authority: Authority, client_files: Files) -> None:
    with tls_server(authority, authority.issue("strict", "127.0.0.1"), asks_client=True) as server:
        url = f"rediss://127.0.0.1:{server.tls_port}"
        shown = Tls(ca_file=authority.file, cert_file=client_files.certificate, key_file=client_files.key)
        async with side_of(url, tls=shown) as side:
            assert await works(side)
        async with side_of(url, tls=Tls(ca_file=authority.file)) as side:
            assert side.link.state is State.OPEN


async def test_an_address_that_drops_packets_is_skipped_like_a_black_hole() -> None:
    with RedisServer() as server, black_hole_at(server.port):
        resolver = Resolver(hole_first)
        began = time.monotonic()
        async with side_of(f"redis://{NAME}:{server.port}", resolver=resolver) as side:
            assert side.link.state is State.CLOSED
            assert time.monotonic() - began < CONNECT_SECONDS


async def test_an_address_of_a_sentinel_that_is_a_black_hole_is_skipped() -> None:
    with watched_by_sentinel() as watched, black_hole_at(watched.sentinel.port):
        resolver = Resolver(hole_first)
        url = f"redis+sentinel://{NAME}:{watched.sentinel.port}/main"
        async with side_of(url, resolver=resolver) as side:
            assert side.link.state is State.CLOSED


async def test_a_sentinel_may_be_given_by_name() -> None:
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
async def test_a_name_that_does_not_resolve_delays_a_start_by_a_second_at_most(
    server: RedisServer, scheme: str
) -> None:
    lookup = SlowLookup()
    began = time.monotonic()
    async with side_of(f"{scheme}://{NAME}:{server.port}", resolver=Resolver(lookup)) as side:
        assert time.monotonic() - began < CONNECT_SECONDS + 0.5
        assert side.link.state is State.OPEN
        assert lookup.calls == 1
        lookup.release.set()


async def test_a_hung_lookup_is_counted_as_dns_timeout_and_redis_is_used_once_it_ends(
    server: RedisServer,
) -> None:
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
        assert (await side.look(ALBUMS, ONE)).shared_version == b"0"


@pytest.mark.parametrize("url", [f"redis+sentinel://{NAME}/main", f"redis+cluster://{NAME}"])
async def test_a_hung_lookup_of_a_sentinel_or_cluster_node_is_counted_as_dns_timeout(url: str) -> None:
    lookup = SlowLookup()
    async with side_of(url, resolver=Resolver(lookup)) as side:
        attempts = side.errors("dns_timeout")
        await side.look(ALBUMS, ONE)
        assert side.errors("dns_timeout") == attempts + 1 > 1
        assert lookup.calls == 1
        lookup.release.set()


@pytest.mark.parametrize(
    "url", [f"redis://{NAME}", f"redis+sentinel://{NAME}/main", f"redis+cluster://{NAME}"]
)
async def test_an_unknown_name_is_counted_as_dns_error(url: str) -> None:
    def fail(_: str) -> Sequence[AddressInfo]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with side_of(url, resolver=Resolver(fail)) as side:
        attempts = side.errors("dns_error")
        await side.look(ALBUMS, ONE)
        assert side.errors("dns_error") == attempts + 1 > 1
