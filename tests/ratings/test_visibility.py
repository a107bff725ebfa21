"""What a gateway would serve after a write, judged without fetching or storing anything."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from structlog.testing import CapturingLogger

from gateway.cache.announcement import Announcement, value_digest
from gateway.cache.lookup import Lookup
from gateway.cache.write_rule import StoredRating
from gateway.fill_token import FillToken
from gateway.model import PLAIN, Id, Kind, Partition, Rating, Variant
from gateway.ratings.visibility import AFTER_SECONDS, MAX_CHECKED, Result, Visibility, judge, superseded
from gateway.tasks import Tasks
from tests.cache.fake_shared_cache import FakeSharedCache
from tests.fetch.fake_loads import USER
from tests.ratings.reads import WRITE_SECONDS, Reads
from tests.waiting import other_tasks, until

ONE = Id("1")
VERSION = 1_700_000_000_000_000
GERMAN = Variant("l=de")
FULLER = b'{"id":"1","type":"ratings","attributes":{"value":%d,"more":1}}'
WRITTEN_PARTITION = Partition(USER, Kind.ALBUMS)
EACH = len(AFTER_SECONDS)


def digest(rating: Rating) -> bytes:
    return value_digest(USER.key, Kind.ALBUMS, ONE, rating)


WRITTEN = Announcement(
    origin="writer",
    user=USER.key,
    kind=Kind.ALBUMS,
    id=ONE,
    digest=digest(-1),
    hold_seconds=10.0,
    begun=VERSION - 50_000,
    version=VERSION,
    published=VERSION,
)


def known(
    held: Rating | str = "nothing", *, version: int | None = VERSION, pending: bool = False, now: float = 0.0
) -> Lookup:
    """The lookup in Redis: a rating that is held, or none."""
    return Lookup(
        shared_version=None if version is None else b"%d" % version,
        holds={} if isinstance(held, str) else {ONE: StoredRating(held, now, now + 10.0)},
        pending={ONE: 1} if pending else {},
    )


class TestJudge:
    def verdict(self, *served: Rating, held: bool = True, superseded: bool | None = False) -> Result | None:
        return judge(WRITTEN, {digest(rating) for rating in served}, held=held, superseded=superseded)

    def test_nothing_served_is_absent(self):
        assert self.verdict() is Result.ABSENT

    def test_the_written_value_agrees(self):
        assert self.verdict(-1) is Result.AGREE

    @pytest.mark.parametrize("old", [1, None])
    def test_another_value_is_stale(self, old):
        assert self.verdict(old) is Result.STALE

    def test_one_variant_that_serves_another_value_is_stale(self):
        assert self.verdict(-1, 1) is Result.STALE

    def test_another_value_is_newer_if_there_was_a_later_write(self):
        assert self.verdict(1, superseded=True) is Result.NEWER

    def test_another_value_proves_nothing_without_redis(self):
        assert self.verdict(1, superseded=None) is None

    @pytest.mark.parametrize("value", [1, -1])
    def test_after_the_hold_every_value_is_newer(self, value):
        assert self.verdict(value, held=False) is Result.NEWER


class TestSuperseded:
    @pytest.mark.parametrize(
        ("shared", "later"),
        [
            (known(-1), False),
            (known(-1, version=VERSION + 1), False),
            (known(1, version=VERSION + 1), True),
            (known(1), False),
            (known(), False),
            (known(version=VERSION + 1), True),
            (known(version=VERSION - 1), None),
            (known(1, version=VERSION - 1), None),
            (known(-1, version=VERSION - 1), False),
            (known(version=VERSION - 1, pending=True), True),
            (known(-1, version=VERSION + 1, pending=True), True),
            (known(-1, version=VERSION + 2, now=VERSION / 1_000_000 + 0.01), True),
            (known(version=None), None),
        ],
        ids=[
            "the write is held",
            "another id was written since",
            "another value is held since",
            "another value is held, but nothing was written since",
            "the hold is gone, but nothing was written since",
            "the hold is gone, and something was written since",
            "Redis lost the write, and perhaps later ones",
            "Redis lost the write, and has another that was before it",
            "Redis lost the version, but has the write",
            "Redis lost the write, and a later one is under way",
            "a later write is under way",
            "the same value was written again",
            "Redis does not answer",
        ],
    )
    def test_a_later_write_shows_in_hold_version_or_pending_marker(self, shared, later):
        assert superseded(WRITTEN, shared) is later


class Checks:
    """Visibility checks over a fake Redis; sleeping moves the clock."""

    def __init__(self, redis: FakeSharedCache | None) -> None:
        self.redis = redis or FakeSharedCache()
        self.reads = Reads(redis)
        self.sampled = True
        self.clock = self.reads.clock
        self.log = CapturingLogger()
        self.tasks = Tasks(self._failed)
        self.slept: list[float] = []
        self.visibility = Visibility(
            self.reads.sources,
            clock=self.clock,
            tasks=self.tasks,
            metrics=self.reads.metrics,
            log=self.log,
            hold_seconds=10.0,
            sampled=lambda: self.sampled,
            sleep=self.sleep,
        )
        self.redis.found = known(-1, now=self.clock.monotonic())

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.move(seconds)

    async def check(self, written: Announcement = WRITTEN, *, age: float = 0.0, own: bool = False) -> None:
        self.visibility.on_announcement(written, age=age, own=own)
        await until(lambda: not other_tasks())

    def counted(self, tier: str) -> dict[str, float]:
        """Results of all checks by name, without zeros."""
        found: dict[str, float] = {}
        for after in ("0.1", "1", "5"):
            for result in Result:
                labels = {"after": after, "tier": tier, "result": result}
                count = self.reads.metrics.registry.get_sample_value(
                    "gateway_write_visibility_checks_total", labels
                )
                assert count is not None
                found[result] = found.get(result, 0.0) + count
        return {result: count for result, count in found.items() if count}

    @property
    def events(self) -> list[dict[str, Any]]:
        return [{"event": call.args[0], **call.kwargs} for call in self.log.calls]

    def _failed(self, name: str, error: BaseException) -> None:
        raise AssertionError(name) from error


@pytest.fixture
async def checks() -> AsyncIterator[Checks]:
    checks = Checks(FakeSharedCache())
    yield checks
    await checks.reads.close()


@pytest.fixture
async def alone() -> AsyncIterator[Checks]:
    """A gateway without Redis."""
    checks = Checks(None)
    yield checks
    await checks.reads.close()


async def test_checks_come_at_their_times_after_the_publication(checks):
    await checks.check(age=0.04)
    assert checks.slept == pytest.approx([0.06, 0.9, 4.0])


async def test_an_announcement_that_arrives_late_is_checked_at_once(checks):
    await checks.check(age=2.0)
    assert checks.slept == pytest.approx([0.0, 0.0, 3.0])


async def test_a_gateway_without_the_id_would_serve_what_redis_holds(checks):
    await checks.check()
    assert (checks.counted("local"), checks.counted("shared")) == ({"absent": EACH}, {"agree": EACH})
    assert not checks.events


async def test_a_gateway_that_serves_the_written_value_asks_redis_nothing(checks):
    checks.reads.store({ONE: -1})
    checks.redis.before_answer = lambda: pytest.fail("Redis was asked")
    await checks.check()
    assert (checks.counted("local"), checks.counted("shared")) == ({"agree": EACH}, {})


async def test_the_gateway_that_wrote_also_checks_what_redis_holds(checks):
    checks.reads.store({ONE: -1})
    await checks.check(own=True)
    assert (checks.counted("local"), checks.counted("shared")) == ({"agree": EACH}, {"agree": EACH})


async def test_an_old_value_in_memory_is_stale_and_logged_with_the_timeline(checks):
    checks.reads.store({ONE: 1})
    await checks.check(age=0.04)
    assert checks.counted("local") == {"stale": EACH}
    event = checks.events[0]
    published = VERSION / 1_000_000
    assert event | {"begun": 0, "ended": 0, "published": 0, "received": 0, "checked": 0} == {
        "event": "stale_after_write",
        "after": 0.1,
        "tier": "local",
        "user": USER.label,
        "type": "albums",
        "id": ONE,
        "origin": "writer",
        "own": False,
        "begun": 0,
        "ended": 0,
        "published": 0,
        "received": 0,
        "checked": 0,
        "version": VERSION,
        "known_version": VERSION,
        "fills_refused": 0,
    }
    times = [event[name] - published for name in ("begun", "ended", "published", "received", "checked")]
    assert times == pytest.approx([-0.05, 0.0, 0.0, 0.04, 0.1], abs=1e-5)


async def test_the_timeline_counts_the_fills_that_were_refused(checks):
    checks.reads.store({ONE: 1})
    too_old = FillToken(-1, checks.clock.monotonic(), b"1")
    checks.reads.cache.store(WRITTEN_PARTITION, too_old, {ONE: 1})
    await checks.check()
    assert checks.events[0]["fills_refused"] == 1


async def test_an_old_value_in_one_variant_is_stale(checks):
    checks.reads.store({ONE: -1})
    checks.reads.store({ONE: FULLER % 1}, variant=GERMAN)
    await checks.check()
    assert checks.counted("local") == {"stale": EACH}


async def test_the_written_value_in_another_resource_agrees(checks):
    checks.reads.store({ONE: FULLER % -1}, variant=GERMAN)
    await checks.check()
    assert checks.counted("local") == {"agree": EACH}


async def test_a_later_write_makes_another_value_newer(checks):
    checks.reads.store({ONE: 1})
    checks.redis.found = known(1, version=VERSION + 1, now=checks.clock.monotonic())
    await checks.check()
    assert checks.counted("local") == {"newer": EACH}


async def test_a_fill_that_replaced_the_hold_in_redis_is_stale(checks):
    now = checks.clock.monotonic()
    old = checks.reads.cache.freshness.entry(1, now, fresh_seconds=300.0)
    checks.redis.found = Lookup(shared_version=b"%d" % VERSION, entries={ONE: old})
    await checks.check(own=True)
    assert (checks.counted("local"), checks.counted("shared")) == ({"absent": EACH}, {"stale": EACH})


async def test_after_the_hold_nothing_is_stale(checks):
    checks.reads.store({ONE: 1})
    await checks.check(msgspec.structs.replace(WRITTEN, hold_seconds=0.5))
    assert checks.counted("local") == {"stale": 1, "newer": 2}


async def test_without_redis_nothing_is_concluded_from_another_value(checks):
    checks.reads.store({ONE: 1})
    checks.redis.found = Lookup()
    await checks.check(own=True)
    assert (checks.counted("local"), checks.counted("shared")) == ({}, {"absent": EACH})


@pytest.mark.parametrize("found", [Lookup(), known(version=VERSION + 1, pending=True)])
async def test_of_a_write_that_redis_did_not_confirm_only_its_absence_there_is_counted(checks, found):
    checks.reads.store({ONE: -1})
    checks.redis.found = found
    await checks.check(msgspec.structs.replace(WRITTEN, version=0, published=0), own=True)
    assert (checks.counted("local"), checks.counted("shared")) == ({}, {"absent": EACH})


async def test_a_rating_from_redis_proves_nothing_about_a_write_that_redis_did_not_confirm(checks):
    checks.redis.found = known(1, version=VERSION + 1, now=checks.clock.monotonic())
    await checks.check(msgspec.structs.replace(WRITTEN, version=0, published=0), own=True)
    assert (checks.counted("local"), checks.counted("shared")) == ({}, {})


async def test_a_check_fetches_and_keeps_nothing_and_counts_no_lookup(checks):
    checks.redis.found = Lookup(
        shared_version=b"%d" % VERSION,
        entries={ONE: checks.reads.cache.freshness.entry(-1, checks.clock.monotonic(), fresh_seconds=300.0)},
    )
    await checks.check(own=True)
    assert checks.reads.cache.memory.entries == 0
    assert not checks.reads.fake.flights.in_flight(WRITTEN_PARTITION, ONE)
    assert checks.reads.counted("local", "miss") == checks.reads.counted("shared", "hit") == 0


async def test_writes_checked_at_once_are_bounded(checks):
    for _ in range(MAX_CHECKED + 5):
        checks.visibility.on_announcement(WRITTEN, age=0.0, own=False)
    assert len(other_tasks()) == MAX_CHECKED
    await checks.tasks.cancel()


async def write(alone: Checks, rating: Rating) -> None:
    cache = alone.reads.cache
    assert await cache.end_write(await cache.begin_write(USER, Kind.ALBUMS, ONE, WRITE_SECONDS), rating)
    alone.visibility.on_written(USER, Kind.ALBUMS, ONE, rating)


async def test_a_gateway_without_redis_checks_its_own_writes(alone):
    await write(alone, -1)
    await until(lambda: not other_tasks())
    assert (alone.counted("local"), alone.counted("shared")) == ({"agree": EACH}, {})


async def test_without_redis_an_old_value_is_stale(alone):
    await write(alone, -1)
    alone.reads.cache.memory.put(
        Partition(USER, Kind.ALBUMS, GERMAN),
        {ONE: alone.reads.cache.freshness.entry(FULLER % 1, alone.clock.monotonic(), fresh_seconds=300.0)},
        alone.clock.monotonic(),
    )
    alone.reads.cache.recall = without_holds_in_variants(alone.reads.cache.recall)
    await until(lambda: not other_tasks())
    assert alone.counted("local") == {"stale": EACH}


def without_holds_in_variants(recall: Any) -> Any:
    """A planted bug: holds are ignored in variants."""

    def broken(partition: Partition, now: float) -> Lookup:
        found: Lookup = recall(partition, now)
        return found if partition.variant == PLAIN else msgspec.structs.replace(found, holds={})

    return broken


async def test_without_redis_a_later_write_is_newer(alone):
    alone.visibility.on_written(USER, Kind.ALBUMS, ONE, -1)
    await write(alone, 1)
    await until(lambda: not other_tasks())
    assert alone.counted("local") == {"newer": EACH, "agree": EACH}


async def test_a_write_that_is_not_sampled_is_not_checked(alone):
    alone.sampled = False
    await write(alone, -1)
    assert not other_tasks()


async def test_the_rating_before_a_write_that_is_not_answered_yet_is_not_stale(checks):
    checks.redis.found = known(-1, now=checks.clock.monotonic())
    await checks.reads.cache.begin_write(USER, Kind.ALBUMS, ONE, WRITE_SECONDS)
    checks.reads.cache.memory.put(
        WRITTEN_PARTITION,
        {ONE: checks.reads.cache.freshness.entry(1, checks.clock.monotonic(), fresh_seconds=300.0)},
        checks.clock.monotonic(),
    )
    await checks.check(own=True)
    assert checks.counted("local") == {"newer": EACH}
