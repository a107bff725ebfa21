"""A gateway in front of a failing Apple in virtual time, with random callers.

Everything between reader and wire is the gateway's own: cache, single flight, batch splitter, retries,
attribution, breaker, quarantine.
"""

import asyncio
import random
from collections.abc import Collection
from itertools import product

import msgspec

from gateway.apple.client import AppleSuccess
from gateway.apple.concurrency import ConcurrencyLimiter
from gateway.apple.developer_token import TokenSource
from gateway.apple.quarantine import Quarantine
from gateway.breaker import Breaker
from gateway.cache.entry import Freshness
from gateway.factories import build_apple
from gateway.model import Id, Kind, User, UserKind
from gateway.ratings.query import NO_DIRECTIVES, Directives, Part, Query
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Requester
from tests.apple.builders import KEY
from tests.simulation.apple import Ratings
from tests.simulation.failure_judge import (
    CALL_SECONDS,
    FETCH_SECONDS,
    FRESH,
    IF_ERROR,
    QUARANTINE,
    REVALIDATE,
    WINDOW,
    Judge,
    Wrote,
)
from tests.simulation.failure_plan import HEALTHY, IDS, RUN_SECONDS, USERS, FailurePlan
from tests.simulation.gateway import Parts, assemble
from tests.simulation.loop import START, LoopClock, SimulatedLoop, Stuck, run
from tests.simulation.transport import SimulatedWire

CALLERS = 6


class FailingWorld:
    """One run; `run` returns every broken expectation."""

    def __init__(self, seed: int) -> None:
        self.loop = SimulatedLoop()
        self._chance = chance = random.Random(seed)
        self._plan = plan = FailurePlan(chance, START)
        self._metrics = Metrics()
        ratings = Ratings(chance)
        self._wire = SimulatedWire(chance, ratings, plan)
        self._judge = Judge(plan, ratings, self._wire.exchanges, self.loop.time)
        self._tasks = Tasks(lambda name, error: self._judge.faults.append(f"{name}: {error!r}"))
        self._gateway = self._build(LoopClock(self.loop))

    def run(self) -> list[str]:
        """Run, and return the faults; equal for equal seeds."""
        faults = self._judge.faults
        try:
            run(self.loop, self._run())
        except (Stuck, TimeoutError) as error:
            faults.append(f"stuck: {error!r}")
        return faults + [f"unseen: {context}" for context in self.loop.faults]

    def _build(self, clock: LoopClock) -> Parts:
        metrics, chance = self._metrics, self._chance
        tokens = TokenSource(KEY, clock, metrics)
        quarantine = Quarantine(seconds=QUARANTINE, metrics=metrics)
        breaker = Breaker(
            error_rate=0.5,
            window_seconds=WINDOW,
            min_calls=20,
            open_seconds=5.0,
            on_change=self._judge.breaker,
        )
        limiter = ConcurrencyLimiter(
            max_concurrency=64,
            clock=clock,
            metrics=metrics,
            on_throttled=lambda _: None,
            chance=chance.random,
        )
        apple = build_apple(
            self._wire,
            limiter=limiter,
            tokens=tokens,
            breaker=breaker,
            quarantine=quarantine,
            max_ids_per_call=100,
            call_timeout_seconds=CALL_SECONDS,
            attempts=5,
            clock=clock,
            metrics=metrics,
            chance=chance.random,
        )
        return assemble(
            apple.fetch,
            apple,
            freshness=Freshness(FRESH, REVALIDATE, IF_ERROR, 0.0),
            size=100,
            chance=chance,
            on_drop=self._forget,
            quarantine=quarantine,
            clock=clock,
            tasks=self._tasks,
            metrics=metrics,
        )

    def _forget(self, user_kind: UserKind, ids: Collection[Id] | None) -> None:
        self._gateway.flights.detach(user_kind, ids)

    async def _run(self) -> None:
        await self._read_healthy()
        await asyncio.gather(*(self._call() for _ in range(CALLERS)))
        await self._read_healthy()
        self._judge.end(self._metrics)
        await asyncio.sleep(FETCH_SECONDS)
        await self._tasks.cancel()

    async def _read_healthy(self) -> None:
        """Read as the healthy users: first, so that no failing user asks alone; last, to see recovery."""
        for user, (kind, ids) in product(HEALTHY, IDS.items()):
            await self._read(user, kind, [*map(Id, ids)], Directives(no_cache=True))

    async def _call(self) -> None:
        chance = self._chance
        while self.loop.time() < START + RUN_SECONDS:
            await asyncio.sleep(chance.uniform(0.0, 2.0))
            user, kind = chance.choice(USERS), chance.choice(list(IDS))
            if chance.random() < 0.2:
                await self._write(user, kind)
                continue
            ids = chance.sample(IDS[kind], chance.randint(1, len(IDS[kind])))
            directives = chance.choice((NO_DIRECTIVES, NO_DIRECTIVES, Directives(no_cache=True)))
            await self._read(user, kind, [*map(Id, ids)], directives)

    async def _write(self, user: User, kind: Kind) -> None:
        bad = [place[2] for place, *_ in self._plan.ids if place[:2] == (user.key, kind)]
        id_ = Id(self._chance.choice([*IDS[kind], *bad, *bad, *bad]))
        place = (user.key, kind, id_)
        writes = self._judge.wrote.setdefault(place, [])
        began, mine = self.loop.time(), len(writes)
        writes.append(Wrote(began, float("inf"), None))
        number = None
        value = self._chance.choice((1, -1))
        answer = await self._gateway.writer.write(user, kind, id_, value, "", began + 10.0, Requester())
        if isinstance(answer, AppleSuccess):
            number = int(msgspec.json.decode(answer.body)["data"][0]["meta"]["number"])
        else:
            self._judge.failure(place, answer, began)
        writes[mine] = Wrote(began, self.loop.time(), number)

    async def _read(self, user: User, kind: Kind, ids: list[Id], directives: Directives) -> None:
        reader, began = self._gateway.reader, self.loop.time()
        query = Query(user, (Part(kind, ids),), directives=directives, deadline=began + 30.0)
        answer = reader.at_once(query) or await reader.read(query)
        for failure in answer.failures:
            self._judge.failure((user.key, kind, failure.id), failure.error, began)
        failed = {failure.id for failure in answer.failures}
        self._judge.stale(user, kind, ids, answer, began)
        self._judge.ratings(user, kind, [id_ for id_ in ids if id_ not in failed], answer, began)
