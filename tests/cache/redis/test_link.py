"""Every way to one server: sockets, passwords, users, databases, TLS that is always verified."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.breaker import State
from gateway.cache.redis.connect import Tls
from gateway.cache.redis.link import _Since
from tests.cache.redis.certificates import Authority, Files, tls_server
from tests.cache.redis.harness import ALBUMS, LIKED, ONE, TWO, Side, side_of
from tests.redis_server import RedisServer, free_port
from tests.waiting import until

pytestmark = pytest.mark.redis_server

# What the README gives to whoever writes the ACL.
MINIMAL_ACL = (
    "user gateway on >secret ~ratings:* &ratings:* -@all "
    "+time +hmget +evalsha +eval +hget +hset +hdel +hgetall +hlen +exists +del +pexpire +publish +subscribe"
)


class Clock:
    """Where the test puts it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


def test_redis_is_away_since_it_ceased_to_answer_and_not_since_the_latest_try() -> None:
    clock = Clock()
    since = _Since(clock, lambda _: None)
    seen = []
    for state in (State.CLOSED, State.OPEN, State.HALF_OPEN, State.OPEN, State.CLOSED, State.CLOSED):
        clock.now += 1
        since.update(state)
        seen.append(since.at)
    assert seen == [1, 2, 2, 2, 5, 5]


async def works(side: Side) -> bool:
    kept = await side.keep(ALBUMS, {ONE: LIKED})
    written = await side.write(ALBUMS, TWO, None)
    purged = await side.tier.purge(ALBUMS.user.key, ALBUMS.kind, [TWO])
    return bool(kept and written and purged and await side.seen(ALBUMS, ONE) == LIKED)


async def test_a_unix_socket(server: RedisServer) -> None:
    async with side_of(f"unix://{server.socket_path}", listening=True) as side:
        assert await works(side)


async def test_a_gateway_that_ends_does_not_call_redis_dead(server: RedisServer) -> None:
    async with side_of(server.url) as side:
        assert await works(side)
    assert side.metrics.registry.get_sample_value("gateway_breaker_state", {"target": "redis"}) == 0


async def test_a_database_of_its_own(server: RedisServer) -> None:
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


async def test_a_password(locked: RedisServer) -> None:
    async with side_of(f"redis://:open%20sesame@127.0.0.1:{locked.port}", listening=True) as side:
        assert await works(side)


async def test_a_user_with_no_more_rights_than_needed(locked: RedisServer) -> None:
    async with side_of(f"redis://gateway:secret@127.0.0.1:{locked.port}", listening=True) as side:
        assert await works(side)


async def test_a_database_of_its_own_needs_one_right_more(locked: RedisServer) -> None:
    url = f"redis://gateway:secret@127.0.0.1:{locked.port}/3"
    async with side_of(url) as side:
        assert side.link.state is State.OPEN
    with locked.client(password="open sesame") as client:
        client.execute_command("ACL", "SETUSER", "gateway", "+select")
        async with side_of(url, listening=True) as side:
            assert await works(side)
        client.execute_command("ACL", "SETUSER", "gateway", "-select")


async def test_a_wrong_password_is_named_in_the_counts(locked: RedisServer) -> None:
    async with side_of(f"redis://gateway:wrong@127.0.0.1:{locked.port}") as side:
        await until(lambda: side.nodes[0]._away == "denied")
        assert (await side.look(ALBUMS, ONE)).version is None
        assert side.errors("denied") == 1


async def test_no_password_where_one_is_needed_is_named_too(locked: RedisServer) -> None:
    async with side_of(locked.url) as side:
        await until(lambda: side.nodes[0]._away == "denied")
        assert side.link.state is State.OPEN


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
async def test_a_redis_that_was_never_there_is_shown_as_away(scheme: str) -> None:
    async with side_of(f"{scheme}://127.0.0.1:{free_port()}") as side:
        assert side.breaker == State.OPEN


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


async def test_tls_with_an_authority_of_ones_own(encrypted: RedisServer, authority: Authority) -> None:
    url = f"rediss://127.0.0.1:{encrypted.tls_port}"
    async with side_of(url, tls=Tls(ca_file=authority.file), listening=True) as side:
        assert await works(side)


async def test_a_certificate_that_nobody_vouches_for_is_refused(encrypted: RedisServer) -> None:
    async with side_of(f"rediss://127.0.0.1:{encrypted.tls_port}") as side:
        assert side.link.state is State.OPEN
        assert (await side.look(ALBUMS, ONE)).version is None
        assert side.errors("denied") == 1


async def test_a_certificate_for_another_address_is_refused(authority: Authority) -> None:
    with tls_server(authority, authority.issue("elsewhere", "127.0.0.2"), asks_client=False) as server:
        async with side_of(f"rediss://127.0.0.1:{server.tls_port}", tls=Tls(ca_file=authority.file)) as side:
            assert side.link.state is State.OPEN


async def test_a_certificate_of_the_gateways_own(authority: Authority, client_files: Files) -> None:
    with tls_server(authority, authority.issue("strict", "127.0.0.1"), asks_client=True) as server:
        url = f"rediss://127.0.0.1:{server.tls_port}"
        shown = Tls(ca_file=authority.file, cert_file=client_files.certificate, key_file=client_files.key)
        async with side_of(url, tls=shown) as side:
            assert await works(side)
        async with side_of(url, tls=Tls(ca_file=authority.file)) as side:
            assert side.link.state is State.OPEN


async def test_a_url_that_is_none_is_an_error_at_once() -> None:
    with pytest.raises(ValueError, match="scheme"):
        async with side_of("http://127.0.0.1"):
            pass
