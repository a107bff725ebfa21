"""How many ids go into a call, and what failures teach about it."""

from gateway.apple.batch_size import AnsweredInFragments, BatchSize


def halved(half: int, *, whole: int = 100, size: int = 100, began: float = 0.0, refused: bool = True):
    return AnsweredInFragments(
        began=began, size=size, whole=whole, ids=half * 2, largest=half, refused=refused
    )


class TestSize:
    def test_it_is_what_is_configured_until_something_is_learnt(self):
        assert BatchSize(100).current(0.0) == 100

    def test_a_learnt_size_holds_at_once(self):
        sizes = BatchSize(100)
        sizes.learn(halved(50), 0.0)
        assert sizes.current(0.0) == 50

    def test_it_grows_back_by_doubling_every_minute(self):
        sizes = BatchSize(100)
        sizes.learn(halved(20), 0.0)
        seconds = (0.0, 59.9, 60.0, 119.9, 120.0, 179.9, 180.0, 1e4)
        assert [sizes.current(now) for now in seconds] == [20, 20, 40, 40, 80, 80, 100, 100]

    def test_it_grows_back_every_ten_minutes_once_a_doubled_size_was_refused(self):
        sizes = BatchSize(100)
        sizes.learn(halved(20), 0.0)
        assert sizes.current(61.0) == 40
        sizes.learn(halved(20, whole=40, size=40, began=61.0), 61.0)
        seconds = (660.9, 661.0, 1260.9, 1261.0, 1860.9, 1861.0)
        assert [sizes.current(now) for now in seconds] == [20, 40, 40, 80, 80, 100]

    def test_a_size_that_is_refused_again_when_it_has_grown_grows_after_ten_minutes(self):
        sizes = BatchSize(100)
        sizes.learn(halved(50), 0.0)
        assert [sizes.current(now) for now in (59.9, 60.0)] == [50, 100]
        sizes.learn(halved(50, began=61.0), 61.0)
        assert [sizes.current(now) for now in (660.9, 661.0)] == [50, 100]
        sizes.learn(halved(50, began=700.0), 700.0)
        assert [sizes.current(now) for now in (1299.9, 1300.0)] == [50, 100]
        sizes.learn(halved(50, began=1900.0), 1900.0)
        assert [sizes.current(now) for now in (1959.9, 1960.0)] == [50, 100]

    def test_it_may_be_asked_after_a_long_silence(self):
        sizes = BatchSize(100)
        sizes.learn(halved(1), 0.0)
        assert sizes.current(1e9) == 100

    def test_a_larger_size_teaches_nothing(self):
        sizes = BatchSize(100)
        sizes.learn(halved(20), 0.0)
        sizes.learn(halved(50), 59.0)
        assert sizes.current(59.0) == 20
        assert sizes.current(60.0) == 40

    def test_it_shrinks_in_the_proportion_in_which_the_call_was_divided(self):
        sizes = BatchSize(100)
        sizes.learn(halved(1, whole=2), 0.0)
        assert sizes.current(0.0) == 50
        sizes.learn(halved(13, size=50, whole=50), 0.0)
        assert sizes.current(0.0) == 13
        sizes.learn(halved(5, size=13, whole=9), 0.0)
        assert sizes.current(0.0) == 8

    def test_calls_that_began_with_the_same_size_shrink_it_once(self):
        sizes = BatchSize(100)
        for _ in range(3):
            sizes.learn(halved(30, whole=60), 0.0)
        assert sizes.current(0.0) == 50

    def test_the_request_itself_continues_with_the_size_that_was_answered(self):
        sizes = BatchSize(100)
        assert sizes.learn(halved(1, whole=2), 0.0) == 1
        assert sizes.learn(halved(20, began=1.0, refused=False), 1.0) == 25

    def test_the_division_itself_continues_with_the_size_that_was_answered(self):
        sizes = BatchSize(100)
        sizes.answered(100, 0.0)
        assert sizes.of_fragments(halved(1, whole=2)) == 1
        assert sizes.of_fragments(halved(20, refused=False)) == 25


class TestChance:
    """A call fails although one of as many ids was answered lately."""

    def test_nothing_is_learnt_the_first_time(self):
        sizes = BatchSize(100)
        sizes.answered(100, 0.0)
        sizes.learn(halved(1, whole=2), 599.9)
        assert sizes.current(599.9) == 100

    def test_the_request_itself_continues_with_half_of_the_size(self):
        sizes = BatchSize(100)
        sizes.answered(100, 0.0)
        assert sizes.learn(halved(1, began=1.0), 2.0) == 50
        assert sizes.learn(halved(1, began=1.0), 2.0) == 50
        assert sizes.learn(halved(7, whole=50, began=2.1), 3.0) == 7

    def test_the_size_is_learnt_if_the_next_call_fails_too(self):
        sizes = BatchSize(100)
        sizes.answered(100, 0.0)
        sizes.learn(halved(25, began=1.0), 2.0)
        sizes.learn(halved(25, began=2.1), 3.0)
        assert sizes.current(3.0) == 25

    def test_calls_that_fail_together_are_one_failure(self):
        sizes = BatchSize(100)
        sizes.answered(100, 0.0)
        sizes.learn(halved(25, began=1.0), 2.0)
        sizes.learn(halved(25, began=1.0), 2.0)
        sizes.learn(halved(50, began=1.9), 3.0)
        assert sizes.current(3.0) == 100

    def test_an_answer_in_between_makes_it_the_first_time_again(self):
        sizes = BatchSize(100)
        for second in range(4):
            sizes.answered(50, second)
            sizes.learn(halved(25, whole=50, began=second), second)
        assert sizes.current(4.0) == 100

    def test_an_answer_to_fewer_ids_does_not(self):
        sizes = BatchSize(100)
        sizes.answered(100, 0.0)
        sizes.learn(halved(50), 1.0)
        sizes.answered(99, 2.0)
        sizes.learn(halved(50, began=3.0), 3.0)
        assert sizes.current(3.0) == 50

    def test_an_answer_of_long_ago_says_nothing(self):
        sizes = BatchSize(100)
        sizes.answered(100, 0.0)
        sizes.answered(50, 599.9)
        sizes.learn(halved(50, began=600.0), 600.0)
        assert sizes.current(600.0) == 50
        sizes.answered(60, 600.0)
        sizes.answered(40, 1200.0)
        sizes.learn(halved(25, whole=50, began=1200.0), 1200.0)
        assert sizes.current(1200.0) == 50


class TestFaults:
    def test_what_a_fault_taught_is_forgotten_after_a_minute(self):
        sizes = BatchSize(100)
        sizes.learn(halved(50, refused=False), 0.0)
        assert [sizes.current(now) for now in (59.0, 60.0)] == [50, 100]

    def test_faults_never_shrink_it_below_a_quarter(self):
        sizes = BatchSize(100)
        sizes.learn(halved(10, refused=False), 0.0)
        assert sizes.current(0.0) == 25

    def test_faults_do_not_raise_what_a_refusal_has_taught(self):
        sizes = BatchSize(100)
        sizes.learn(halved(10), 0.0)
        sizes.learn(halved(5, size=10, whole=10, refused=False), 1.0)
        assert [sizes.current(now) for now in (59.0, 60.0)] == [10, 20]

    def test_a_fault_that_teaches_nothing_does_not_shorten_what_a_refusal_has_taught(self):
        sizes = BatchSize(100)
        sizes.learn(halved(10), 0.0)
        sizes.learn(halved(5, size=10, whole=10, refused=False), 1.0)
        assert [sizes.current(now) for now in (60.0, 119.9, 120.0)] == [20, 20, 40]
