"""Apple's ratings API as the gateway sees it: `fetch` for ratings, `send` for everything else."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec

from gateway.breaker import Breaker
from gateway.clock import Clock
from gateway.demand import Demand, Party
from gateway.errors import GatewayError, UpstreamError
from gateway.model import Id, Lane, Resource, Shelf, User
from gateway.telemetry.metrics import Metrics
from gateway.upstream.calls import Call, Caller
from gateway.upstream.concurrency import Gate
from gateway.upstream.developer_token import TokenSource
from gateway.upstream.quarantine import Quarantine
from gateway.upstream.retry import RetryBudget, RetryPolicy
from gateway.upstream.splitting import BatchSize, Spare, refused_as_too_large, timed_out
from gateway.upstream.transport import connect
from gateway.upstream.wire import Answer, check_json, failure_of, read_many


class Outbound(msgspec.Struct, frozen=True):
    """A request that goes to Apple as it came: a write, or a read that bypasses the cache."""

    operation: str
    """`write`, `delete` or `bypass`."""
    method: str
    path: str
    query: str
    """As it came, without the question mark; may be empty."""
    user: User
    body: bytes | None = None


class Relay(msgspec.Struct, frozen=True):
    """What Apple answered, with success (2xx); the body is JSON or empty."""

    status: int
    body: bytes


class Apple:
    """Everything that is asked of Apple goes through here."""

    def __init__(
        self, caller: Caller, *, gate: Gate, max_ids_per_call: int, clock: Clock, metrics: Metrics
    ) -> None:
        self._caller = caller
        self._gate = gate
        self._sizes = BatchSize(max_ids_per_call)
        self._now = clock.monotonic
        self._batch_ids = metrics.upstream_batch_ids

    def batch_size(self) -> int:
        """The most ids that one call should ask for now."""
        return self._sizes.current(self._now())

    def hear_throttled(self) -> None:
        """Another gateway of the same company was answered 429."""
        self._gate.hear_throttled()

    async def fetch(
        self, shelf: Shelf, ids: Sequence[Id], *, demand: Demand, deadline: float
    ) -> dict[Id, Resource | GatewayError]:
        """Ask for `ids` (distinct), in as many calls as it takes.

        No attempt begins after `deadline` (monotonic seconds); the first of a call has its whole time.

        Never raises for Apple's failures: each id gets its resource, None for unrated, or the error that is
        its own. One id that Apple refuses does not take the others with it.
        """
        size = self.batch_size()
        job = _Job(shelf, demand, deadline, size, Spare())
        batches = [ids[start : start + size] for start in range(0, len(ids), size)]
        parts = await self._ask_all(job, batches, halved=False)
        return {id_: outcome for part in parts for id_, outcome in part.outcomes.items()}

    async def send(self, call: Outbound, deadline: float, demand: Demand | None = None) -> Relay:
        """Send `call` until `deadline` (monotonic seconds) and hand on what Apple answers.

        A write is sent again only where nothing of it was sent, or Apple refused it unread (429; 401 once,
        with a new developer token). Raises `UpstreamError`, also for every answer that is no success.
        """
        answer = await self._caller.run(
            Call(
                operation=call.operation,
                method=call.method,
                target=f"{call.path}?{call.query}" if call.query else call.path,
                user=call.user,
                demand=demand or Demand(Lane.FOREGROUND, Party()),
                body=call.body,
            ),
            _success,
            deadline,
        )
        return Relay(answer.status, answer.body)

    async def _ask_all(self, job: "_Job", batches: Sequence[Sequence[Id]], *, halved: bool) -> list["_Part"]:
        if len(batches) == 1:
            return [await self._ask(job, batches[0], halved=halved)]
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(self._ask(job, ids, halved=halved)) for ids in batches]
        return [task.result() for task in asking]

    async def _ask(self, job: "_Job", ids: Sequence[Id], *, halved: bool) -> "_Part":
        """Ask in one call; where Apple refuses it as too large, ask for its halves."""
        full = len(ids) >= job.size > 1
        call = _read_call(job, ids, divisible=len(ids) > 1 and (full or halved), full=full)
        self._batch_ids.observe(len(ids))
        try:
            found = await self._caller.run(
                call, lambda answer: read_many(job.shelf.kind, ids, answer), job.deadline
            )
        except UpstreamError as failure:
            too_large = refused_as_too_large(failure) or (call.divisible and timed_out(failure))
            if len(ids) == 1 or not too_large or not job.spare.take_halves():
                return _Part(dict.fromkeys(ids, failure), as_it_stood=False)
            refusal = failure
        else:
            return _Part(dict(found), as_it_stood=True)
        middle = (len(ids) + 1) // 2
        halves = await self._ask_all(job, (ids[:middle], ids[middle:]), halved=True)
        if all(half.as_it_stood for half in halves):
            self._sizes.learn(middle, refusal, self._now())
        return _Part(halves[0].outcomes | halves[1].outcomes, as_it_stood=False)


class _Job(NamedTuple):
    """What the calls of one fetch have in common."""

    shelf: Shelf
    demand: Demand
    deadline: float
    size: int
    """The ids of a full batch."""
    spare: Spare


class _Part(NamedTuple):
    """What became of some ids of a fetch."""

    outcomes: dict[Id, Resource | GatewayError]
    as_it_stood: bool
    """Whether one call answered them all."""


def _read_call(job: _Job, ids: Sequence[Id], *, divisible: bool, full: bool) -> Call:
    shelf = job.shelf
    query = f"ids={','.join(ids)}" + (f"&{shelf.variant}" if shelf.variant else "")
    return Call(
        operation="read",
        method="GET",
        target=f"/v1/me/ratings/{shelf.kind}?{query}",
        user=shelf.user,
        demand=job.demand,
        divisible=divisible,
        full=full,
        whole=True,
    )


def _success(answer: Answer) -> Answer:
    if not 200 <= answer.status < 300:
        raise failure_of(answer)
    check_json(answer)
    return answer


@asynccontextmanager
async def open_apple(
    *,
    base_url: str,
    origin: str | None,
    max_ids_per_call: int,
    call_timeout_seconds: float,
    attempts: int,
    max_concurrency: int,
    tokens: TokenSource,
    breaker: Breaker,
    quarantine: Quarantine,
    clock: Clock,
    metrics: Metrics,
    on_throttled: Callable[[float], None],
) -> AsyncIterator[Apple]:
    """Apple's API behind everything that protects it, with a pool of connections of its own.

    `on_throttled` is told of 429s that other gateways should hear of, with the seconds that Apple asked to
    wait (0 where it named none).
    """
    gate = Gate(max_concurrency=max_concurrency, clock=clock, metrics=metrics, on_throttled=on_throttled)
    async with connect(
        base_url=base_url, origin=origin, max_concurrency=max_concurrency, clock=clock
    ) as transport:
        caller = Caller(
            transport,
            tokens=tokens,
            gate=gate,
            breaker=breaker,
            quarantine=quarantine,
            policy=RetryPolicy(attempts),
            budget=RetryBudget(),
            call_timeout_seconds=call_timeout_seconds,
            clock=clock,
            metrics=metrics,
        )
        yield Apple(caller, gate=gate, max_ids_per_call=max_ids_per_call, clock=clock, metrics=metrics)
