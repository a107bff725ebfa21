"""What calls of all users have shown lately: the evidence for `attribution`. Time is an argument."""

from collections import OrderedDict
from math import inf
from typing import Final

from gateway.apple.attribution import Evidence
from gateway.apple.trial import Trial
from gateway.apple.user_records import FailedWrites, UserRecords, WriteKey
from gateway.bounded import keep_latest
from gateway.breaker import Breaker, State

IN_VAIN: Final = 10.0
"""Seconds for which it counts that a call was divided in vain."""

MOST_IN_VAIN: Final = 10_000
"""Most users and types for which that is remembered; the one that was set longest ago is dropped first."""


class Observations:
    """Records which calls were answered and which failed; reads and writes apart."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._reads = UserRecords()
        self._writes = UserRecords()
        self._failed_writes = FailedWrites()
        self._divided_in_vain: dict[str, float] = {}
        """When a call was divided in vain last, by topic, if no read was answered since. One topic a type."""
        self._own_in_vain: OrderedDict[tuple[bytes, str], float] = OrderedDict()
        """The same for each user, whatever was answered to others."""

    def answered(self, trial: Trial, began: float) -> None:
        """A try that began at `began` was answered."""
        self._users(trial).answered(trial.user_key, trial.topic, began)
        if (write := _write_of(trial)) is not None:
            self._failed_writes.answered(write)
        if not trial.write:
            self._forget_in_vain(trial, began)

    def failed(self, trial: Trial, now: float) -> bool:
        """Count a call among those of its user that failed, once; return whether it was counted now.

        It says nothing about the user if Apple answers them meanwhile, or fails for most others as well.
        """
        user, breaker, users = trial.user_key, self._breaker, self._users(trial)
        since = min(trial.began, trial.first_failed)
        if trial.failed or trial.answered or users.own_answered(user, since):
            return False
        if breaker.state is not State.CLOSED or breaker.others_failing(user, now):
            return False
        trial.failed = True
        users.failed(user, trial.topic, (trial.first_failed, trial.last_began), now, trial.subject)
        return True

    def write_failed(self, trial: Trial, now: float) -> None:
        """Remember a call that failed for good, if it is a write of one id."""
        if (write := _write_of(trial)) is not None:
            self._failed_writes.failed(write, trial.first_failed, now)

    def answered_from(self, trial: Trial, moment: float) -> bool:
        """Whether any user's call was answered that began at `moment` or later."""
        return self._users(trial).any_answered_from(moment)

    def divided_in_vain(self, trial: Trial, now: float) -> None:
        """Apple answered nothing of a divided call, and failed for more than half of its ids."""
        self._divided_in_vain[trial.topic] = now
        keep_latest(self._own_in_vain, (trial.user_key, trial.topic), now, MOST_IN_VAIN)

    def isolated(self, trial: Trial) -> None:
        """The user of the call is isolated, until a call is answered."""
        self._users(trial).isolate(trial.user_key)

    def forget_failures(self) -> None:
        """An outage explains what failed until now."""
        self._reads.forget_failures()
        self._writes.forget_failures()
        self._failed_writes.forget_failures()

    def evidence(self, trial: Trial, now: float, *, probing: bool = False) -> Evidence:
        """What is known about a call that failed; `probing` says whether it is the breaker's probe."""
        user, users = trial.user_key, self._users(trial)
        return Evidence(
            refused_alike=trial.prior.refused_alike,
            remembered=(
                trial.prior.remembered
                or users.any_answered(trial.prior.failed_elsewhere)
                or self._fails_again(trial, now)
            ),
            isolated=users.is_isolated(user),
            own_answered=(
                trial.answered or users.own_answered_between(user, trial.first_failed, trial.last_began)
            ),
            variant_answered=trial.prior.variant_answered,
            others_answered=users.others_answered(user, trial.topic, trial.first_failed, trial.last_began),
            others_failing=self._breaker.others_failing(user, now),
            probing=probing,
            divided_in_vain=now < self._in_vain_at(trial) + IN_VAIN,
            failed_calls=users.failed_calls(user, now),
        )

    def _in_vain_at(self, trial: Trial) -> float:
        own = self._own_in_vain.get((trial.user_key, trial.topic), -inf)
        return max(own, self._divided_in_vain.get(trial.topic, -inf))

    def _forget_in_vain(self, trial: Trial, began: float) -> None:
        """A read was answered: its user's calls, and those of users without a mark, may be divided."""
        key = (trial.user_key, trial.topic)
        if began > self._divided_in_vain.get(trial.topic, inf):
            del self._divided_in_vain[trial.topic]
        if began > self._own_in_vain.get(key, inf):
            del self._own_in_vain[key]

    def _fails_again(self, trial: Trial, now: float) -> bool:
        """Whether a write of the same id failed before, and another call of its user was answered since."""
        write = _write_of(trial)
        if write is None:
            return False
        between = (self._failed_writes.since(write, now), trial.last_began)
        return any(
            users.own_answered_between(trial.user_key, *between) for users in (self._reads, self._writes)
        )

    def _users(self, trial: Trial) -> UserRecords:
        return self._writes if trial.write else self._reads


def _write_of(trial: Trial) -> WriteKey | None:
    return (trial.user_key, trial.subject) if trial.write and trial.subject is not None else None
