"""Armed faults, and the calls that wait at a hold."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from random import Random
from typing import Literal

import msgspec

from gateway.sandbox.faults import EVERYWHERE, AnyEffect, CannedReply, Fault, Where
from gateway.sandbox.journal import RecordedCall


class Armed:
    """A fault that strikes until it is disarmed; `fired` counts the struck calls."""

    def __init__(self, id_: str, fault: Fault) -> None:
        self.id = id_
        self.fault = fault
        self.fired = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._struck = asyncio.Event()
        self._open = False

    @property
    def waiting(self) -> int:
        """Number of calls that wait at this fault."""
        return len(self._waiting)

    async def reached(self, calls: int = 1) -> None:
        """Wait until at least `calls` calls wait at this fault."""
        while self.waiting < calls:
            self._struck.clear()
            await self._struck.wait()

    def release(self, calls: int | None = None) -> None:
        """Release the calls that have waited longest; None: all, and later ones do not wait."""
        self._open = self._open or calls is None
        for _ in range(self.waiting if calls is None else min(calls, self.waiting)):
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        """Wait for `release`. A cancelled call leaves the queue."""
        if self._open:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._struck.set()
        try:
            await waiter
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)


class Faults:
    """The armed faults, in the order they were armed; falsy if there are none."""

    def __init__(self, random: Random, *, known_as: Callable[[str], str] = str) -> None:
        """`known_as` maps the token of a known user to the label that calls carry."""
        self._random = random
        self._known_as = known_as
        self._armed: dict[str, Armed] = {}
        self._made = 0

    def __len__(self) -> int:
        return len(self._armed)

    def __iter__(self) -> Iterator[Armed]:
        return iter(tuple(self._armed.values()))

    def __getitem__(self, id_: str) -> Armed:
        return self._armed[id_]

    def add(
        self,
        effect: AnyEffect,
        *,
        where: Where = EVERYWHERE,
        times: int | None = None,
        fraction: float = 1.0,
    ) -> Armed:
        """Arm a fault that strikes the first `times` matching calls, each with probability `fraction`."""
        return self.arm(Fault(effect, where, times, fraction))

    def arm(self, fault: Fault) -> Armed:
        """Arm a fault; it applies to the next call."""
        if fault.where.user is not None:
            where = msgspec.structs.replace(fault.where, user=self._known_as(fault.where.user))
            fault = msgspec.structs.replace(fault, where=where)
        self._made += 1
        armed = self._armed[f"f{self._made}"] = Armed(f"f{self._made}", fault)
        return armed

    def poison(self, id_: str, *, status: Literal[400, 500] = 500) -> Armed:
        """Fail every call that contains this id."""
        return self.add(CannedReply(status), where=Where(id=id_))

    def remove(self, id_: str) -> None:
        """Disarm a fault and release its calls. Raises KeyError for an unknown id."""
        self._armed.pop(id_).release()

    def clear(self) -> None:
        """Disarm all faults and release their calls."""
        for id_ in tuple(self._armed):
            self.remove(id_)

    def strike(self, call: RecordedCall) -> tuple[Armed, ...]:
        """The faults that strike this call, which each counts."""
        struck = tuple(
            armed
            for armed in self._armed.values()
            if armed.fault.strikes(call, fired=armed.fired, chance=self._chance(armed.fault))
        )
        for armed in struck:
            armed.fired += 1
        return struck

    def _chance(self, fault: Fault) -> float:
        return self._random.random() if fault.fraction < 1 else 0.0
