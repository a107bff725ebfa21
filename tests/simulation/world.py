"""A gateway's cache, single flight, reader and writer on a simulated Apple; random callers; a judge."""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import msgspec

from gateway.apple.client import AppleSuccess
from gateway.apple.quarantine import Quarantine
from gateway.cache.entry import Freshness
from gateway.errors import GatewayError
from gateway.fetch.batcher import Batch
from gateway.fetch.single_flight import SingleFlight
from gateway.model import Id, Kind, Partition, Rating, User, UserKind
from gateway.ratings.query import NO_DIRECTIVES, Answer, Directives, Part, Query
from gateway.riders import Riders
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Requester, Waiters
from tests.simulation.apple import LONGEST_DELAY, Place, SimulatedApple, paired_place
from tests.simulation.gateway import HOLD, assemble
from tests.simulation.loop import LoopClock, SimulatedLoop, Stuck, run
from tests.waiting import other_tasks

FRESH, REVALIDATE, IF_ERROR = 2.0, 1.0, 3.0
USERS = [User.of("ada"), User.of("ben")]
IDS = {Kind.ALBUMS: ["1", "2"], Kind.LIBRARY_ALBUMS: ["l.1", "l.2"]}
METRICS = Metrics()
TIE = 1e-6
"""Events at the same moment may have happened in either order."""
LONGEST_END = 60.0
"""Seconds within which everything that was begun ends."""
CALLERS = 5
CALLS = 12


class WriteRecord(NamedTuple):
    began: float
    ended: float
    number: int | None
    """Number of the state that it made; None if undetermined."""


class ReportingSingleFlight(SingleFlight):
    """Reports the stamps of a batch's ids when it is dispatched."""

    on_dispatch: Callable[[Mapping[Id, Hashable]], None]

    def _dispatch(self, batch: Batch) -> None:
        super()._dispatch(batch)
        fetches = batch.fetches | batch.riders.fetches
        self.on_dispatch({id_: fetch.stamp for id_, fetch in fetches.items()})


class World:
    """One run; `faults` lists every broken expectation."""

    def __init__(self, seed: int) -> None:
        self.loop = SimulatedLoop()
        self._chance = chance = random.Random(seed)
        self._clock = clock = LoopClock(self.loop)
        self.faults: list[str] = []
        self._failing = chance.choice((0.0, 0.0, 0.2))
        self._apple = SimulatedApple(chance, failing=self._failing, epoch_of=self._epoch)
        self._dispatched: deque[tuple[Mapping[UserKind, int], Mapping[Id, Hashable]]] = deque()
        self._drops: dict[UserKind, int] = {}
        self._tasks = tasks = Tasks(lambda name, error: self.faults.append(f"{name}: {error!r}"))
        parts = assemble(
            self._fetch,
            self._apple,  # type: ignore[arg-type]
            freshness=Freshness(FRESH, REVALIDATE, IF_ERROR, 0.0),
            size=3,
            chance=chance,
            on_drop=self._record_drop,
            quarantine=Quarantine(seconds=10.0, metrics=METRICS),
            clock=clock,
            tasks=tasks,
            metrics=METRICS,
            flights_of=ReportingSingleFlight,
        )
        self._cache, self._flights, self._reader, self._writer = parts
        assert isinstance(parts.flights, ReportingSingleFlight)
        parts.flights.on_dispatch = self._record_dispatch
        self._wrote: dict[Place, list[WriteRecord]] = {}
        self._purged: dict[UserKind, list[float]] = {}

    def run(self) -> list[str]:
        """Run, and return the faults; equal for equal seeds."""
        try:
            run(self.loop, self._run())
        except (Stuck, TimeoutError) as error:
            self.faults.append(f"stuck: {error!r}")
        self.faults += [f"unseen: {context}" for context in self.loop.faults]
        self.faults += [f"fetched twice at a time: {place}" for place in self._apple.doubled]
        return self.faults

    @property
    def states(self) -> int:
        """How many states Apple's ratings went through."""
        return self._apple.states

    async def _run(self) -> None:
        await asyncio.gather(*(self._call() for _ in range(CALLERS)))
        if self._chance.random() < 0.3:
            self._flights.close()
            await asyncio.sleep(self._chance.uniform(0, 1))
            await self._tasks.cancel()
        await asyncio.sleep(1)  # batches that still gather are dispatched
        async with asyncio.timeout(LONGEST_END):
            while other_tasks():  # noqa: ASYNC110 - no event announces the end of the last task
                await asyncio.sleep(0.1)
        for user, (kind, ids) in product(USERS, IDS.items()):
            left = [id_ for id_ in ids if self._flights.in_flight(Partition(user, kind), Id(id_))]
            self.faults += [f"left in flight: {user.key.hex()} {kind} {left}"] if left else []

    async def _call(self) -> None:
        calls = {self._read: 8, self._write: 3, self._purge: 2, self._rate_elsewhere: 3}
        for _ in range(CALLS):
            await asyncio.sleep(self._chance.choice((0.0, 0.01, self._chance.uniform(0, 1))))
            (call,) = self._chance.choices(list(calls), list(calls.values()))
            user = self._chance.choice(USERS)
            kind = self._chance.choice(list(IDS))
            await self._left_at_random(call, user, kind)

    async def _left_at_random(
        self, call: Callable[[User, Kind], Awaitable[None]], user: User, kind: Kind
    ) -> None:
        """Make the call; a quarter of the callers are cancelled after a while."""
        calling = asyncio.ensure_future(call(user, kind))
        if self._chance.random() < 0.25:
            await asyncio.wait([calling], timeout=self._chance.choice((0.0, 0.001, 0.01, 0.1)))
            calling.cancel()
        await asyncio.wait([calling])
        if not calling.cancelled() and (error := calling.exception()) is not None:
            self.faults.append(f"{call.__name__}: {error!r}")

    async def _read(self, user: User, kind: Kind) -> None:
        ids = tuple(Id(id_) for id_ in self._chance.sample(IDS[kind], self._chance.choice((1, 2))))
        directives = self._chance.choice((NO_DIRECTIVES, NO_DIRECTIVES, Directives(no_cache=True)))
        began = self.loop.time()
        answer = await self._reader.read(Query(user, (Part(kind, ids),), directives=directives))
        if answer.failures:
            if not self._failing:
                self.faults.append(f"read: {answer.failures[0].error!r}")
            return
        self._judge(user, kind, ids, answer, began, asked=directives.no_cache)

    def _judge(
        self, user: User, kind: Kind, ids: tuple[Id, ...], answer: Answer, began: float, *, asked: bool
    ) -> None:
        rated = {item["id"]: item for item in msgspec.json.decode(b"[%b]" % answer.resources)}
        for id_ in ids:
            place = (user.key, kind, id_)
            history = self._apple.history(place)
            least = self._least(place, began, asked=asked)
            if (item := rated.get(id_)) is None:
                held = {history[number].value for number in self._held(place, began)}
                if all(state.value is not None for state in history[least:]) and None not in held:
                    self.faults.append(f"{place}: unrated, though it is not since state {least}")
                continue
            meta = item["meta"]
            if (meta["user"], meta["kind"]) != (user.key.hex(), kind):
                self.faults.append(f"{place}: another's rating, {meta}")
            elif meta["number"] not in self._held(place, began) | set(range(least, len(history))):
                self.faults.append(
                    f"{place} at {began:.3f}: state {meta['number']}, expected {least} or later"
                )

    def _least(self, place: Place, began: float, *, asked: bool) -> int:
        """The oldest state that a read may return that began then."""
        user_key, kind, _ = place
        lag = self._apple.lag
        oldest = FRESH + max(REVALIDATE, IF_ERROR if self._failing else 0)
        # A shared or cached answer was read up to half a call before it arrived.
        moments = [began - (0 if asked and not self._failing else oldest) - LONGEST_DELAY - lag]
        for purged in self._purged.get((user_key, kind), ()):
            if purged < began:
                # A pending write outlives a purge, and may be as old as its call.
                writing = any(w.began <= purged <= w.ended for w in self._wrote.get(place, ()))
                moments.append(purged - lag - (LONGEST_DELAY if writing else 0))
        if not self._failing:  # else stale entries may be served
            moments += [
                wrote.ended - lag
                for wrote in self._paired_writes(place)
                if wrote.ended + (HOLD + lag if lag else 0) < began
            ]
            # A write took effect up to half a call before its answer arrived.
            ended = [wrote.ended - LONGEST_DELAY for wrote in self._wrote.get(place, ())]
            moments += [moment for moment in ended if moment + LONGEST_DELAY + lag < began]
        least = max(self._apple.number_at(place, moment - TIE) for moment in moments)
        if self._alone(writes := self._wrote.get(place, []), began):
            least = max(least, writes[-1].number or 0)
        return least

    def _held(self, place: Place, began: float) -> set[int]:
        """Written states that may outrank a later write on the paired type."""
        history = self._apple.history(place)
        since = began - HOLD - LONGEST_DELAY
        written = [n for n in self._apple.written.get(place, ()) if history[n].since < began]
        if not self._failing:
            # A later write that ended voids the hold of an earlier one, whether it is held itself or not.
            settled = [n for n in written if history[n].since + LONGEST_DELAY + self._apple.lag < began]
            written = [n for n in written if n >= max(settled, default=0)]
        return {number for number in written if history[number].since >= since}

    def _alone(self, writes: list[WriteRecord], began: float) -> bool:
        """Whether the last write had succeeded by then without overlapping with an earlier one."""
        if not writes or writes[-1].number is None or writes[-1].ended >= began:
            return False
        return all(before.ended < writes[-1].began for before in writes[:-1])

    def _paired_writes(self, place: Place) -> list[WriteRecord]:
        paired = paired_place(place)
        return [] if paired is None else self._wrote.get(paired, [])

    async def _write(self, user: User, kind: Kind) -> None:
        id_ = Id(self._chance.choice(IDS[kind]))
        place = (user.key, kind, id_)
        value = self._chance.choice((1, -1, None))
        writes = self._wrote.setdefault(place, [])
        began = self.loop.time()
        mine = len(writes)
        writes.append(WriteRecord(began, float("inf"), None))
        number = None
        try:
            answer = await self._writer.write(user, kind, id_, value, "", began + 10, Requester())
            if isinstance(answer, AppleSuccess):
                number = self._number(place, answer.body, began)
            elif not self._failing:
                self.faults.append(f"write: {answer!r}")
        finally:
            if not asyncio.current_task().cancelling():  # type: ignore[union-attr]
                writes[mine] = WriteRecord(began, self.loop.time(), number)

    def _number(self, place: Place, body: bytes, began: float) -> int | None:
        if body:
            number: int = msgspec.json.decode(body)["data"][0]["meta"]["number"]
            return number
        history = self._apple.history(place)
        own = [
            n
            for n in self._apple.written.get(place, ())
            if history[n].since >= began and not history[n].value
        ]
        return own[0] if own else None

    def _record_dispatch(self, stamps: Mapping[Id, Hashable]) -> None:
        self._dispatched.append((dict(self._drops), stamps))

    async def _fetch(
        self,
        partition: Partition,
        ids: Sequence[Id],
        *,
        riders: Riders,
        waiters: Waiters,
        deadline: float,
    ) -> Mapping[Id, Rating | GatewayError]:
        # A call begins a moment after its batch was dispatched; an event in between voids it, too.
        self._at_dispatch, self._stamps = self._dispatched.popleft()
        return await self._apple.fetch(partition, ids, riders=riders, waiters=waiters, deadline=deadline)

    def _epoch(self, place: Place) -> Hashable:
        user_key, kind, id_ = place
        return self._at_dispatch.get((user_key, kind), 0), self._stamps[id_]

    def _record_drop(self, user_kind: UserKind, ids: Collection[Id] | None) -> None:
        self._drops[user_kind] = self._drops.get(user_kind, 0) + 1
        self._flights.detach(user_kind, ids)

    async def _purge(self, user: User, kind: Kind) -> None:
        await self._cache.purge(user.key, kind, None)
        self._purged.setdefault((user.key, kind), []).append(self.loop.time())

    async def _rate_elsewhere(self, user: User, kind: Kind) -> None:
        """Rate in Apple's own app, without the gateway."""
        place = (user.key, kind, Id(self._chance.choice(IDS[kind])))
        self._apple.rate(place, self._chance.choice((1, -1, None)))
