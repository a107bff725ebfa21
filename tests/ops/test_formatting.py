import math

import pytest

from gateway.ops.formatting import (
    NOTHING,
    about,
    duration,
    latency,
    percent,
    plural,
    plural_were,
    rate,
    significant,
    size,
    stale_bound,
)


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


def test_windows_are_in_whole_minutes():
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


def test_only_one_thing_is_singular():
    assert [plural(count, "call") for count in (0, 1, 1234)] == ["0 calls", "1 call", "1,234 calls"]


def test_the_verb_is_singular_with_one_thing():
    assert plural_were(1, "entry", "entries") == "1 entry was"
    assert plural_were(1234, "entry", "entries") == "1,234 entries were"


@pytest.mark.parametrize(
    ("stale", "checks", "shown"),
    [
        (0, 0, "no checks yet"),
        (0, 4, "0 stale in 4 checks: too few for a bound"),
        (0, 3_120_000, "0 stale in 3,120,000 checks: at most 1 in 1,040,000 (95 % confidence)"),
        (4, 105_000, "4 stale in 105,000 checks: at most 1 in 10,000 (95 % confidence)"),
    ],
)
def test_the_bound_on_old_ratings_is_shown_with_the_count(stale, checks, shown):
    assert stale_bound(stale, checks) == shown


@pytest.mark.parametrize("stale", [*range(30), 100, 1000])
def test_the_bound_is_never_below_the_exact_upper_limit(stale):
    checks = 10_000_000
    once_in = int(stale_bound(stale, checks).partition("1 in ")[2].partition(" ")[0].replace(",", ""))
    limit = checks / once_in
    # With the bound as the mean, so few stale checks have a probability of at most 5 %.
    terms = [math.exp(-limit + k * math.log(limit) - math.lgamma(k + 1)) for k in range(stale + 1)]
    assert math.fsum(terms) <= 0.05
