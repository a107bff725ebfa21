"""Carries out verdicts: reports each ended call to breaker, limiter, quarantine and developer token.

It decides nothing by itself: `observations` has the evidence, `attribution` the verdict.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from gateway.apple.attribution import Asked, Evidence, Retry, Verdict, attribute
from gateway.apple.concurrency import ConcurrencyLimiter
from gateway.apple.developer_token import TokenSource
from gateway.apple.observations import Observations
from gateway.apple.quarantine import Quarantine
from gateway.apple.refused_ids import RefusedIds
from gateway.apple.symptom import symptom_of
from gateway.apple.token_check import TokenCheck
from gateway.apple.trial import Sent, Trial
from gateway.breaker import Admission, Breaker, State
from gateway.errors import Cause, Relayed, UpstreamError
from gateway.telemetry.metrics import Metrics

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
        refused: RefusedIds,
        now: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._tokens = tokens
        self._token_check = token_check
        self._limiter = limiter
        self._breaker = breaker
        self._quarantine = quarantine
        self._refused = refused
        self._observations = Observations(breaker)
        self._now = now
        # Each series starts at 0, so that rates include its first failure.
        self._isolated = {cause: metrics.upstream_isolated.labels(what) for cause, what in ISOLATED.items()}

    def answered(self, sent: Sent) -> None:
        """Record a valid answer."""
        trial = sent.trial
        trial.answered = True
        self._observations.answered(trial, sent.began)
        self._quarantine.lift_isolation(trial.user_key, write=trial.write)
        if trial.probe is None:
            self._count_answer(trial, sent.admission)
        if not trial.divided:
            self._count_deferred(trial)
        self._limiter.succeeded()
        self._accept_token(sent)

    def cancelled(self, sent: Sent) -> None:
        """The call ended before Apple answered, for reasons of our own."""
        if sent.trial.probe is None:
            self._breaker.forget(sent.admission)

    def failed(self, sent: Sent, error: UpstreamError) -> Verdict:
        """Attribute the failure of a try, and react to it."""
        symptom = symptom_of(error)
        if symptom.status not in (401, 429):  # such a call was not served: another was not answered instead
            sent.trial.try_failed(sent.began, self._now())
        probing = self._breaker.is_probe(sent.admission)
        verdict = attribute(symptom, sent.asked, self._evidence(sent.trial, probing=probing))
        if probing and verdict.divide and not sent.asked.part:
            sent.trial.probe = sent.admission
        self._record(sent, error, verdict, probing=probing)
        if verdict.cause is Cause.THROTTLED:
            self._limiter.throttled(error.retry_after)
        elif symptom.status is not None and symptom.status < 500:
            self._limiter.succeeded()
        if symptom.enveloped and verdict.cause in (Cause.REQUEST, Cause.ID, Cause.USER):
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
        verdict = attribute(symptom_of(error), sent.asked, evidence)
        self._carry_out(sent.trial, error, verdict)
        if verdict.retry is Retry.RENEWED and self._tokens.refuse(sent.token) is None:
            verdict = msgspec.structs.replace(verdict, retry=Retry.NEVER)
        return verdict

    def conclude(self, trial: Trial, error: UpstreamError, asked: Asked, verdict: Verdict) -> Verdict:
        """Attribute a failure after which there is no further try; `verdict` is that of the last one."""
        if not (verdict.counts or verdict.divide or verdict.cause in (Cause.ID, Cause.REQUEST)):
            return verdict
        symptom = symptom_of(error)
        final = attribute(symptom, asked, self._evidence(trial))
        if final.divide:
            return final
        if verdict.counts and symptom.sent and self._observations.failed(trial, self._now()):
            final = attribute(symptom, asked, self._evidence(trial))
        if symptom.sent and not final.refused:  # a write that Apple refuses has not failed
            self._observations.write_failed(trial, self._now())
        if final.cause in (Cause.ID, Cause.USER):
            self._acquit(trial)
        elif final.counts:
            self._count_deferred(trial)
        if final != verdict:
            self._carry_out(trial, error, final)
        return final

    def abandoned(self, trial: Trial) -> None:
        """The gateway ended a call: see `Failed.abandoned`."""
        if not trial.divided:
            self._count_deferred(trial)

    def end(self, trial: Trial) -> None:
        """A call, and the division that it may have become, is over; a probe that was divided ends now."""
        if trial.divided and trial.answered:
            # Apple answers: an id was at fault, or the number of ids.
            self._acquit(trial)
        probe, trial.probe = trial.probe, None
        if probe is None:
            return
        if trial.answered:
            self._count_answer(trial, probe)
        elif trial.deferred:
            self._count(trial, probe, trial.deferred[-1][1])
        else:
            self._breaker.forget(probe)

    def _evidence(self, trial: Trial, *, probing: bool = False) -> Evidence:
        return self._observations.evidence(trial, self._now(), probing=probing)

    def _record(self, sent: Sent, error: UpstreamError, verdict: Verdict, *, probing: bool) -> None:
        """Count the failure now or when the call is over; a probe that is not divided ends now."""
        trial, admission = sent.trial, sent.admission
        # One id can make every try and part fail, for many users at once, before it is found; so can a call
        # that is too large for Apple.
        repeated = bool(trial.charges) and sent.asked.ids > 0
        too_large = verdict.divide and not sent.asked.part
        if verdict.counts and (trial.probe is not None or ((repeated or too_large) and not probing)):
            trial.deferred.append((admission, error.reason))
        elif verdict.counts:
            self._count(trial, admission, error.reason)
        elif trial.probe is None:
            self._breaker.forget(admission)

    def _count_answer(self, trial: Trial, admission: Admission) -> None:
        was = self._breaker.state
        self._breaker.record(admission, ok=True, now=self._now(), user=trial.user_key)
        if self._breaker.state is not was:
            self._forget_failures()

    def _count(self, trial: Trial, admission: Admission, reason: str) -> None:
        charge = self._breaker.record(admission, ok=False, now=self._now(), user=trial.user_key, cause=reason)
        if charge is not None:
            trial.charges.append(charge)
        if self._breaker.state is State.OPEN:
            self._forget_failures()

    def _forget_failures(self) -> None:
        """An outage explains what failed before it was recognised, and until it ended."""
        self._observations.forget_failures()
        self._refused.forget_failures(self._now())

    def _count_deferred(self, trial: Trial) -> None:
        """No id is at fault: count the failures of the call that were not counted yet."""
        if trial.probe is None:
            for admission, reason in trial.deferred:
                self._count(trial, admission, reason)
            trial.deferred.clear()

    def _acquit(self, trial: Trial) -> None:
        """The failures of the call are not Apple's."""
        for charge in trial.charges:
            self._breaker.retract(charge)
        trial.charges.clear()
        trial.deferred.clear()

    def _carry_out(self, trial: Trial, error: UpstreamError, verdict: Verdict) -> None:
        error.attribute(verdict.cause, stale_allowed=verdict.stale_allowed)
        # Parts that Apple refuses alike are the request's fault, not their ids': `Settlement` counts ids.
        if verdict.cause in self._isolated and not (trial.divided and verdict.cause is Cause.ID):
            self._isolated[verdict.cause].inc()
        if verdict.quarantine and isinstance(error, Relayed):
            self._quarantine.refuse(trial.user_key, error, self._now())
        if verdict.isolate:
            self._observations.isolated(trial)
            self._quarantine.isolate(trial.user_key, error, self._now(), writes_only=trial.write)

    def _accept_token(self, sent: Sent) -> None:
        self._tokens.accept(sent.token)
        self._token_check.accept(sent.token, sent.began)
