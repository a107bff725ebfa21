"""What the number of ids in one request costs, and whether a large request keeps a small one waiting."""

import asyncio
import re
from collections.abc import Callable, Sequence

import uvloop

from tests.bench import contenders
from tests.bench.client import Ask, Client, Timed, client, replay
from tests.bench.contenders import Contender
from tests.bench.machine import Machine
from tests.bench.population import ids, target, token
from tests.bench.results import Beside, Size, Sizes
from tests.bench.stats import percentile
from tests.bench.upstream import Upstream

COUNTS = (25, 100, 1_000, 3_000, 10_000)
LARGE_USER, SMALL_USER = 900, 901
SMALL_RATE = 100
ASK_APPLE = {"Cache-Control": "no-cache"}


def measure(
    machine: Machine, upstream: Upstream, *, repeats: int, seconds: float, tell: Callable[[str], None]
) -> Sizes:
    """Everything rated, so that answers are as large as they get."""
    rated = ids(LARGE_USER, max(COUNTS))
    upstream.add_user(token(LARGE_USER), albums=rated)
    upstream.add_user(token(SMALL_USER), albums=ids(SMALL_USER, 25))
    upstream.be_late()
    gateway = contenders.gateway(machine, upstream, "gateway", {})
    asks = {count: Ask(target("albums", rated[:count]), token(LARGE_USER)) for count in COUNTS}
    sizes = []
    for count in COUNTS:
        miss = uvloop.run(_one_by_one(gateway, ASK_APPLE, asks[count], count, repeats))
        hit = uvloop.run(_one_by_one(gateway, {}, asks[count], count, repeats))
        sizes.append(Size(count, hit=percentile(hit, 0.5), miss=percentile(miss, 0.5)))
        tell(f"{count} ids: hit {sizes[-1].hit * 1e3:.2f} ms, miss {sizes[-1].miss * 1e3:.1f} ms")
    large = asks[max(COUNTS)]
    alone = uvloop.run(_beside(gateway, "nobody", None, {}, seconds))
    beside = [
        uvloop.run(_beside(gateway, "10,000 ids from the local tier", large, {}, seconds)),
        uvloop.run(_beside(gateway, "10,000 ids from Apple", large, ASK_APPLE, seconds)),
    ]
    for one in beside:
        tell(f"25 ids beside {one.what}: p99 {one.p99 * 1e3:.1f} ms")
    return Sizes(sizes, alone, beside)


async def _one_by_one(
    gateway: Contender, headers: dict[str, str], ask: Ask, count: int, repeats: int
) -> list[float]:
    async with client(gateway.port, headers, 1) as made:
        answers = [await made.ask(ask) for _ in range(repeats)]
    _look_at(answers, count)
    return [answer.seconds for answer in answers]


async def _beside(
    gateway: Contender, what: str, large: Ask | None, headers: dict[str, str], seconds: float
) -> Beside:
    """Small hits at a steady pace while `large` is asked for again and again."""
    small = Ask(target("albums", ids(SMALL_USER, 25)), token(SMALL_USER))
    stop = asyncio.Event()
    async with client(gateway.port, {}) as small_client, client(gateway.port, headers, 1) as large_client:
        await small_client.ask(small)
        heavy = asyncio.create_task(_again(large_client, large, stop))
        moments = ((n / SMALL_RATE, small) for n in range(int(seconds * SMALL_RATE)))
        answers = await replay(small_client, moments)
        stop.set()
        large_requests = await heavy
    _look_at(answers, 25)
    took = [answer.seconds for answer in answers]
    return Beside(what, percentile(took, 0.50), percentile(took, 0.99), large_requests)


async def _again(made: Client, ask: Ask | None, stop: asyncio.Event) -> int:
    count = 0
    while ask is not None and not stop.is_set():
        await made.ask(ask)
        count += 1
    return count


def _look_at(answers: Sequence[Timed], ids_asked: int) -> None:
    for answer in answers[-1:]:
        found = len(re.findall(rb'"value"', answer.body))
        if answer.status != 200 or found != ids_asked:
            raise RuntimeError(f"{ids_asked} ids: {answer.status} with {found} ratings")
