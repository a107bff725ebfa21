"""One call to Apple with its attempts: quarantine, slot, breaker, exchange, and perhaps another try.

Every attempt takes a slot of its own and gives it back before the wait for the next.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from gateway.apple.concurrency import ConcurrencyLimiter
from gateway.apple.developer_token import TokenSource
from gateway.apple.quarantine import Quarantine
from gateway.apple.response import AppleResponse
from gateway.apple.retry import RetryBudget, RetryPolicy, reason, repeatable_write
from gateway.apple.transport import Transport
from gateway.breaker import Admission, Breaker
from gateway.clock import Clock
from gateway.errors import (
    BreakerOpen,
    DeadlineExceeded,
    NoCapacity,
    Relayed,
    Unreachable,
    Unusable,
    UpstreamError,
)
from gateway.model import User
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Waiters

T = TypeVar("T")


class Outgrown(Exception):
    """A call was not made: while it waited for its turn, one like it was refused as too large."""


UNTRIED: Final = (BreakerOpen, NoCapacity, DeadlineExceeded)
"""Failures in which an attempt did not get as far as Apple."""


class Call(msgspec.Struct, frozen=True):
    """What is asked of Apple, for whom."""

    operation: str
    """`read`, `write`, `delete` or `bypass`: the label of the metrics."""
    method: str
    target: str
    """Path and query, as they go on the wire."""
    user: User
    waiters: Waiters
    body: bytes | None = None
    divisible: bool = False
    """A 504 is handed back at once, because the caller can ask for less, and is no sign that Apple is ill."""
    whole: bool = False
    """The first attempt has the whole call timeout, whatever the deadline: what it brings is kept."""

    fits: Callable[[], bool] = lambda: True
    """Asked when its turn has come, before the first attempt: False where it would only be refused."""

    @property
    def repeatable(self) -> bool:
        """Whether doing it twice is the same as doing it once, whoever else writes."""
        return self.method == "GET"


class Caller:
    """Makes calls through everything that stands between the gateway and Apple."""

    def __init__(
        self,
        transport: Transport,
        *,
        tokens: TokenSource,
        limiter: ConcurrencyLimiter,
        breaker: Breaker,
        quarantine: Quarantine,
        policy: RetryPolicy,
        budget: RetryBudget,
        call_timeout_seconds: float,
        clock: Clock,
        metrics: Metrics,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._transport = transport
        self._tokens = tokens
        self._limiter = limiter
        self._breaker = breaker
        self._quarantine = quarantine
        self._policy = policy
        self._budget = budget
        self._call_timeout = call_timeout_seconds
        self._now = clock.monotonic
        self._metrics = metrics
        self._chance = chance
        self._sleep = sleep

    async def run(self, call: Call, read: Callable[[AppleResponse], T], deadline: float) -> T:
        """Make `call` until `read` accepts an answer, or until trying again makes no sense.

        `read` raises `UpstreamError` for what is no success; the last such failure is raised. `deadline` is
        in monotonic seconds. Raises `Outgrown` where the call does not fit any more.
        """
        attempt = 1
        renewed = False
        failure: UpstreamError | None = None
        while True:
            token = self._tokens.current().text
            try:
                return await self._attempt(call, token, read, deadline, first=attempt == 1)
            except UNTRIED as untried:
                # What Apple said to the attempt before tells more than why there was no other.
                raise failure or untried from None
            except UpstreamError as error:
                failure = error
            if not renewed and isinstance(failure, Relayed) and failure.status == 401:
                if self._tokens.renew(token) is None:
                    raise failure
                renewed = True
                self._metrics.upstream_retries.labels("401").inc()
                continue
            await self._back_off(call, failure, attempt, deadline)
            attempt += 1

    async def _back_off(self, call: Call, failure: UpstreamError, attempt: int, deadline: float) -> None:
        """Wait for the next attempt, or raise `failure` where there is none."""
        handed_back = call.divisible and isinstance(failure, Relayed) and failure.status == 504
        if handed_back or not (call.repeatable or repeatable_write(failure)):
            raise failure
        now = self._now()
        wait = self._policy.wait(failure, attempt=attempt, left=deadline - now, chance=self._chance())
        if wait is None or not self._budget.take(now):
            raise failure
        self._metrics.upstream_retries.labels(reason(failure)).inc()
        await self._sleep(wait)

    async def _attempt(
        self, call: Call, token: str, read: Callable[[AppleResponse], T], deadline: float, *, first: bool
    ) -> T:
        user_key = call.user.key
        self._quarantine.check(user_key, self._now())
        if self._breaker.refuses(self._now()):
            raise self._open()
        async with self._limiter.slot(call.waiters, deadline):
            now = self._now()
            # Much may have been learnt while this call stood in the queue.
            self._quarantine.check(user_key, now)
            if deadline <= now:
                raise DeadlineExceeded("The time for asking Apple Music is up.")
            if first and not call.fits():
                raise Outgrown
            admission = self._breaker.admit(now)
            if admission is None:
                raise self._open()
            self._budget.count_call(now)
            call.waiters.count_call()
            # Cut short, a write may have been carried out and nobody would know.
            whole = not call.repeatable or (first and call.whole)
            timeout = self._call_timeout if whole else min(deadline - now, self._call_timeout)
            return await self._exchange(call, token, read, admission, timeout)

    async def _exchange(
        self,
        call: Call,
        token: str,
        read: Callable[[AppleResponse], T],
        admission: Admission,
        timeout: float,  # noqa: ASYNC109 - of the exchange
    ) -> T:
        began = self._now()
        status = "cancelled"
        cut = timeout < self._call_timeout
        try:
            answer = await self._transport.exchange(
                call.method,
                call.target,
                developer_token=token,
                user_token=call.user.token,
                body=call.body,
                timeout=timeout,
            )
            status = str(answer.status)
            result = await self._transport.parse(read, answer)
        except UpstreamError as error:
            failure = _cut_short(error) if cut else error
            status = _label(failure)
            self._hear(call, failure, admission)
            if failure is error:
                raise
            raise failure from error
        except BaseException:
            self._breaker.forget(admission)
            raise
        else:
            self._breaker.record(admission, ok=True, now=self._now())
            self._limiter.succeeded()
            return result
        finally:
            self._metrics.upstream_requests.labels(call.operation, status).inc()
            self._metrics.upstream_request_duration.labels(call.operation).observe(self._now() - began)

    def _hear(self, call: Call, failure: UpstreamError, admission: Admission) -> None:
        """Tell everybody concerned how the exchange failed."""
        now = self._now()
        status = failure.status if isinstance(failure, Relayed) else None
        if status == 429:
            self._limiter.throttled(failure.retry_after)
        if status == 429 or (status == 504 and call.divisible) or isinstance(failure, DeadlineExceeded):
            self._breaker.forget(admission)
            return
        theirs = status is None or status >= 500
        self._breaker.record(admission, ok=not theirs, now=now)
        if not theirs and isinstance(failure, Relayed):
            self._limiter.succeeded()
            self._quarantine.hear(call.user.key, failure, now)

    def _open(self) -> BreakerOpen:
        return BreakerOpen(
            "Apple Music failed too often lately; it is not asked for a moment.",
            retry_after=self._breaker.retry_after(self._now()),
        )


def _cut_short(failure: UpstreamError) -> UpstreamError:
    """A timeout that came from the deadline, and says nothing about how long Apple takes."""
    if isinstance(failure, Unreachable) and failure.proxy_error in {
        "http_response_timeout",
        "connection_timeout",
    }:
        return DeadlineExceeded("Apple Music did not answer in time.")
    return failure


def _label(failure: UpstreamError) -> str:
    """The `status` of `upstream_requests_total`: what Apple answered, or the kind of failure."""
    match failure:
        case Relayed():
            return str(failure.status)
        case Unreachable(proxy_error=str(kind)):
            return kind
        case Unusable():
            return "unusable"
        case _:
            return "deadline"
