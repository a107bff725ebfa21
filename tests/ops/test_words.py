import pytest

from gateway.ops.words import NOTHING, about, duration, latency, percent, plural, rate, significant, size


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (12.9, "12 s"),
        (270, "4 min 30 s"),
        (240, "4 min"),
        (12_000, "3 h 20 min"),
        (3_605, "1 h"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations_have_their_two_largest_units(seconds, shown):
    assert duration(seconds) == shown


def test_windows_are_told_in_minutes():
    assert [about(seconds) for seconds in (7.3, 59, 62, 306)] == ["7 s", "59 s", "1 min", "5 min"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, NOTHING), (0.00058, "0.58 ms"), (0.0123, "12 ms"), (0.999, "999 ms"), (1.26, "1.3 s")],
)
def test_latencies_have_two_digits(seconds, shown):
    assert latency(seconds) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (None, NOTHING),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.00001, "< 0.1 %"),
        (0.013, "1.3 %"),
        (0.05, "5 %"),
        (0.934, "93 %"),
        (0.9991, "99.9 %"),
        (0.99999, "99.9 %"),
    ],
)
def test_percentages_are_never_rounded_to_all_or_nothing(share, shown):
    assert percent(share) == shown


@pytest.mark.parametrize(
    ("per_second", "shown"), [(0.0, "0/s"), (0.034, "0.034/s"), (4.21, "4.2/s"), (1_234.5, "1,234/s")]
)
def test_rates_say_per_second(per_second, shown):
    assert rate(per_second) == shown


def test_small_numbers_have_no_exponent():
    assert significant(0.000042) == "0.000042"
    assert significant(0.0) == "0"


@pytest.mark.parametrize(
    ("count", "shown"),
    [(512, "512 B"), (1536, "1.5 KiB"), (134_217_728, "128 MiB"), (3 * 2**30, "3 GiB")],
)
def test_sizes_take_the_unit_that_fits(count, shown):
    assert size(count) == shown


def test_one_thing_is_no_things():
    assert [plural(count, "call") for count in (0, 1, 1234)] == ["0 calls", "1 call", "1,234 calls"]
