import msgspec
import pytest

from tests.bench import roads
from tests.bench.guard import verdicts
from tests.bench.results import Results
from tests.bench_tests.conftest import path, replayed

NOTHING = Results(mode="quick", machine="m", versions={}, missing=["nginx"])


def broken(results):
    return [verdict.what for verdict in verdicts(results) if not verdict.holds]


def test_a_good_run_breaks_nothing_and_leaves_nothing_out(results):
    assert broken(results) == []
    assert all(verdict.value is not None for verdict in verdicts(results))


def test_what_was_not_measured_is_not_broken():
    assert broken(NOTHING) == []
    assert {verdict.value for verdict in verdicts(NOTHING)} == {None}


@pytest.mark.parametrize(
    ("name", "ratio", "what"),
    [(roads.LOCAL, 0.69, "rate of a local-tier hit"), (roads.REDIS, 0.44, "rate of a Redis hit")],
)
def test_a_slow_path_is_broken(results, name, ratio, what):
    others = [one for one in results.paths if one.name != name]
    (found,) = broken(msgspec.structs.replace(results, paths=[*others, path(name, 1_000, ratio)]))
    assert found.startswith(what)


def test_hits_that_asked_apple_are_broken(results):
    strayed = [*results.paths, path("gateway, other", 9_000, 0.9, upstream_calls=101)]
    assert broken(msgspec.structs.replace(results, paths=strayed)) == [
        "upstream calls a request where all should be hits"
    ]


@pytest.mark.parametrize(
    ("ours", "what"),
    [
        (replayed("gateway", 1_900, 0.001), ["upstream calls on the trace, of nginx's", "of the floor"]),
        (replayed("gateway", 1_100, 0.050), ["median answer on the trace"]),
    ],
)
def test_more_calls_or_slower_answers_than_promised_are_broken(results, ours, what):
    trace = msgspec.structs.replace(results.trace, replayed=[ours, *results.trace.replayed[1:]])
    found = broken(msgspec.structs.replace(results, trace=trace))
    assert len(found) == len(what)
    assert all(part in name for part, name in zip(what, found, strict=True))


def test_growth_is_of_the_time_per_id_and_the_worse_of_hit_and_miss(results):
    hit_growth, miss_growth = 0.022 / 0.002 / 10, 0.4 / 0.06 / 10
    assert results.sizes.growth == pytest.approx(max(hit_growth, miss_growth))


def test_bytes_of_an_entry_are_growth_by_entries(results):
    assert results.memory.local.per_entry == 400.0
