"""What a call with several tries and fragments counts for in the circuit breaker, and when."""

import pytest

from gateway.apple.breaker_account import BreakerAccount, BreakerLedger
from gateway.breaker import Admission, Breaker, State

USER = b"a" * 16
OPEN_SECONDS = 5.0


class Books:
    """A breaker that two failed calls open, its ledger, and one call's account."""

    def __init__(self) -> None:
        self.now = 0.0
        self.outages: list[State] = []
        """The state at each report of an outage."""
        self.breaker = Breaker(error_rate=0.5, window_seconds=10.0, min_calls=2, open_seconds=OPEN_SECONDS)
        self.ledger = BreakerLedger(
            self.breaker, lambda: self.now, lambda: self.outages.append(self.breaker.state)
        )
        self.account = BreakerAccount(USER)

    def admit(self) -> Admission:
        admission = self.breaker.admit(self.now)
        assert admission is not None
        return admission

    def charge(self) -> None:
        self.ledger.charge(self.account, self.admit(), "500")

    def defer(self) -> None:
        self.ledger.defer(self.account, self.admit(), "500")

    def divided_probe(self) -> Admission:
        """Open the breaker, and divide its probe."""
        self.charge()
        self.charge()
        self.now += OPEN_SECONDS
        self.account = BreakerAccount(USER)
        admission = self.admit()
        self.ledger.divide_probe(self.account, admission)
        return admission


@pytest.fixture
def books():
    return Books()


def test_charged_failures_count_at_once_and_report_the_outage(books):
    books.charge()
    assert books.outages == []
    books.charge()
    assert books.outages == [State.OPEN]


def test_a_failure_while_the_breaker_is_open_reports_the_outage_too(books):
    late = books.admit()
    books.charge()
    books.charge()
    books.ledger.charge(books.account, late, "500")
    assert books.outages == [State.OPEN, State.OPEN]


def test_deferred_failures_count_once_they_are_settled(books):
    books.defer()
    books.defer()
    assert not books.breaker.causes
    books.ledger.settle(books.account)
    assert books.breaker.state is State.OPEN


def test_an_acquitted_call_leaves_no_failure(books):
    books.charge()
    books.defer()
    books.ledger.acquit(books.account)
    books.ledger.settle(books.account)
    assert books.breaker.causes.total() == 0


def test_fragments_of_a_divided_probe_end_nothing(books):
    probe = books.divided_probe()
    books.ledger.answered(books.account, probe)
    books.ledger.defer(books.account, probe, "500")
    books.ledger.settle(books.account)
    books.ledger.release(books.account, probe)
    assert books.breaker.is_probe(probe)
    assert books.breaker.admit(books.now, b"b" * 16) is None


def test_a_divided_probe_of_which_a_fragment_was_answered_ends_the_outage(books):
    books.divided_probe()
    books.ledger.end_probe(books.account, answered=True)
    assert books.outages == [State.OPEN, State.CLOSED]


def test_a_divided_probe_whose_fragments_failed_opens_the_breaker_again(books):
    probe = books.divided_probe()
    books.ledger.defer(books.account, probe, "500")
    books.ledger.end_probe(books.account, answered=False)
    assert (books.breaker.state, books.breaker.causes["500"]) == (State.OPEN, 3)


def test_a_divided_probe_that_shows_nothing_makes_room_for_another(books):
    books.divided_probe()
    books.ledger.end_probe(books.account, answered=False)
    assert books.breaker.admit(books.now) is not None
