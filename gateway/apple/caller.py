"""Makes one call to Apple, in as many tries as it takes.

How ids are fetched (writes and relayed reads begin at step 2):
1. `BatchSplitter` receives a `Job`: partition, waiters and deadline of one fetch. It cuts the ids into calls
   (`Call`). A call, with the fragments that it may be divided into, is one `Trial`.
2. `Caller` makes the tries of a call. Each passes the quarantine, takes a slot, is admitted by the circuit
   breaker, and goes out (`Sent`). It gives the slot back before the wait for the next try.
3. A try that failed leaves a `Symptom`. `attribute` compares it with what was asked (`Asked`) and with what
   other calls showed recently (`Evidence`). The `Verdict` names the cause, and says whether the call is
   repeated or divided, and whether the failure counts against Apple (`BreakerAccount`).
4. `Reactions` carries out the verdict: it reports the try to the breaker, the concurrency limiter, the
   quarantine and the developer token. When the call has no further try, `conclude` attributes its failure for
   good, unless it has a single try.
5. `BatchSplitter` asks for the fragments of a call that is to be divided, and for a few of its ids by
   themselves if Apple answers neither half (`Division`). When the last fragment has ended, `Settlement`
   attributes the failures that are left.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec.structs import replace

from gateway.apple.attribution import Asked, Retry, Verdict
from gateway.apple.call import Call, Failed, Outgrown, status_label
from gateway.apple.concurrency import ConcurrencyLimiter
from gateway.apple.developer_token import TokenSource
from gateway.apple.quarantine import Quarantine
from gateway.apple.reactions import Reactions
from gateway.apple.response import AppleResponse
from gateway.apple.retry import RetryBudget, RetryPolicy
from gateway.apple.transport import Transport
from gateway.apple.trial import Sent, Trial
from gateway.breaker import Breaker
from gateway.clock import Clock
from gateway.errors import BreakerOpen, DeadlineExceeded, NoCapacity, Unreachable, UpstreamError
from gateway.telemetry.metrics import Metrics

T = TypeVar("T")


class _Run:
    """How far a call has come."""

    __slots__ = ("asked", "attempt", "failed", "renewed")

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        """As of the next try."""
        self.attempt = 1
        self.failed: Failed | None = None
        self.renewed = False


class Caller:
    """Makes calls, within the concurrency limit, circuit breaker, quarantine and retry budget."""

    def __init__(
        self,
        transport: Transport,
        *,
        tokens: TokenSource,
        limiter: ConcurrencyLimiter,
        breaker: Breaker,
        quarantine: Quarantine,
        reactions: Reactions,
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
        self._reactions = reactions
        self.answered_from = reactions.answered_from
        self._policy = policy
        self._budget = budget
        self._call_timeout = call_timeout_seconds
        self._clock = clock
        self._now = clock.monotonic
        self._metrics = metrics
        self._chance = chance
        self._sleep = sleep

    async def run(self, call: Call, read: Callable[[AppleResponse], T], deadline: float) -> T | Failed:
        """Make `call` until `read` accepts an answer, or until trying again makes no sense.

        `read` raises `UpstreamError` for an answer that is not a success. `deadline` is in monotonic seconds.
        The failure of a call with a single try is not attributed for good: see `conclude`. Raises `Outgrown`
        if the call does not fit any more.
        """
        run = _Run(call.asked)
        while True:
            outcome = await self._attempt(call, run, read, deadline)
            if not isinstance(outcome, Failed):
                if run.failed is not None:
                    call.waiters.failure = None
                return outcome
            if outcome.abandoned:
                self._reactions.abandoned(call.trial)
                # Apple's answer to the previous try is more useful than the reason for no further one.
                return outcome if run.failed is None or outcome.error.remembered else run.failed
            run.failed = outcome
            call.waiters.failure = outcome.error
            if outcome.verdict.drop_riders:
                return outcome
            if not await self._again(call, run, outcome, deadline):
                if call.asked.single_try:
                    return outcome
                return self.conclude(call.trial, outcome, replace(run.asked, last=True))
            if call.asked.riders:
                return outcome._replace(again=True)

    def refusal(self, user_key: bytes, now: float) -> UpstreamError | None:
        """Return the error that answers for this user while no call is made, or None. Counts nothing."""
        failure = self._quarantine.answer(user_key, now)
        return self._open(now) if failure is None and self._breaker.refuses(now, user_key) else failure

    def check(self, user_key: bytes, *, write: bool, probing: bool = False) -> None:
        """Raise what keeps a call of this user from Apple now, and count it as a call that was not made.

        `probing`: it would be a fragment of the breaker's probe.
        """
        now = self._now()
        self._quarantine.check(user_key, now, write=write)
        if not probing and self._breaker.refuses(now, user_key):
            raise self._open(now)

    def conclude(self, trial: Trial, failed: Failed, asked: Asked) -> Failed:
        """Attribute a failure for good."""
        if failed.abandoned:
            return failed
        return Failed(failed.error, self._reactions.conclude(trial, failed.error, asked, failed.verdict))

    def end(self, trial: Trial) -> None:
        """End a trial whose call may have been divided: it may be the breaker's probe."""
        self._reactions.end(trial)

    async def _attempt(
        self, call: Call, run: _Run, read: Callable[[AppleResponse], T], deadline: float
    ) -> T | Failed:
        refusal = self._refusal(call)
        if refusal is not None:
            return refusal
        try:
            async with self._limiter.slot(call.user.key, call.waiters, deadline):
                sent = self._admit(call, run, deadline)
                if isinstance(sent, Failed):
                    return sent
                outcome = await self._exchange(call, sent, read, deadline, first=run.failed is None)
        except (NoCapacity, DeadlineExceeded) as error:
            return _not_sent(error)
        if isinstance(outcome, Failed) and outcome.verdict.retry is Retry.RENEWED:
            outcome = Failed(outcome.error, await self._reactions.check_token(sent, outcome.error))
        return outcome

    def _refusal(self, call: Call) -> Failed | None:
        """Why the call is not made now."""
        try:
            self.check(call.user.key, write=not call.asked.read, probing=call.trial.account.probe is not None)
        except UpstreamError as error:
            return _not_sent(error)
        return None

    def _admit(self, call: Call, run: _Run, deadline: float) -> Sent | Failed:
        """Admit a try that got its slot; conditions may have changed while it was queued."""
        refusal = self._refusal(call)
        if refusal is not None:
            return refusal
        now = self._now()
        if deadline <= now:
            raise DeadlineExceeded("The request's time ended before Apple Music could be called.")
        if run.failed is None and not call.fits():
            raise Outgrown
        admission = call.trial.account.probe or self._breaker.admit(now, call.user.key)
        if admission is None:
            return _not_sent(self._open(now))
        self._budget.count_try(now)
        call.waiters.count_try()
        return Sent(call.trial, run.asked, admission, self._tokens.current().text, now)

    async def _exchange(
        self,
        call: Call,
        sent: Sent,
        read: Callable[[AppleResponse], T],
        deadline: float,
        *,
        first: bool,
    ) -> T | Failed:
        # A write that is cut short may have been carried out: its outcome would be unknown.
        full = not call.asked.read or (first and call.full_timeout)
        timeout = self._call_timeout if full else min(deadline - sent.began, self._call_timeout)
        status = "cancelled"
        try:
            answer = await self._send(call, sent, timeout)
            status = str(answer.status)
            result = await self._transport.read(read, answer)
        except UpstreamError as error:
            failure = _cut_short(error) if timeout < self._call_timeout else error
            status = status_label(failure)
            verdict = self._reactions.failed(sent, failure)
            return Failed(failure, verdict, abandoned=isinstance(failure, DeadlineExceeded))
        except BaseException:
            self._reactions.cancelled(sent)
            raise
        else:
            self._reactions.answered(sent)
            return result
        finally:
            self._metrics.upstream_requests.labels(call.operation, status).inc()
            seconds = self._now() - sent.began
            self._metrics.upstream_request_duration.labels(call.operation).observe(seconds)

    async def _send(
        self,
        call: Call,
        sent: Sent,
        timeout: float,  # noqa: ASYNC109 - of the exchange
    ) -> AppleResponse:
        answer = await self._transport.exchange(
            call.method,
            call.target,
            developer_token=sent.token,
            user_token=call.user.token,
            body=call.body,
            timeout=timeout,
            headers=call.headers,
            fresh=sent.asked.reconnected,
        )
        if answer.date is not None:
            halfway = (self._now() - sent.began) / 2
            self._tokens.observe(answer.date, self._clock.time() - halfway)
        return answer

    async def _again(self, call: Call, run: _Run, failed: Failed, deadline: float) -> bool:
        """Prepare another try, after any wait that is due; False if there is none."""
        match failed.verdict.retry:
            case Retry.NEVER:
                return False
            case Retry.AT_ONCE:
                run.asked = replace(run.asked, reconnected=True)
                call.trial.maybe_done = True
                self._metrics.upstream_retries.labels("connection").inc()
                return True
            case Retry.RENEWED:
                again = call.asked.idempotent and not run.renewed
                if again:
                    self._metrics.upstream_retries.labels("401").inc()
                run.renewed = True
                return again
        return await self._back_off(call, run, failed, deadline)

    async def _back_off(self, call: Call, run: _Run, failed: Failed, deadline: float) -> bool:
        retry, error = failed.verdict.retry, failed.error
        paced = retry is Retry.PACED
        if not call.asked.idempotent or (call.asked.single_try and not paced):
            return False
        if call.trial.account.probe is not None:
            # While the breaker's probe lasts, no other call is made.
            return False
        now = self._now()
        wait = self._policy.wait(
            retry, error.retry_after, attempt=run.attempt, left=deadline - now, chance=self._chance()
        )
        if wait is None or not (paced or self._budget.take(now)):
            return False
        reason = "connection" if error.received_status is None else str(error.received_status)
        self._metrics.upstream_retries.labels(reason).inc()
        await self._sleep(wait)
        run.attempt += 1
        run.asked = replace(run.asked, repeated=True)
        return True

    def _open(self, now: float) -> BreakerOpen:
        return BreakerOpen(
            "Too many recent calls to Apple Music failed, so calls are paused. "
            "Retry after the time in Retry-After.",
            retry_after=self._breaker.retry_after(now),
        )


def _not_sent(error: UpstreamError) -> Failed:
    return Failed(error, Verdict(error.cause), abandoned=True)


def _cut_short(failure: UpstreamError) -> UpstreamError:
    """Turn a timeout that the deadline caused into `DeadlineExceeded`: it is not Apple's failure."""
    if isinstance(failure, Unreachable) and (failure.proxy_error or "").endswith("_timeout"):
        return DeadlineExceeded("Apple Music did not answer in time.", proxy_error=failure.proxy_error)
    return failure
