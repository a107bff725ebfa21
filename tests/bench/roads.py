"""The ways to an answer of 25 ids: who is asked and how, made ready for each way, and loaded."""

import re
from collections.abc import Mapping, Sequence

import msgspec
import uvloop

from tests.bench import contenders
from tests.bench.client import Ask, Load, Timed, client, each, hammer
from tests.bench.contenders import Contender
from tests.bench.machine import Machine
from tests.bench.population import IDS_PER_REQUEST, RATINGS_PER_USER, USERS, ids, lists, token
from tests.bench.upstream import Upstream

BARE = "bare aiohttp handler"
LOCAL = "gateway, local tier"
REDIS = "gateway, Redis"
MISS = "gateway, asking Apple"
NGINX = "nginx proxy_cache"
VARNISH = "Varnish"
DIRECT = "straight to the stand-in"

CALLERS = 32


class Road(msgspec.Struct, frozen=True):
    """A contender, and how it is asked so that its answers come this way."""

    name: str
    contender: Contender
    headers: Mapping[str, str] = {}
    asks_apple: bool = False
    cpu_counts: bool = True
    """Whether the CPU time of the process says anything: the stand-in's does not."""


class Roads(msgspec.Struct, frozen=True):
    """All of them, and the requests that they are measured with."""

    upstream: Upstream
    asks: Sequence[Ask]
    roads: Sequence[Road]

    @classmethod
    def build(cls, machine: Machine, upstream: Upstream) -> "Roads":
        """Add the users and start every contender that is installed."""
        asks = lists(USERS * RATINGS_PER_USER // IDS_PER_REQUEST, IDS_PER_REQUEST)
        for user in range(USERS):
            upstream.add_user(token(user), albums=ids(user, RATINGS_PER_USER))
        return cls(upstream, asks, _started(machine, upstream, asks[0]))

    def prepare(self, road: Road) -> None:
        """Bring every answer into the cache, none older than a minute, and look at each."""
        self.upstream.be_prompt()
        self.upstream.settle()
        if not road.asks_apple:
            young = {"Cache-Control": "max-age=60"} if road.name in (LOCAL, REDIS) else {}
            uvloop.run(ask_all(msgspec.structs.replace(road, headers=young), self.asks))
        for answer in uvloop.run(ask_all(road, self.asks[:USERS])):
            rated = len(re.findall(rb'"value"', answer.body))
            if answer.status != 200 or rated != IDS_PER_REQUEST:
                raise RuntimeError(
                    f"{road.name} answers {answer.status} with {rated} ratings: {answer.head!r}"
                )
        if road.asks_apple:
            self.upstream.be_late()

    def load(self, road: Road, seconds: float) -> Load:
        """Ask as fast as `CALLERS` can."""
        return uvloop.run(_loaded(road, self.asks, seconds))


def _started(machine: Machine, upstream: Upstream, ask: Ask) -> list[Road]:
    local = contenders.gateway(machine, upstream, LOCAL, {})
    body = uvloop.run(ask_all(Road(LOCAL, local), [ask]))[0].body
    roads = [Road(BARE, contenders.bare(machine, body)), Road(LOCAL, local)]
    installed = contenders.missing()
    if "redis-server" not in installed:
        url, _ = contenders.redis(machine)
        settings = {"cache__redis_url": url, "cache__local_max_entries": 0}
        roads.append(Road(REDIS, contenders.gateway(machine, upstream, REDIS, settings)))
    roads.append(Road(MISS, local, {"Cache-Control": "no-cache"}, asks_apple=True))
    if "nginx" not in installed:
        roads.append(Road(NGINX, contenders.nginx(machine, upstream)))
    if "varnishd" not in installed:
        roads.append(Road(VARNISH, contenders.varnish(machine, upstream)))
    straight = contenders.direct(upstream)
    roads.append(Road(DIRECT, straight, straight.headers, asks_apple=True, cpu_counts=False))
    return roads


async def ask_all(road: Road, asks: Sequence[Ask]) -> list[Timed]:
    """Ask each once."""
    async with client(road.contender.port, road.headers) as made:
        return await each(made, asks)


async def _loaded(road: Road, asks: Sequence[Ask], seconds: float) -> Load:
    async with client(road.contender.port, road.headers, CALLERS) as made:
        return await hammer(made, asks, seconds=seconds, callers=CALLERS)
