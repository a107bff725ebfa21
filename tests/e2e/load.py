"""A steady mixed load of two users with opposite ratings, and the judge of every answer to it."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from statistics import quantiles
from typing import NamedTuple

from gateway.model import Kind
from gateway.sandbox import ADA, BEN, Sandbox
from tests.e2e.harness import Client, Reply

IDS = range(1, 201)
OWN = {ADA: 1, BEN: -1}
READERS = 3
WRITTEN = (IDS[:30], IDS[30:60])
"""Of each user, by a writer each."""
STALL_SECONDS = 0.2
"""A process that was away for so long may have missed the answers to its calls: it failed, not Apple."""
PAUSE_SECONDS = 0.003
"""Between the requests of one reader or writer: a steady load, not a flood."""


class Write(NamedTuple):
    value: int
    began: float
    ended: float


class Truth:
    """The writes that were sent to Apple, and so the answers that are allowed at any moment."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._writes: dict[tuple[str, int], list[Write]] = {}
        for user, value in OWN.items():
            for id_ in IDS:
                sandbox.rate(user, Kind.ALBUMS, str(id_), value)
                self._writes[user, id_] = [Write(value, 0.0, 0.0)]

    def begin(self, user: str, id_: int, value: int) -> int:
        """A write is about to be sent; its number."""
        writes = self._writes[user, id_]
        writes.append(Write(value, time.monotonic(), float("inf")))
        return len(writes) - 1

    def end(self, user: str, id_: int, number: int) -> None:
        """Its answer has come; so one before it that failed, but may have been done, is over too."""
        writes = self._writes[user, id_]
        now = time.monotonic()
        writes[: number + 1] = [write._replace(ended=min(write.ended, now)) for write in writes[: number + 1]]

    def last(self, user: str, id_: int) -> int:
        return self._writes[user, id_][-1].value

    def allowed(self, user: str, id_: int, began: float, ended: float) -> set[int]:
        """Every value that a read from `began` to `ended` may have seen; writes of one id do not overlap."""
        settled = [write for write in self._writes[user, id_] if write.ended <= began]
        during = [write for write in self._writes[user, id_] if write.began < ended and write.ended > began]
        return {write.value for write in (*settled[-1:], *during)}


class Judged(NamedTuple):
    began: float
    seconds: float


class Failed(NamedTuple):
    began: float
    status: int
    what: str


class Load:
    """Runs against one gateway until it is ended; keeps what was wrong or failed."""

    def __init__(self, gateway: Client, truth: Truth, seed: int = 1) -> None:
        self._gateway = gateway
        self._truth = truth
        self._chance = random.Random(seed)
        self._readers = len(OWN) * READERS
        self._writers = len(OWN) * len(WRITTEN)
        self._reads = asyncio.Semaphore(self._readers)
        self._writes = asyncio.Semaphore(self._writers)
        self.judged: list[Judged] = []
        self.stale = 0
        """Of those judged, how many were answered with something stale."""
        self.writes = 0
        self.wrong: list[str] = []
        self.failed: list[Failed] = []
        self._stalled = 0.0
        """When this process was last away."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        work = [self._read(user) for user in OWN for _ in range(READERS)]
        work += [self._write(user, ids) for user in OWN for ids in WRITTEN]
        work.append(self._watch())
        tasks = [asyncio.create_task(each) for each in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task

    @asynccontextmanager
    async def no_writes(self) -> AsyncIterator[None]:
        """No write is under way for so long; the reads go on."""
        async with _all_of(self._writes, self._writers):
            yield

    @asynccontextmanager
    async def no_requests(self) -> AsyncIterator[None]:
        """Nothing is under way for so long, so the gateway's cache stays as it is."""
        async with self.no_writes(), _all_of(self._reads, self._readers):
            yield

    def p99(self, since: float, until: float) -> float:
        """Seconds, of the reads that began in that time."""
        took = [each.seconds for each in self.judged if since <= each.began < until]
        return quantiles(took, n=100)[98]

    async def _read(self, user: str) -> None:
        while True:
            ids = self._chance.sample(IDS, self._chance.choice((1, 5, 25)))
            async with self._reads:
                began = time.monotonic()
                reply = await self._gateway.get("albums", ids, user=user)
            self._judge(user, ids, reply, began)
            await asyncio.sleep(PAUSE_SECONDS)

    def _judge(self, user: str, ids: Sequence[int], reply: Reply, began: float) -> None:
        now = time.monotonic()
        self.judged.append(Judged(began, now - began))
        if reply.status != 200:
            self._fail(began, reply.status, f"{reply.body[:200]!r}")
            return
        self.stale += bool(reply.counts.get("stale"))
        found = reply.values
        for id_ in ids:
            allowed = self._truth.allowed(user, id_, began, now)
            if (value := found.get(str(id_))) not in allowed:
                self.wrong.append(f"{user} {id_}: {value}, not in {allowed}; {reply.headers['Cache-Status']}")

    async def _write(self, user: str, ids: Sequence[int]) -> None:
        while True:
            async with self._writes:
                await self._flip(user, self._chance.choice(ids))
            await asyncio.sleep(10 * PAUSE_SECONDS)

    async def _flip(self, user: str, id_: int) -> None:
        value = -self._truth.last(user, id_)
        began = time.monotonic()
        number = self._truth.begin(user, id_, value)
        reply = await self._gateway.rate("albums", id_, value, user=user)
        if reply.status == 200:
            self._truth.end(user, id_, number)
            self.writes += 1
        else:
            self._fail(began, reply.status, f"write: {reply.body[:200]!r}")

    def _fail(self, began: float, status: int, what: str) -> None:
        if self._stalled < began:
            self.failed.append(Failed(began, status, what))

    async def _watch(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            if (now := time.monotonic()) - before > STALL_SECONDS:
                self._stalled = now


@asynccontextmanager
async def _all_of(semaphore: asyncio.Semaphore, count: int) -> AsyncIterator[None]:
    async with AsyncExitStack() as held:
        for _ in range(count):
            await held.enter_async_context(semaphore)
        yield
