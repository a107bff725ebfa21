"""Bytes a rating in Redis, and an entry in the local tier, both filled through a gateway's own API."""

import sys
import time
from collections.abc import Callable, Sequence

import redis
import uvloop

from gateway.cache.entry import Freshness
from gateway.model import Id, Kind, plain_resource
from tests.bench import contenders
from tests.bench.client import Ask, Timed, client, each
from tests.bench.contenders import Contender
from tests.bench.machine import Machine
from tests.bench.population import ids, target, token
from tests.bench.results import LocalBytes, Memory, SharedBytes
from tests.bench.upstream import Upstream

FIRST_USER = 2_000
SETTLE_SECONDS = 0.2
WARM_USERS = 50


def measure(
    machine: Machine, upstream: Upstream, *, ratings: int, entries: int, tell: Callable[[str], None]
) -> Memory:
    """`ratings` in all for each measurement in Redis, `entries` in the local tier."""
    upstream.be_prompt()
    shared = []
    if "redis-server" not in contenders.missing():
        url, _ = contenders.redis(machine)
        settings = {"cache__redis_url": url, "cache__local_max_entries": 0}
        gateway = contenders.gateway(machine, upstream, "gateway, Redis", settings)
        for per_user in (100, 2_000):
            shared.append(_shared(url, gateway, upstream, per_user, ratings // per_user))
            tell(f"Redis: {shared[-1].per_rating:.1f} bytes a rating at {per_user} a user")
    local = _local(machine, upstream, entries)
    tell(f"local tier: {local.per_entry:.0f} bytes an entry of {entries}")
    return Memory(shared, local, parts())


def parts() -> dict[str, int]:
    """The objects that one plain entry keeps alive, in bytes."""
    id_ = Id("1138988512")
    now = time.monotonic()
    freshness = Freshness(
        fresh_seconds=300, stale_while_revalidate_seconds=300, stale_if_error_seconds=86400, jitter=0.1
    )
    resource = plain_resource(Kind.ALBUMS, id_, 1)
    entry = freshness.entry(id_, resource, now)
    return {
        "the entry itself": sys.getsizeof(entry),
        "its rendered JSON": sys.getsizeof(resource),
        "the id": sys.getsizeof(id_),
        "the moment its freshness ends": sys.getsizeof(now),
    }


def _shared(url: str, gateway: Contender, upstream: Upstream, per_user: int, users: int) -> SharedBytes:
    database = redis.Redis.from_url(url)
    try:
        database.flushall()
        # A first user brings in what is paid once: scripts, connections, the tables' first sizes.
        _fill(gateway, upstream, FIRST_USER, 1, per_user)
        before = _settled(database)
        _fill(gateway, upstream, FIRST_USER + 1, users, per_user)
        after = _settled(database)
    finally:
        database.close()
    return SharedBytes(per_user, users, (after - before) / (users * per_user))


def _settled(database: "redis.Redis") -> int:
    """`used_memory` once the fills behind the answers are in."""
    last = -1
    while True:
        info = database.info("memory")
        assert isinstance(info, dict)
        used = int(info["used_memory"])
        if used == last:
            return used
        last = used
        time.sleep(SETTLE_SECONDS)


def _local(machine: Machine, upstream: Upstream, entries: int) -> LocalBytes:
    gateway = contenders.gateway(machine, upstream, "gateway, local tier", {})
    # What the first requests bring in once, buffers and tables of the libraries, is no entry's.
    _fill(gateway, upstream, FIRST_USER, WARM_USERS, 100)
    idle = gateway.process.rss_bytes()
    _fill(gateway, upstream, FIRST_USER + WARM_USERS, entries // 100, 100)
    return LocalBytes(entries, idle, gateway.process.rss_bytes())


def _fill(gateway: Contender, upstream: Upstream, first: int, users: int, per_user: int) -> None:
    """Let the gateway read `per_user` ratings of each user, in one request each."""
    asks = []
    for user in range(first, first + users):
        upstream.add_user(token(user), albums=ids(user, per_user))
        asks.append(Ask(target("albums", ids(user, per_user)), token(user)))
    for answer in uvloop.run(_asked(gateway, asks)):
        if answer.status != 200 or answer.body.count(b'"value"') != per_user:
            raise RuntimeError(f"a fill was answered {answer.status}: {answer.body[:200]!r}")


async def _asked(gateway: Contender, asks: Sequence[Ask]) -> list[Timed]:
    async with client(gateway.port, {}) as made:
        return await each(made, asks)
