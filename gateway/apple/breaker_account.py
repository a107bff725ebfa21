"""What the circuit breaker counts for one call, with all its tries and fragments.

A failure is charged to Apple at once, or deferred while an id may be at fault. If one is at fault, charges
are retracted and deferred failures dropped.

    try failed ──(charge)──▶ charged ◀──(settle)── deferred ◀──(defer)── try failed
                                │                     │
                                └──────(acquit)───────┴──▶ not counted ◀──(release)── try failed

If the probe of a half-open breaker is divided (`divide_probe`), its fragments are the probe: their failures
are deferred, and nothing is charged until `end_probe` records one outcome for them all.
"""

from collections.abc import Callable

from gateway.breaker import Admission, Breaker, Charge, State


class BreakerAccount:
    """One call's failures; only `BreakerLedger` changes it."""

    __slots__ = ("charges", "deferred", "probe", "user_key")

    def __init__(self, user_key: bytes) -> None:
        self.user_key = user_key
        self.charges: list[Charge] = []
        """Failures that were counted against Apple."""
        self.deferred: list[tuple[Admission, str]] = []
        """Further ones, with their reasons: counted once it is clear that no id is at fault."""
        self.probe: Admission | None = None
        """Set while its call, the probe of a half-open breaker, is divided: its fragments are the probe."""


class BreakerLedger:
    """Keeps the accounts of calls with one breaker.

    `on_outage` is called whenever an outage begins, has the breaker open already, or ends.
    """

    def __init__(self, breaker: Breaker, now: Callable[[], float], on_outage: Callable[[], None]) -> None:
        self._breaker = breaker
        self._now = now
        self._on_outage = on_outage

    def answered(self, account: BreakerAccount, admission: Admission) -> None:
        """Count the answer to a try; that of a divided probe is counted when it ends."""
        if account.probe is None:
            self._count_answer(account, admission)

    def charge(self, account: BreakerAccount, admission: Admission, reason: str) -> None:
        """Count a failure against Apple."""
        charge = self._breaker.record(
            admission, ok=False, now=self._now(), user=account.user_key, cause=reason
        )
        if charge is not None:
            account.charges.append(charge)
        if self._breaker.state is State.OPEN:
            self._on_outage()

    def defer(self, account: BreakerAccount, admission: Admission, reason: str) -> None:
        """Keep a failure until `settle` counts it, or `acquit` drops it."""
        account.deferred.append((admission, reason))

    def release(self, account: BreakerAccount, admission: Admission) -> None:
        """End a try that says nothing about Apple."""
        if account.probe is None:
            self._breaker.release(admission)

    def divide_probe(self, account: BreakerAccount, admission: Admission) -> None:
        """The call is the probe of a half-open breaker, and is divided: its fragments are the probe."""
        account.probe = admission

    def settle(self, account: BreakerAccount) -> None:
        """No id is at fault: count the failures that were not counted yet."""
        if account.probe is None:
            for admission, reason in account.deferred:
                self.charge(account, admission, reason)
            account.deferred.clear()

    def acquit(self, account: BreakerAccount) -> None:
        """The failures of the call are not Apple's."""
        for charge in account.charges:
            self._breaker.retract(charge)
        account.charges.clear()
        account.deferred.clear()

    def end_probe(self, account: BreakerAccount, *, answered: bool) -> None:
        """If the call was a probe that was divided: end it, by whether any fragment was answered."""
        probe, account.probe = account.probe, None
        if probe is None:
            return
        if answered:
            self._count_answer(account, probe)
        elif account.deferred:
            self.charge(account, probe, account.deferred[-1][1])
        else:
            self._breaker.release(probe)

    def _count_answer(self, account: BreakerAccount, admission: Admission) -> None:
        was = self._breaker.state
        self._breaker.record(admission, ok=True, now=self._now(), user=account.user_key)
        if self._breaker.state is not was:
            self._on_outage()
