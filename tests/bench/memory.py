"""Resident bytes per in-process entry, and bytes per rating in Redis, both filled through the API."""

import time

import redis
import uvloop

from tests.bench import contenders
from tests.bench.client import Ask, client, hammer
from tests.bench.contenders import Checkout, Contender, Upstream
from tests.bench.population import ids, target, token
from tests.bench.results import Bound, Figure
from tests.bench.stage import Samples, Stage

FIRST_USER = 2_000
SETTLE_SECONDS = 0.2
WARM_USERS = 50
USERS, RATINGS, IDS_PER_REQUEST = 200, 1_000, 100
LOCAL = "in-process, 200 users with 1,000 ids"
BOUNDS = {
    LOCAL: Bound("at most", 150),
    "Redis, 200 users with 100 ratings": Bound("at most", 25),
    "Redis, 10 users with 2,000 ratings": Bound("at most", 80),
}


def measure(stage: Stage) -> list[Figure]:
    """Growth of the gateway's resident memory, and of Redis' `used_memory`."""
    apple = contenders.upstream(stage.machine)
    samples = Samples("bytes per rating", stage.checkouts)
    for checkout in stage.checkouts:
        samples.add(LOCAL, checkout.name, _local(stage, checkout, apple))
        if "redis-server" not in contenders.missing():
            for users, ratings in ((200, 100), (10, 2_000)):
                what = f"Redis, {users} users with {ratings:,} ratings"
                samples.add(what, checkout.name, _shared(stage, checkout, apple, users, ratings))
    return samples.figures(BOUNDS, decimals=0)


def _local(stage: Stage, checkout: Checkout, apple: Upstream) -> float:
    gateway = contenders.gateway(stage.machine, checkout, apple)
    # Buffers and tables that the first requests bring in once belong to no entry.
    _fill(gateway, FIRST_USER, WARM_USERS, IDS_PER_REQUEST)
    before = gateway.process.rss_bytes()
    _fill(gateway, FIRST_USER + WARM_USERS, USERS, RATINGS)
    grown = (gateway.process.rss_bytes() - before) / (USERS * RATINGS)
    gateway.process.stop()
    stage.progress(f"in-process, {checkout.name}: {grown:.0f} bytes per entry")
    return grown


def _shared(stage: Stage, checkout: Checkout, apple: Upstream, users: int, ratings: int) -> float:
    url = contenders.redis(stage.machine)
    settings = {"cache__redis_url": url, "cache__local_max_entries": 0}
    gateway = contenders.gateway(stage.machine, checkout, apple, settings)
    with redis.Redis.from_url(url) as database:
        # A first user brings in what is paid once: scripts, connections, the first sizes of tables.
        _fill(gateway, FIRST_USER, 1, ratings)
        before = _settled(database)
        _fill(gateway, FIRST_USER + 1, users, ratings)
        grown = (_settled(database) - before) / (users * ratings)
    gateway.process.stop()
    stage.progress(f"Redis, {checkout.name}: {grown:.1f} bytes per rating at {ratings} a user")
    return grown


def _settled(database: "redis.Redis") -> int:
    """`used_memory` once the writes behind the answers are in."""
    last = -1
    while True:
        info = database.info("memory")
        assert isinstance(info, dict)
        used = int(info["used_memory"])
        if used == last:
            return used
        last = used
        time.sleep(SETTLE_SECONDS)


def _fill(gateway: Contender, first: int, users: int, ratings: int) -> None:
    """Read `ratings` ratings of each user, 100 in a request."""
    uvloop.run(_filled(gateway, first, users, ratings))


async def _filled(gateway: Contender, first: int, users: int, ratings: int) -> None:
    asks = []
    for user in range(first, first + users):
        rated = ids(user, ratings)
        pages = [rated[start : start + IDS_PER_REQUEST] for start in range(0, ratings, IDS_PER_REQUEST)]
        asks += [Ask(target("albums", page), token(user)) for page in pages]
    async with client(gateway.port, {}) as made:
        await hammer(made, asks, callers=8, ratings=IDS_PER_REQUEST)
