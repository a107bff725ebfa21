"""Measures how long small requests wait beside large ones: 25-id hits during reads of 10,000 ids."""

import asyncio

import msgspec
import uvloop

from tests.bench import contenders
from tests.bench.client import Ask, Client, client, replay
from tests.bench.contenders import CALL_MS, Contender
from tests.bench.population import ids, target, token
from tests.bench.results import Bound, Figure
from tests.bench.stage import Samples, Stage
from tests.bench.stats import percentile, rotated

LARGE_IDS = 10_000
LARGE_USER, SMALL_USER = 900, 901
SMALL_RATE = 200
SECONDS = 2.0
ALONE = "nothing else, p99 ms"
FROM_MEMORY = "10,000-id hits, p99 ms"
FROM_APPLE = "10,000-id misses, p99 ms"
COMPARED = "10,000-id misses, p99 to that of the other version"
BUSY_MS = 5.0
"""A p99 above this without large requests shows that the machine was busy."""

BOUNDS = {FROM_APPLE: Bound("at most", 35.0), COMPARED: Bound("at most", 0.6)}
HEADERS = {FROM_MEMORY: {}, FROM_APPLE: {"Cache-Control": "no-cache"}}


def measure(stage: Stage) -> list[Figure]:
    """Small requests come at a steady pace, the large ones without a pause."""
    apple = contenders.upstream(stage.machine, call_ms=CALL_MS)
    gateways = [
        contenders.gateway(stage.machine, checkout, apple, {"cache__fresh_seconds": contenders.HOUR})
        for checkout in stage.checkouts
    ]
    samples = Samples("25-id hits beside large requests", stage.checkouts)
    for round_ in range(stage.rounds(3)):
        for what in (ALONE, FROM_MEMORY, FROM_APPLE):
            for gateway in rotated(gateways, round_):
                p99 = uvloop.run(_p99(gateway, what))
                samples.add(what, gateway.name, p99 * 1e3)
                stage.progress(f"round {round_ + 1}: 25 ids beside {what}, {gateway.name}: {p99 * 1e3:.1f}")
                apple.wait_idle()
    figures = samples.figures(BOUNDS, decimals=1) + samples.compared(FROM_APPLE, COMPARED, BOUNDS)
    busy = figures[0].now.median > BUSY_MS
    return [msgspec.structs.replace(figure, busy=busy) for figure in figures]


async def _p99(gateway: Contender, what: str) -> float:
    small = Ask(target("albums", ids(SMALL_USER, 25)), token(SMALL_USER))
    large = Ask(target("albums", ids(LARGE_USER, LARGE_IDS)), token(LARGE_USER))
    stop = asyncio.Event()
    async with client(gateway.port, {}) as few, client(gateway.port, HEADERS.get(what, {}), 1) as many:
        await few.ask(small)
        if what == FROM_MEMORY:
            await many.ask(large)
        loading = asyncio.create_task(_load(many, large, stop)) if what != ALONE else None
        answers = await replay(few, ((n / SMALL_RATE, small) for n in range(int(SECONDS * SMALL_RATE))))
        stop.set()
        if loading is not None:
            await loading
    if any(answer.status != 200 for answer in answers):
        raise RuntimeError(f"a hit failed beside {what}")
    return percentile([answer.seconds for answer in answers], 0.99)


async def _load(made: Client, ask: Ask, stop: asyncio.Event) -> None:
    while not stop.is_set():
        answer = await made.ask(ask)
        if answer.status != 200 or answer.body.count(b'"value"') != LARGE_IDS:
            raise RuntimeError(f"a large request was answered {answer.status}")
