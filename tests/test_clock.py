"""Which of the machine's clocks tells how old something is."""

from types import ModuleType

from gateway.clock import counting_suspend


class FakeTime(ModuleType):
    """Two hours of suspend lie behind it."""

    def __init__(self, *, has_boottime: bool) -> None:
        super().__init__("time")
        if has_boottime:
            self.CLOCK_BOOTTIME = 7

    def clock_gettime(self, number: int) -> float:
        assert number == 7
        return 7_210.0

    def monotonic(self) -> float:
        return 10.0


def test_the_time_of_a_suspend_counts():
    assert counting_suspend(FakeTime(has_boottime=True))() == 7_210.0


def test_where_no_clock_counts_it_the_plain_one_is_used():
    assert counting_suspend(FakeTime(has_boottime=False))() == 10.0
