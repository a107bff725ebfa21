"""The clock that ages are measured with counts the time for which the machine is suspended."""

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


def test_the_plain_clock_is_used_if_none_counts_suspend():
    assert counting_suspend(FakeTime(has_boottime=False))() == 10.0
