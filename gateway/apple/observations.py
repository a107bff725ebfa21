"""What calls of all users have shown lately: the evidence for `attribution`. Time is an argument."""

from gateway.apple.attribution import Evidence
from gateway.apple.evidence import UserRecords
from gateway.apple.trial import Trial
from gateway.breaker import Breaker, State


class Observations:
    """Records which calls were answered and which failed; reads and writes apart."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._reads = UserRecords()
        self._writes = UserRecords()

    def answered(self, trial: Trial, began: float, now: float) -> None:
        """A try that began at `began` was answered."""
        self._users(trial).answered(trial.user_key, began, now)

    def failed(self, trial: Trial, now: float) -> bool:
        """Count a call among those of its user that failed, once; return whether it was counted now.

        It says nothing about the user if Apple answers them meanwhile, or fails for most others as well.
        """
        user, breaker, users = trial.user_key, self._breaker, self._users(trial)
        if trial.failed or trial.answered or users.own_answered(user, trial.began):
            return False
        if breaker.state is not State.CLOSED or breaker.others_failing(user, now):
            return False
        trial.failed = True
        users.failed(user, trial.began, trial.subject)
        return True

    def isolated(self, trial: Trial) -> None:
        """The user of the call is isolated, until a call is answered."""
        self._users(trial).isolate(trial.user_key)

    def forget_failures(self) -> None:
        """An outage explains what failed until now."""
        self._reads.forget_failures()
        self._writes.forget_failures()

    def evidence(self, trial: Trial, now: float, *, probing: bool = False) -> Evidence:
        """What is known about a call that failed; `probing` says whether it is the breaker's probe."""
        user, users = trial.user_key, self._users(trial)
        return Evidence(
            refused_alike=trial.refused_alike,
            remembered=trial.remembered,
            isolated=users.is_isolated(user),
            own_answered=trial.answered or users.own_answered(user, trial.began),
            own_answered_lately=users.own_answered_lately(user, now),
            others_answered=users.others_answered(user),
            others_failing=self._breaker.others_failing(user, now),
            probing=probing,
            failed_calls=users.failed_calls(user),
        )

    def _users(self, trial: Trial) -> UserRecords:
        return self._writes if trial.write else self._reads
