"""The states of the breaker, on a time that the tests set."""

from gateway.breaker import Admission, Breaker, Charge, State


def make(**changes) -> Breaker:
    settings = {"error_rate": 0.5, "window_seconds": 10.0, "min_calls": 4, "open_seconds": 5.0}
    return Breaker(**(settings | changes))


def admitted(breaker: Breaker, now: float) -> Admission:
    admission = breaker.admit(now)
    assert admission is not None
    return admission


def admitted_to(breaker: Breaker, user: str, now: float) -> Admission:
    admission = breaker.admit(now, user.encode())
    assert admission is not None
    return admission


def end(breaker: Breaker, *results: bool, now: float = 0.0) -> None:
    for ok in results:
        breaker.record(admitted(breaker, now), ok=ok, now=now)


def state(breaker: Breaker) -> State:
    return breaker.state


def opened(now: float = 0.0, **changes) -> Breaker:
    breaker = make(**changes)
    end(breaker, False, False, False, False, now=now)
    assert state(breaker) is State.OPEN
    return breaker


def test_it_stays_closed_below_the_least_number_of_calls():
    breaker = make()
    end(breaker, False, False, False)
    assert state(breaker) is State.CLOSED
    assert not breaker.refuses(0.0)


def test_it_opens_when_the_rate_of_errors_is_reached():
    breaker = make()
    end(breaker, True, True, False)
    assert state(breaker) is State.CLOSED
    end(breaker, False)
    assert state(breaker) is State.OPEN


def test_a_rate_just_below_leaves_it_closed():
    breaker = make()
    end(breaker, True, True, True, False, False)
    assert state(breaker) is State.CLOSED


def test_errors_that_left_the_window_do_not_count():
    breaker = make()
    end(breaker, False, False, False, now=0.0)
    end(breaker, False, now=10.0)
    assert state(breaker) is State.CLOSED


def test_an_answer_opens_nothing_although_the_rate_rises_as_answers_leave_the_window():
    breaker = make()
    end(breaker, True, True, True, True, True, now=0.0)
    end(breaker, False, False, False, now=5.0)
    end(breaker, True, now=11.0)
    assert state(breaker) is State.CLOSED
    end(breaker, False, now=11.0)
    assert state(breaker) is State.OPEN


def test_while_open_it_refuses_with_the_seconds_left():
    breaker = opened(now=100.0)
    assert breaker.refuses(104.9)
    assert breaker.admit(104.9) is None
    assert breaker.retry_after(102.0) == 3.0
    assert breaker.retry_after(200.0) == 0.0
    assert breaker.since == 100.0


def test_failed_probes_do_not_change_since_when_it_is_open():
    breaker = opened(now=100.0)
    end(breaker, False, now=105.0)
    end(breaker, False, now=110.0)
    assert (state(breaker), breaker.since) == (State.OPEN, 100.0)
    probe = admitted(breaker, 115.0)
    assert (state(breaker), breaker.since) == (State.HALF_OPEN, 100.0)
    breaker.record(probe, ok=True, now=116.0)
    assert (state(breaker), breaker.since) == (State.CLOSED, 116.0)


def test_looking_whether_it_refuses_takes_no_probe():
    breaker = opened()
    assert not breaker.refuses(5.0)
    assert state(breaker) is State.OPEN
    assert breaker.admit(5.0) is not None


def test_a_state_is_shown_as_it_is_documented():
    assert [state.label for state in State] == ["closed", "half-open", "open"]


def test_half_open_lets_out_exactly_one_probe():
    breaker = opened()
    probe = breaker.admit(5.0)
    assert probe is not None
    assert state(breaker) is State.HALF_OPEN
    assert breaker.refuses(5.0)
    assert breaker.admit(5.0) is None


def test_a_probe_that_succeeds_closes_it_with_a_clean_window():
    breaker = opened()
    breaker.record(admitted(breaker, 5.0), ok=True, now=5.1)
    assert state(breaker) is State.CLOSED
    end(breaker, False, False, False, now=5.2)
    assert state(breaker) is State.CLOSED


def test_a_probe_that_fails_opens_it_again_for_the_full_time():
    breaker = opened()
    breaker.record(admitted(breaker, 5.0), ok=False, now=6.0)
    assert state(breaker) is State.OPEN
    assert breaker.retry_after(6.0) == 5.0


def test_a_probe_without_a_result_lets_another_through():
    breaker = opened()
    breaker.release(admitted(breaker, 5.0))
    assert state(breaker) is State.HALF_OPEN
    assert breaker.admit(5.0) is not None


def test_it_knows_the_probe_by_its_admission():
    breaker = make()
    early = admitted(breaker, 0.0)
    assert not breaker.is_probe(early)
    end(breaker, False, False, False, False)
    probing = admitted(breaker, 5.0)
    assert (breaker.is_probe(probing), breaker.is_probe(early)) == (True, False)
    breaker.record(probing, ok=True, now=5.0)
    assert not breaker.is_probe(probing)


def test_a_call_that_began_before_the_opening_is_not_the_probe():
    breaker = make()
    early = admitted(breaker, 0.0)
    end(breaker, False, False, False, False)
    probe = admitted(breaker, 5.0)
    breaker.record(early, ok=True, now=5.1)
    assert state(breaker) is State.HALF_OPEN
    breaker.release(early)
    assert breaker.admit(5.1) is None
    breaker.record(probe, ok=False, now=5.2)
    assert state(breaker) is State.OPEN


def test_a_call_from_before_the_opening_does_not_count_after_the_closing():
    breaker = make(min_calls=1)
    early = admitted(breaker, 0.0)
    end(breaker, False)
    end(breaker, True, now=5.0)
    assert state(breaker) is State.CLOSED
    breaker.record(early, ok=False, now=5.1)
    assert state(breaker) is State.CLOSED


def test_calls_that_end_while_it_is_open_say_nothing():
    breaker = make()
    early = admitted(breaker, 0.0)
    end(breaker, False, False, False, False)
    breaker.record(early, ok=True, now=1.0)
    assert state(breaker) is State.OPEN
    assert breaker.retry_after(1.0) == 4.0


def test_every_change_of_state_is_reported():
    heard: list[State] = []
    breaker = make(on_change=heard.append)
    end(breaker, False, False, False, False)
    end(breaker, False, now=5.0)
    end(breaker, True, now=10.0)
    assert heard == [State.OPEN, State.HALF_OPEN, State.OPEN, State.HALF_OPEN, State.CLOSED]


def fail(breaker: Breaker, user: str, *results: bool, cause: str = "500") -> list[Charge | None]:
    return [
        breaker.record(
            admitted(breaker, 0.0), ok=ok, now=0.0, user=user.encode(), cause=None if ok else cause
        )
        for ok in results
    ]


def test_one_user_who_always_fails_opens_nothing_while_others_ask():
    breaker = make()
    fail(breaker, "ben", True)
    fail(breaker, "ada", *[False] * 20)
    assert state(breaker) is State.CLOSED


def test_it_opens_if_the_only_user_fails():
    breaker = make()
    fail(breaker, "ada", *[False] * 4)
    assert state(breaker) is State.OPEN


def test_it_opens_if_users_fail_at_the_rate_too():
    breaker = make()
    fail(breaker, "cleo", True)
    fail(breaker, "ada", *[False] * 4)
    assert state(breaker) is State.CLOSED
    fail(breaker, "ben", False)
    assert state(breaker) is State.OPEN


def test_a_user_most_of_whose_calls_are_answered_does_not_fail():
    breaker = make(error_rate=0.5)
    fail(breaker, "ben", True, True, False)
    fail(breaker, "ada", *[False] * 10)
    assert state(breaker) is State.CLOSED


def test_a_retracted_failure_counts_neither_way():
    breaker = make()
    charges = fail(breaker, "ada", False, False, False)
    for charge in charges:
        assert charge is not None
        breaker.retract(charge)
    fail(breaker, "ada", True, True, False)
    assert state(breaker) is State.CLOSED
    assert not breaker.others_failing(b"ben", 0.0)


def test_a_failure_from_before_an_opening_cannot_be_retracted():
    breaker = make()
    (charge, *_) = fail(breaker, "ada", *[False] * 4)
    assert charge is not None
    breaker.retract(charge)
    assert state(breaker) is State.OPEN


def test_whether_others_fail_leaves_out_the_user_who_asks():
    breaker = make(min_calls=100)
    fail(breaker, "ada", False, False)
    assert not breaker.others_failing(b"ada", 0.0)
    fail(breaker, "ben", False)
    assert breaker.others_failing(b"ada", 0.0)
    fail(breaker, "cleo", True)
    fail(breaker, "dora", True)
    assert not breaker.others_failing(b"ada", 0.0)
    assert not breaker.others_failing(b"ada", 20.0)


def probe(breaker: Breaker, user: str, now: float, *, ok: bool = False) -> State:
    admission = admitted_to(breaker, user, now)
    breaker.record(admission, ok=ok, now=now, user=user.encode(), cause=None if ok else "500")
    return state(breaker)


class TestProbesOfUsers:
    def test_after_one_users_failed_probe_a_second_user_is_admitted_at_once(self):
        breaker = opened()
        assert probe(breaker, "ada", 5.0) is State.OPEN
        assert breaker.refuses(5.0, b"ada")
        assert breaker.refuses(5.0)
        assert not breaker.refuses(5.0, b"ben")
        assert probe(breaker, "ben", 5.1, ok=True) is State.CLOSED

    def test_the_second_users_probe_is_the_only_one(self):
        breaker = opened()
        probe(breaker, "ada", 5.0)
        assert breaker.admit(5.1, b"ben") is not None
        assert breaker.admit(5.1, b"cleo") is None

    def test_if_it_fails_too_all_wait(self):
        breaker = opened()
        probe(breaker, "ada", 5.0)
        assert probe(breaker, "ben", 5.1) is State.OPEN
        assert all(breaker.refuses(10.0, user) for user in (b"ada", b"ben", b"cleo"))
        assert probe(breaker, "ada", 10.2) is State.OPEN
        assert not breaker.refuses(10.2, b"ben")

    def test_if_it_ends_without_evidence_another_is_admitted(self):
        breaker = opened()
        probe(breaker, "ada", 5.0)
        breaker.release(admitted_to(breaker, "ben", 5.1))
        assert breaker.refuses(5.1, b"ada")
        assert probe(breaker, "cleo", 5.2, ok=True) is State.CLOSED

    def test_a_user_who_asks_alone_probes_once_a_period(self):
        breaker = opened()
        for moment in (5.0, 10.0, 15.0):
            assert breaker.refuses(moment - 0.1, b"ada")
            assert probe(breaker, "ada", moment) is State.OPEN
        assert not breaker.refuses(15.1, b"ben")

    def test_a_user_who_fails_and_always_comes_first_keeps_it_open_for_no_one(self):
        breaker = opened()
        probe(breaker, "ada", 5.0)
        assert probe(breaker, "ben", 5.1, ok=True) is State.CLOSED
        fail(breaker, "ada", *[False] * 3)
        assert state(breaker) is State.CLOSED

    def test_a_failed_probe_of_an_earlier_opening_gives_nobody_a_second_one(self):
        breaker = opened()
        probe(breaker, "ada", 5.0)
        probe(breaker, "ben", 5.1, ok=True)
        end(breaker, False, False, False, False, now=6.0)
        assert breaker.refuses(6.0, b"ben")


def test_it_has_the_causes_of_the_failures():
    breaker = make()
    fail(breaker, "ada", False, cause="connection refused")
    assert breaker.causes == {"connection refused": 1}
    fail(breaker, "ada", False, False, False, cause="503")
    assert state(breaker) is State.OPEN
    assert breaker.causes == {"connection refused": 1, "503": 3}
