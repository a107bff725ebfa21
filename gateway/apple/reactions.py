"""Carries out verdicts: reports each ended call to breaker, limiter, quarantine and developer token.

It collects the evidence for `attribution` from those same parts, and decides nothing by itself.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from gateway.apple.attribution import Asked, Evidence, Retry, Verdict, attribute, symptom
from gateway.apple.concurrency import ConcurrencyLimiter
from gateway.apple.developer_token import TokenSource
from gateway.apple.evidence import UserRecords
from gateway.apple.quarantine import Quarantine
from gateway.apple.token_check import TokenCheck
from gateway.breaker import Admission, Breaker, Charge, State
from gateway.errors import Cause, Relayed, UpstreamError
from gateway.telemetry.metrics import Metrics


class Trial:
    """One question to Apple, with all the tries and parts that its call becomes."""

    __slots__ = (
        "answered",
        "began",
        "charges",
        "divided",
        "failed",
        "refused_alike",
        "remembered",
        "subject",
        "user_key",
    )

    def __init__(
        self,
        user_key: bytes,
        began: float,
        *,
        subject: str | None = None,
        remembered: bool = False,
        refused_alike: bool = False,
    ) -> None:
        self.user_key = user_key
        self.began = began
        """When its first try began, or that of an earlier question for the same id that failed."""
        self.subject = subject
        """The path of the one id that is read or written; None for several."""
        self.remembered = remembered
        """Whether the id failed before."""
        self.refused_alike = refused_alike
        """Whether such a call had every part refused alike before."""
        self.answered = False
        """Whether any part was answered."""
        self.divided = False
        """Whether its call failed and is divided: whose fault it is shows at the end."""
        self.failed = False
        """Whether it counts among the user's failed calls."""
        self.charges: list[Charge] = []
        """Failures that were counted against Apple."""


class Sent(msgspec.Struct, frozen=True):
    """One try, as it went out."""

    trial: Trial
    asked: Asked
    admission: Admission
    token: str
    began: float


ISOLATED: Final = {Cause.ID: "id", Cause.USER: "user", Cause.CONNECTION: "connection"}
"""The `what` of `upstream_isolated_total`."""


class Reactions:
    """Reports how a call ended to every part that protects Apple, or callers from its failures."""

    def __init__(
        self,
        *,
        tokens: TokenSource,
        token_check: TokenCheck,
        limiter: ConcurrencyLimiter,
        breaker: Breaker,
        quarantine: Quarantine,
        now: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._tokens = tokens
        self._token_check = token_check
        self._limiter = limiter
        self._breaker = breaker
        self._quarantine = quarantine
        self._users = UserRecords()
        self._now = now
        # Each series starts at 0, so that rates include its first failure.
        self._isolated = {cause: metrics.upstream_isolated.labels(what) for cause, what in ISOLATED.items()}

    def answered(self, sent: Sent) -> None:
        """Apple answered soundly."""
        now, trial = self._now(), sent.trial
        trial.answered = True
        self._users.answered(trial.user_key, sent.began, now)
        self._quarantine.lift_isolation(trial.user_key)
        self._breaker.record(sent.admission, ok=True, now=now, user=trial.user_key)
        self._limiter.succeeded()
        self._accept_token(sent)

    def cancelled(self, sent: Sent) -> None:
        """The call ended before Apple answered, for reasons of our own."""
        self._breaker.forget(sent.admission)

    def failed(self, sent: Sent, error: UpstreamError) -> Verdict:
        """Attribute the failure of a try, and react to it."""
        came = symptom(error)
        verdict = attribute(came, sent.asked, self._evidence(sent.trial))
        self._record(sent, error, verdict)
        if verdict.cause is Cause.THROTTLED:
            self._limiter.throttled(error.retry_after)
        elif came.status is not None and came.status < 500:
            self._limiter.succeeded()
        if came.enveloped and verdict.cause in (Cause.REQUEST, Cause.ID, Cause.USER):
            self._accept_token(sent)
        if verdict.divide:
            sent.trial.divided = True
        else:
            self._carry_out(sent.trial, error, verdict)
        return verdict

    async def check_token(self, sent: Sent, error: UpstreamError) -> Verdict:
        """Attribute a 401 by whether Apple accepts the developer token elsewhere, and renew a refused one."""
        accepted = await self._token_check.verdict(sent.token, sent.began, self._now)
        if accepted is False:
            self._quarantine.lift_unauthorized()
        evidence = Evidence(token_accepted=accepted is True)
        verdict = attribute(symptom(error), sent.asked, evidence)
        self._carry_out(sent.trial, error, verdict)
        if verdict.retry is Retry.RENEWED and self._tokens.refuse(sent.token) is None:
            verdict = msgspec.structs.replace(verdict, retry=Retry.NEVER)
        return verdict

    def conclude(self, trial: Trial, error: UpstreamError, asked: Asked, verdict: Verdict) -> Verdict:
        """Attribute a failure after which there is no further try; `verdict` is that of the last one."""
        if not (verdict.counts or verdict.divide or verdict.cause in (Cause.ID, Cause.REQUEST)):
            return verdict
        came = symptom(error)
        final = attribute(came, asked, self._evidence(trial))
        if final.divide:
            return final
        if verdict.counts and came.sent and self._count_failed(trial):
            final = attribute(came, asked, self._evidence(trial))
        if final.cause in (Cause.ID, Cause.USER):
            for charge in trial.charges:
                self._breaker.retract(charge)
            trial.charges.clear()
        if final != verdict:
            self._carry_out(trial, error, final)
        return final

    def _count_failed(self, trial: Trial) -> bool:
        """Count a call among those of its user that failed, once.

        It says nothing about the user if Apple answers them meanwhile, or fails for most others as well.
        """
        user, breaker = trial.user_key, self._breaker
        if trial.failed or trial.answered or self._users.own_answered(user, trial.began):
            return False
        if breaker.state is not State.CLOSED or breaker.others_failing(user, self._now()):
            return False
        trial.failed = True
        self._users.failed(user, trial.began, trial.subject)
        return True

    def _evidence(self, trial: Trial) -> Evidence:
        user, now = trial.user_key, self._now()
        return Evidence(
            refused_alike=trial.refused_alike,
            remembered=trial.remembered,
            isolated=self._users.is_isolated(user),
            own_answered=trial.answered or self._users.own_answered(user, trial.began),
            own_answered_lately=self._users.own_answered_lately(user, now),
            others_answered=self._users.others_answered(user),
            others_failing=self._breaker.others_failing(user, now),
            failed_calls=self._users.failed_calls(user),
        )

    def _record(self, sent: Sent, error: UpstreamError, verdict: Verdict) -> None:
        if not verdict.counts:
            self._breaker.forget(sent.admission)
            return
        charge = self._breaker.record(
            sent.admission, ok=False, now=self._now(), user=sent.trial.user_key, cause=error.reason
        )
        if charge is not None:
            sent.trial.charges.append(charge)
        if self._breaker.state is State.OPEN:
            # An outage explains what failed before it was recognised.
            self._users.forget_failures()

    def _carry_out(self, trial: Trial, error: UpstreamError, verdict: Verdict) -> None:
        error.attribute(verdict.cause, stale_allowed=verdict.stale_allowed)
        # Parts that Apple refuses alike are the request's fault, not their ids': `Settlement` counts ids.
        if verdict.cause in self._isolated and not (trial.divided and verdict.cause is Cause.ID):
            self._isolated[verdict.cause].inc()
        if verdict.quarantine and isinstance(error, Relayed):
            self._quarantine.refuse(trial.user_key, error, self._now())
        if verdict.isolate:
            self._users.isolate(trial.user_key)
            self._quarantine.isolate(trial.user_key, error, self._now())

    def _accept_token(self, sent: Sent) -> None:
        self._tokens.accept(sent.token)
        self._token_check.accept(sent.token, sent.began)
