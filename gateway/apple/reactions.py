"""Carries out verdicts: reports each ended call to breaker, limiter, quarantine and developer token.

It decides nothing by itself: `observations` has the evidence, `attribution` the verdict.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from gateway.apple.attribution import Asked, Evidence, Retry, Verdict, attribute
from gateway.apple.breaker_account import BreakerLedger
from gateway.apple.concurrency import ConcurrencyLimiter
from gateway.apple.developer_token import TokenSource
from gateway.apple.failing_ids import FailingIds
from gateway.apple.observations import Observations
from gateway.apple.quarantine import Quarantine
from gateway.apple.symptom import symptom_of
from gateway.apple.token_check import TokenCheck
from gateway.apple.trial import Sent, Trial
from gateway.breaker import Breaker
from gateway.errors import AppleError, Cause, UpstreamError
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
        failing: FailingIds,
        now: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._tokens = tokens
        self._token_check = token_check
        self._limiter = limiter
        self._breaker = breaker
        self._quarantine = quarantine
        self._failing = failing
        self._observations = Observations(breaker)
        self.answered_from = self._observations.answered_from
        self._ledger = BreakerLedger(breaker, now, self._forget_failures)
        self._now = now
        # Each series starts at 0, so that rates include its first failure.
        self._isolated = {cause: metrics.upstream_isolated.labels(what) for cause, what in ISOLATED.items()}

    def answered(self, sent: Sent) -> None:
        """Record a valid answer."""
        trial = sent.trial
        trial.answered = True
        self._observations.answered(trial, sent.began)
        self._quarantine.lift_isolation(trial.user_key, write=trial.write)
        self._ledger.answered(trial.account, sent.admission)
        if not trial.divided:
            self._ledger.settle(trial.account)
        self._limiter.succeeded()
        self._accept_token(sent)

    def cancelled(self, sent: Sent) -> None:
        """The call ended before Apple answered, for reasons of our own."""
        self._ledger.release(sent.trial.account, sent.admission)

    def failed(self, sent: Sent, error: UpstreamError) -> Verdict:
        """Attribute the failure of a try, and react to it."""
        symptom = symptom_of(error)
        if symptom.status not in (401, 429):  # such a call was not served: another was not answered instead
            sent.trial.try_failed(sent.began, self._now())
        probing = self._breaker.is_probe(sent.admission)
        verdict = attribute(symptom, sent.asked, self._evidence(sent.trial, probing=probing))
        if probing and verdict.divide and not sent.asked.single_try:
            self._ledger.divide_probe(sent.trial.account, sent.admission)
        self._charge_or_defer(sent, error, verdict, probing=probing)
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
        if verdict.retry is Retry.RENEWED and not self._tokens.refuse(sent.token):
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
            self._ledger.acquit(trial.account)
        elif final.counts:
            self._ledger.settle(trial.account)
        if final != verdict:
            self._carry_out(trial, error, final)
        return final

    def abandoned(self, trial: Trial) -> None:
        """The gateway ended a call: see `Failed.abandoned`."""
        if not trial.divided:
            self._ledger.settle(trial.account)

    def end(self, trial: Trial) -> None:
        """A call, and the division that it may have become, is over; a probe that was divided ends now."""
        if trial.divided and trial.answered:
            # Apple answers: an id was at fault, or the number of ids.
            self._ledger.acquit(trial.account)
        if trial.divided_in_vain:
            self._observations.divided_in_vain(trial, self._now())
        self._ledger.end_probe(trial.account, answered=trial.answered)

    def _evidence(self, trial: Trial, *, probing: bool = False) -> Evidence:
        return self._observations.evidence(trial, self._now(), probing=probing)

    def _charge_or_defer(self, sent: Sent, error: UpstreamError, verdict: Verdict, *, probing: bool) -> None:
        """Count the failure now, when the call is over, or not at all; an undivided probe ends now."""
        account = sent.trial.account
        # One id can make every try and fragment fail, for many users at once, before it is found; so can a
        # call that is too large for Apple.
        repeated = bool(account.charges) and sent.asked.ids > 0
        too_large = verdict.divide and not sent.asked.single_try
        counts = verdict.counts and not verdict.spares_breaker
        if counts and (account.probe is not None or ((repeated or too_large) and not probing)):
            self._ledger.defer(account, sent.admission, error.reason)
        elif counts:
            self._ledger.charge(account, sent.admission, error.reason)
        else:
            self._ledger.release(account, sent.admission)

    def _forget_failures(self) -> None:
        """An outage explains what failed before it was recognised, and until it ended."""
        self._observations.forget_failures()
        self._failing.forget_failures(self._now())

    def _carry_out(self, trial: Trial, error: UpstreamError, verdict: Verdict) -> None:
        error.attribute(verdict.cause, stale_allowed=verdict.stale_allowed)
        # Fragments that Apple refuses alike are the request's fault, not their ids': `Settlement` counts ids.
        if verdict.cause in self._isolated and not (trial.divided and verdict.cause is Cause.ID):
            self._isolated[verdict.cause].inc()
        if verdict.quarantine and isinstance(error, AppleError):
            self._quarantine.refuse(trial.user_key, error, self._now())
        if verdict.isolate:
            self._observations.isolated(trial)
            self._quarantine.isolate(trial.user_key, error, self._now(), writes_only=trial.write)

    def _accept_token(self, sent: Sent) -> None:
        self._tokens.accept(sent.token)
        self._token_check.accept(sent.token, sent.began)
