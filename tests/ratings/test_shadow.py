"""Shadow checks: which hits are compared with Apple, and how they are counted."""

from collections.abc import AsyncIterator, Callable

import pytest

from gateway.cache.lookup import Lookup
from gateway.cache.write_rule import StoredRating
from gateway.errors import AppleError
from gateway.model import Id, Partition, Priority, Rating
from gateway.ratings.shadow import MAX_CHECKS, MAX_IDS, RESULTS, Shadow, compare
from tests.cache.fake_shared_cache import FakeSharedCache
from tests.fetch.fake_loads import ALBUMS, USER, quiet
from tests.ratings.reads import FRESH_SECONDS, WRITE_SECONDS, Reads

ONE, TWO = Id("1"), Id("2")


class Checks:
    """Checks all hits of a cache with a fake Redis."""

    def __init__(self, fraction: float = 1.0, chance: Callable[[], float] = lambda: 0.0) -> None:
        self.shared = FakeSharedCache()
        self.reads = Reads(self.shared)
        self.shadow = Shadow(
            fraction,
            cache=self.reads.cache,
            flights=self.reads.fake.flights,
            clock=self.reads.clock,
            tasks=self.reads.fake.tasks,
            metrics=self.reads.metrics,
            chance=chance,
        )

    def serve(self, partition: Partition = ALBUMS) -> None:
        """Check everything that memory has, as if it had been served now."""
        now = self.reads.clock.monotonic()
        self.shadow.check(partition, self.reads.cache.recall(partition, now).entries.items())

    async def counted(self) -> dict[str, int]:
        """Results of all checks by name, without zeros, once none is under way."""
        await quiet()
        value = self.reads.metrics.registry.get_sample_value
        counts = {result: value("gateway_shadow_checks_total", {"result": result}) for result in RESULTS}
        return {result: int(count) for result, count in counts.items() if count}


@pytest.fixture
async def checks() -> AsyncIterator[Checks]:
    checks = Checks()
    yield checks
    await checks.reads.close()


async def test_each_id_agrees_changed_or_could_not_be_fetched(checks):
    ratings = {Id(str(number)): 1 for number in range(3)}
    checks.reads.store(ratings)
    checks.serve()
    (load,) = await checks.reads.fake.begun(1)
    load.answer(dict(zip(ratings, (1, -1, AppleError(500, b"")), strict=True)))
    assert await checks.counted() == {"agree": 1, "changed": 1, "error": 1}


async def test_a_check_changes_nothing_in_the_cache(checks):
    checks.reads.store({ONE: 1})
    checks.serve()
    (load,) = await checks.reads.fake.begun(1)
    load.answer({ONE: -1})
    assert await checks.counted() == {"changed": 1}
    recalled = checks.reads.cache.recall(ALBUMS, checks.reads.clock.monotonic())
    assert recalled.entries[ONE].rating == 1


async def test_a_check_keeps_nothing_that_redis_has(checks):
    now = checks.reads.clock.monotonic()
    entries = {ONE: checks.reads.cache.freshness.entry(1, now, fresh_seconds=FRESH_SECONDS)}
    checks.shared.found = Lookup(shared_version=b"1", entries=entries)
    checks.shadow.check(ALBUMS, entries.items())
    (load,) = await checks.reads.fake.begun(1)
    load.answer({ONE: 1})
    assert await checks.counted() == {"agree": 1}
    assert checks.reads.cache.memory.entries == 0


async def test_a_check_has_background_priority(checks):
    checks.reads.store({ONE: 1})
    checks.serve()
    (load,) = await checks.reads.fake.begun(1)
    assert load.waiters.priority is Priority.BACKGROUND


async def test_an_id_that_is_being_written_is_not_compared(checks):
    checks.reads.store({ONE: 1, TWO: 1})
    served = dict(checks.reads.cache.recall(ALBUMS, checks.reads.clock.monotonic()).entries)
    await checks.reads.cache.begin_write(USER, ALBUMS.kind, ONE, WRITE_SECONDS)
    checks.shadow.check(ALBUMS, served.items())
    (load,) = await checks.reads.fake.begun(1)
    assert load.ids == [TWO]


@pytest.mark.parametrize(
    "found",
    [
        Lookup(shared_version=b"1", pending={ONE: b"7"}),
        Lookup(shared_version=b"1", holds={ONE: StoredRating(1, 1000.0, 1010.0)}),
    ],
    ids=["being written", "within its hold"],
)
async def test_an_id_that_another_gateway_writes_is_not_compared(checks, found):
    checks.reads.store({ONE: 1, TWO: 1})
    checks.shared.found = found
    checks.serve()
    (load,) = await checks.reads.fake.begun(1)
    assert load.ids == [TWO]


async def test_nothing_is_counted_if_there_was_a_write_during_the_check(checks):
    checks.reads.store({ONE: 1, TWO: 1})
    checks.serve()
    (load,) = await checks.reads.fake.begun(1)
    await checks.reads.cache.begin_write(USER, ALBUMS.kind, ONE, WRITE_SECONDS)
    load.answer({ONE: -1, TWO: 1})
    assert await checks.counted() == {}


async def test_of_a_long_answer_a_hundred_ids_are_compared(checks):
    checks.reads.store({Id(str(number)): 1 for number in range(MAX_IDS + 1)})
    checks.serve()
    (load,) = await checks.reads.fake.begun(1)
    assert len(load.ids) == MAX_IDS


async def test_nothing_is_drawn_while_enough_checks_are_under_way(checks):
    checks.reads.store({ONE: 1})
    for _ in range(MAX_CHECKS):
        assert checks.shadow.drawn()
        checks.serve()
    assert not checks.shadow.drawn()
    (load,) = await checks.reads.fake.begun(1)
    load.answer()
    await quiet()
    assert checks.shadow.drawn()


@pytest.mark.parametrize(("chance", "drawn"), [(0.0, True), (0.24, True), (0.25, False), (0.99, False)])
async def test_the_fraction_of_the_answers_is_drawn_by_chance(chance, drawn):
    checks = Checks(0.25, lambda: chance)
    assert checks.shadow.drawn() is drawn
    await checks.reads.close()


@pytest.mark.parametrize(
    ("served", "now", "result"),
    [
        (b'{"id":"1","a":{"b":1,"c":2}}', b'{"a": {"c": 2, "b": 1}, "id": "1"}', "agree"),
        (b'{"id":"1","a":1}', b'{"id":"1","a":-1}', "changed"),
        (None, None, "agree"),
        (None, b'{"id":"1"}', "changed"),
        (b'{"id":"1"}', None, "changed"),
        (1, AppleError(500, b""), "error"),
    ],
)
def test_resources_are_compared_as_json(served: Rating, now: Rating | AppleError, result: str):
    assert compare(served, now) == result
