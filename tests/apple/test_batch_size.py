"""How many ids go into a call, and what failures teach about it."""

from gateway.apple.batch_size import BatchSize


class TestSize:
    def test_it_is_what_is_configured_until_something_is_learnt(self):
        assert BatchSize(100).current(0.0) == 100

    def test_a_learnt_size_holds_at_once(self):
        sizes = BatchSize(100)
        sizes.learn(50, 0.0, refused=True)
        assert sizes.current(0.0) == 50

    def test_it_grows_back_by_doubling_every_ten_minutes(self):
        sizes = BatchSize(100)
        sizes.learn(20, 0.0, refused=True)
        assert [sizes.current(minute * 60.0) for minute in (9, 10, 19, 20, 29, 30, 31)] == [
            20,
            40,
            40,
            80,
            80,
            100,
            100,
        ]

    def test_it_may_be_asked_after_a_long_silence(self):
        sizes = BatchSize(100)
        sizes.learn(1, 0.0, refused=True)
        assert sizes.current(1e9) == 100

    def test_a_larger_size_teaches_nothing(self):
        sizes = BatchSize(100)
        sizes.learn(20, 0.0, refused=True)
        sizes.learn(50, 599.0, refused=True)
        assert sizes.current(599.0) == 20
        assert sizes.current(600.0) == 40

    def test_what_a_fault_taught_is_forgotten_after_a_minute(self):
        sizes = BatchSize(100)
        sizes.learn(50, 0.0, refused=False)
        assert [sizes.current(now) for now in (59.0, 60.0)] == [50, 100]

    def test_faults_never_shrink_it_below_a_quarter(self):
        sizes = BatchSize(100)
        sizes.learn(10, 0.0, refused=False)
        assert sizes.current(0.0) == 25

    def test_faults_do_not_raise_what_a_refusal_has_taught(self):
        sizes = BatchSize(100)
        sizes.learn(10, 0.0, refused=True)
        sizes.learn(5, 1.0, refused=False)
        assert sizes.current(61.0) == 10

    def test_a_fault_that_teaches_nothing_does_not_shorten_what_a_refusal_has_taught(self):
        sizes = BatchSize(100)
        sizes.learn(10, 0.0, refused=True)
        sizes.learn(5, 1.0, refused=False)
        assert [sizes.current(now) for now in (600.0, 660.0, 1200.0)] == [20, 20, 40]
