"""Apple's ratings API as the gateway sees it: `fetch` for ratings, `send` for everything else."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, NamedTuple, TypeAlias

import msgspec

from gateway.apple.batch_splitter import BatchSize, refused_as_too_large, timed_out
from gateway.apple.caller import UNTRIED, Call, Caller, Outgrown
from gateway.apple.concurrency import ConcurrencyLimiter
from gateway.apple.developer_token import TokenSource
from gateway.apple.quarantine import Quarantine
from gateway.apple.response import AppleResponse, check_json, failure_of, read_many
from gateway.apple.retry import RetryBudget, RetryPolicy
from gateway.apple.transport import connect
from gateway.breaker import Breaker
from gateway.clock import Clock
from gateway.errors import GatewayError, Quarantined, UpstreamError
from gateway.model import Id, Partition, Priority, Rating, User
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Requester, Waiters

_NO_HEADERS: Final[Mapping[str, str]] = {}


class Outbound(msgspec.Struct, frozen=True):
    """A request that goes to Apple as it came: a write, or a read that bypasses the cache."""

    operation: str
    """`write`, `delete`, `favorites` or `bypass`."""
    method: str
    path: str
    query: str
    """As it came, without the question mark; may be empty."""
    user: User
    body: bytes | None = None
    headers: Mapping[str, str] = _NO_HEADERS
    """Preconditions, which go along as they came."""


class Relay(msgspec.Struct, frozen=True):
    """What Apple answered, with success (2xx); the body is JSON or empty."""

    status: int
    body: bytes


class Apple:
    """Everything that is asked of Apple goes through here."""

    def __init__(
        self,
        caller: Caller,
        *,
        limiter: ConcurrencyLimiter,
        max_ids_per_call: int,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._caller = caller
        self._limiter = limiter
        self._sizes = BatchSize(max_ids_per_call)
        self._now = clock.monotonic
        self._batch_ids = metrics.upstream_batch_ids

    def batch_size(self) -> int:
        """The most ids that one call should ask for now."""
        return self._sizes.current(self._now())

    def hear_throttled(self) -> None:
        """Another gateway of the same company was answered 429."""
        self._limiter.hear_throttled()

    async def fetch(
        self, partition: Partition, ids: Sequence[Id], *, waiters: Waiters, deadline: float
    ) -> dict[Id, Rating | GatewayError]:
        """Ask for `ids` (distinct), in as many calls as it takes.

        No attempt begins after `deadline` (monotonic seconds); the first of a call has its whole time.

        Never raises for Apple's failures: each id gets its resource, None for unrated, or the error that is
        its own. One id that Apple refuses does not take the others with it.
        """
        return await self._ask_in_batches(_Job(partition, waiters, deadline), ids)

    async def send(self, call: Outbound, deadline: float, waiters: Waiters | None = None) -> Relay:
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
                waiters=waiters or Waiters(Priority.FOREGROUND, Requester()),
                body=call.body,
            ),
            _success,
            deadline,
        )
        return Relay(answer.status, answer.body)

    async def _ask_in_batches(self, job: "_Job", ids: Sequence[Id]) -> "_Outcomes":
        batches = _cut(ids, self.batch_size())
        if len(batches) == 1:
            return await self._ask(job, ids)
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(self._ask(job, batch)) for batch in batches]
        return {id_: outcome for task in asking for id_, outcome in task.result().items()}

    async def _ask(self, job: "_Job", ids: Sequence[Id]) -> "_Outcomes":
        """Ask in one call; in several where Apple is known to refuse so many, or does."""
        splitting = job.waiters.requesters[0].splitting
        try:
            answer = await self._call(
                job, ids, fits=lambda: len(ids) <= self.batch_size() and not splitting.locked()
            )
        except Outgrown:
            async with splitting:
                pass
            return await self._ask_in_batches(job, ids)
        if not (isinstance(answer, _Failure) and answer.too_large):
            return _outcomes(ids, answer)
        async with AsyncExitStack() as held:
            await held.enter_async_context(splitting)
            if len(ids) <= self.batch_size():
                return await self._split(job, ids, answer.error, held)
        # Another call has found out meanwhile how many ids Apple takes; if that drops again, one more search.
        return await self._ask_in_batches(job, ids)

    async def _split(
        self, job: "_Job", ids: Sequence[Id], refusal: UpstreamError, held: AsyncExitStack
    ) -> "_Outcomes":
        """Ask for the parts of a refused call side by side, then for the parts of those refused, in turn.

        In turn, because what the first of them teaches spares the second the same. `held` is closed as soon
        as the request's other calls have nothing to learn from it.
        """
        size = self.batch_size()
        if size < len(ids):
            parts = _cut(ids, size)
        elif len(ids) > 1 and job.waiters.take_extra(2):
            parts = _cut(ids, (len(ids) + 1) // 2)
        else:
            return dict.fromkeys(ids, refusal)
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(self._call(job, part, divisible=True)) for part in parts]
        answers = [task.result() for task in asking]
        if not any(isinstance(answer, _Failure) for answer in answers):
            self._sizes.learn(len(parts[0]), refusal, self._now())
        if any(not isinstance(answer, _Failure) for answer in answers):
            # The size is known now, or its twin was refused: then it is an id that is refused, not the size.
            await held.aclose()
        outcomes: _Outcomes = {}
        for part, answer in zip(parts, answers, strict=True):
            if isinstance(answer, _Failure) and answer.too_large:
                outcomes |= await self._split(job, part, answer.error, held)
            else:
                outcomes |= _outcomes(part, answer)
        return outcomes

    async def _call(
        self,
        job: "_Job",
        ids: Sequence[Id],
        *,
        divisible: bool = False,
        fits: Callable[[], bool] = lambda: True,
    ) -> "dict[Id, Rating] | _Failure":
        partition = job.partition
        query = f"ids={','.join(ids)}" + (f"&{partition.variant}" if partition.variant else "")
        full = len(ids) >= self.batch_size()
        call = Call(
            operation="read",
            method="GET",
            target=f"/v1/me/ratings/{partition.kind}?{query}",
            user=partition.user,
            waiters=job.waiters,
            divisible=len(ids) > 1 and (divisible or full),
            whole=True,
            fits=fits,
        )
        try:
            answer: dict[Id, Rating] | _Failure = await self._caller.run(
                call, lambda answer: read_many(partition.kind, ids, answer), job.deadline
            )
        except UpstreamError as error:
            if isinstance(error, (*UNTRIED, Quarantined)):
                # No call was made: the deadline ends the wait for one, never the first try of a `whole` one.
                return _Failure(error, too_large=False)
            answer = _Failure(error, refused_as_too_large(error) or (call.divisible and timed_out(error)))
        self._batch_ids.observe(len(ids))
        return answer


class _Job(NamedTuple):
    """What the calls of one fetch have in common."""

    partition: Partition
    waiters: Waiters
    deadline: float


class _Failure(NamedTuple):
    """How a call failed, and whether its parts may fare better."""

    error: UpstreamError
    too_large: bool


_Outcomes: TypeAlias = dict[Id, Rating | GatewayError]


def _outcomes(ids: Sequence[Id], answer: dict[Id, Rating] | _Failure) -> _Outcomes:
    return dict.fromkeys(ids, answer.error) if isinstance(answer, _Failure) else {**answer}


def _cut(ids: Sequence[Id], size: int) -> list[Sequence[Id]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def _success(answer: AppleResponse) -> AppleResponse:
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
    proxy_url: str | None = None,
) -> AsyncIterator[Apple]:
    """Apple's API behind everything that protects it, with a pool of connections of its own.

    `on_throttled` is told of 429s that other gateways should hear of, with the seconds that Apple asked to
    wait (0 where it named none).
    """
    limiter = ConcurrencyLimiter(
        max_concurrency=max_concurrency, clock=clock, metrics=metrics, on_throttled=on_throttled
    )
    async with connect(
        base_url=base_url,
        origin=origin,
        max_concurrency=max_concurrency,
        clock=clock,
        proxy_url=proxy_url,
    ) as transport:
        caller = Caller(
            transport,
            tokens=tokens,
            limiter=limiter,
            breaker=breaker,
            quarantine=quarantine,
            policy=RetryPolicy(attempts),
            budget=RetryBudget(),
            call_timeout_seconds=call_timeout_seconds,
            clock=clock,
            metrics=metrics,
        )
        yield Apple(caller, limiter=limiter, max_ids_per_call=max_ids_per_call, clock=clock, metrics=metrics)
