import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from gateway.cache.entry import Entry
from gateway.cache.lookup import Lookup
from gateway.errors import AppleError
from gateway.model import Id, Kind
from gateway.ratings.query import Answer, CacheOutcome, Directives, TierCounts
from gateway.ratings.read import Reader, merge
from tests.cache.fake_shared_cache import FakeSharedCache
from tests.fetch.fake_loads import USER, quiet
from tests.ratings.reads import FRESH_SECONDS, WRITE_SECONDS, Reads, query

ALBUMS, SONGS = Kind.ALBUMS, Kind.SONGS
ONE, TWO, THREE = Id("1"), Id("2"), Id("3")


@pytest.fixture
async def reads() -> AsyncIterator[Reads]:
    reads = Reads()
    yield reads
    await reads.close()


def listed(answer: Answer) -> list[tuple[str, int]]:
    resources = json.loads(b"[" + answer.resources + b"]")
    return [
        (resource["href"].removeprefix("/v1/me/ratings/"), resource["attributes"]["value"])
        for resource in resources
    ]


class TestAtOnce:
    async def test_fresh_ids_in_memory_are_answered(self, reads):
        reads.store({ONE: 1, TWO: None, THREE: -1})
        reads.clock.move(10.0)
        answer = reads.reader.at_once(query((ALBUMS, [THREE, TWO, ONE])))
        assert listed(answer) == [("albums/3", -1), ("albums/1", 1)]
        assert (answer.outcome, answer.age, answer.ttl) == (CacheOutcome.HIT, 10.0, FRESH_SECONDS - 10.0)
        assert answer.counts == TierCounts(local=3)

    @pytest.mark.parametrize(
        ("ids", "age", "directives"),
        [
            ([ONE, TWO], 0.0, Directives()),
            ([ONE], FRESH_SECONDS, Directives()),
            ([ONE], 10.0, Directives(max_age=5)),
            ([ONE], 0.0, Directives(no_cache=True)),
        ],
        ids=["missing", "stale", "too old", "no-cache"],
    )
    async def test_an_id_that_memory_cannot_answer_leaves_the_query_uncounted_to_read(
        self, reads, ids, age, directives
    ):
        reads.store({ONE: 1})
        reads.clock.move(age)
        assert reads.reader.at_once(query((ALBUMS, ids), directives=directives)) is None
        assert [reads.counted("local", result) for result in ("hit", "stale", "miss")] == [0, 0, 0]

    async def test_several_types_are_left_to_read(self, reads):
        reads.store({ONE: 1}, ALBUMS)
        reads.store({ONE: -1}, SONGS)
        both = query((ALBUMS, [ONE]), (SONGS, [ONE]))
        assert reads.reader.at_once(both) is None
        answer = await reads.reader.read(both)
        assert listed(answer) == [("albums/1", 1), ("songs/1", -1)]
        assert (answer.outcome, answer.counts) == (CacheOutcome.HIT, TierCounts(local=2))

    async def test_an_id_that_was_written_lately_leaves_the_query_to_read(self, reads):
        reads.store({ONE: 1})
        write = await reads.cache.begin_write(USER, ALBUMS, TWO, WRITE_SECONDS)
        await reads.cache.end_write(write, 1)
        assert reads.reader.at_once(query((ALBUMS, [ONE]))) is None

    async def test_an_answer_counts_its_hits(self, reads):
        reads.store({ONE: 1, TWO: None})
        reads.reader.at_once(query((ALBUMS, [ONE, TWO])))
        assert [reads.counted("local", result) for result in ("hit", "negative")] == [1, 1]


class TestRead:
    async def test_cached_and_fetched_ratings_are_merged_in_the_order_asked(self, reads):
        reads.store({TWO: -1})
        reading = asyncio.create_task(reads.reader.read(query((ALBUMS, [THREE, TWO, ONE]))))
        load = await reads.load(reading)
        assert load.ids == [THREE, ONE]
        load.answer({ONE: 1, THREE: 1})
        answer = await reading
        assert listed(answer) == [("albums/3", 1), ("albums/2", -1), ("albums/1", 1)]
        assert (answer.outcome, answer.stored) == (CacheOutcome.PARTIAL, True)
        assert answer.counts == TierCounts(local=1, upstream=2)

    async def test_parts_are_fetched_side_by_side_and_answered_in_the_order_asked(self, reads):
        reading = asyncio.create_task(reads.reader.read(query((SONGS, [ONE]), (ALBUMS, [TWO]))))
        songs, albums = await reads.fake.begun(2)
        albums.answer({TWO: -1})
        await quiet()
        songs.answer({ONE: 1})
        assert listed(await reading) == [("songs/1", 1), ("albums/2", -1)]

    async def test_failures_are_listed_in_the_order_asked(self, reads):
        reading = asyncio.create_task(reads.reader.read(query((SONGS, [TWO, ONE]), (ALBUMS, [ONE]))))
        songs, albums = await reads.fake.begun(2)
        failure = AppleError(400, b"")
        songs.answer({ONE: failure, TWO: failure})
        albums.answer({ONE: failure})
        answer = await reading
        assert [(failed.kind, failed.id) for failed in answer.failures] == [
            (SONGS, TWO),
            (SONGS, ONE),
            (ALBUMS, ONE),
        ]
        assert answer.resources == b""

    async def test_ttl_is_0_if_a_hit_expired_while_apple_was_asked_for_others(self, reads):
        reads.store({ONE: 1})
        reads.clock.move(FRESH_SECONDS - 1)
        reading = asyncio.create_task(reads.reader.read(query((ALBUMS, [ONE, TWO]))))
        load = await reads.load(reading)
        reads.clock.move(2.0)
        load.answer()
        answer = await reading
        assert (answer.age, answer.ttl) == (FRESH_SECONDS + 1, 0.0)

    async def test_ttl_is_below_0_if_a_stale_rating_is_served(self, reads):
        reads.store({ONE: 1})
        reads.clock.move(FRESH_SECONDS + 1)
        answer = await reads.reader.read(query((ALBUMS, [ONE])))
        assert (answer.outcome, answer.ttl, answer.counts.stale) == (CacheOutcome.HIT, -1.0, 1)

    async def test_fetched_ratings_alone_have_neither_age_nor_ttl(self, reads):
        reading = asyncio.create_task(reads.reader.read(query((ALBUMS, [ONE]))))
        (await reads.load(reading)).answer()
        answer = await reading
        assert (answer.age, answer.ttl) == (0.0, 0.0)

    async def test_hits_in_redis_are_answered_without_asking_apple(self):
        redis = FakeSharedCache()
        reads = Reads(redis)
        reads.store({ONE: 1})
        now = reads.clock.monotonic()
        redis.found = Lookup(shared_version=b"1", entries={TWO: Entry(1, now, now, now + FRESH_SECONDS)})
        answer = await reads.reader.read(query((ALBUMS, [ONE, TWO])))
        assert listed(answer) == [("albums/1", 1), ("albums/2", 1)]
        assert answer.counts == TierCounts(local=1, shared=1)
        await reads.close()


class TestOutcome:
    @pytest.mark.parametrize(
        ("admitted", "stale", "overruled", "outcome"),
        [
            (False, True, True, CacheOutcome.BYPASS),
            (True, True, True, CacheOutcome.STALE),
            (True, False, True, CacheOutcome.REQUEST),
            (True, False, False, CacheOutcome.PARTIAL),
        ],
    )
    async def test_bypass_comes_before_stale_before_request_before_partial(
        self, reads, admitted, stale, overruled, outcome
    ):
        reads.store({ONE: 1})
        read = reads.recalled(query((ALBUMS, [ONE])))
        read.forwarded, read.admitted, read.plan.overruled = True, admitted, overruled
        read.stood_in_for = AppleError(500, b"") if stale else None
        assert merge([read], 1, reads.clock.monotonic()).outcome is outcome

    async def test_a_part_answered_from_the_cache_does_not_make_the_answer_a_bypass(self, reads):
        reads.store({ONE: 1})
        cached, forwarded = (reads.recalled(query((ALBUMS, [ONE]))) for _ in range(2))
        cached.admitted = False
        forwarded.forwarded = True
        assert merge([cached, forwarded], 1, 0.0).outcome is CacheOutcome.PARTIAL

    async def test_the_first_failure_that_stale_ratings_stand_in_for_gives_the_status(self, reads):
        reads.store({ONE: 1})
        parts = [reads.recalled(query((ALBUMS, [ONE]))) for _ in range(3)]
        for part, status in zip(parts, (None, 500, 503), strict=True):
            part.forwarded = True
            part.stood_in_for = None if status is None else AppleError(status, b"")
        assert merge(parts, 1, 0.0).upstream_status == 500


class TestExpiry:
    """An id that expires at an awkward moment is fetched once, and every request for it is answered."""

    async def test_while_a_batch_gathers(self, reads):
        reads.store({TWO: 1})
        reads.clock.move(FRESH_SECONDS - 1)
        one = asyncio.create_task(reads.reader.read(query((ALBUMS, [ONE]))))
        await asyncio.sleep(0)
        reads.clock.move(100.0)
        two = asyncio.create_task(reads.reader.read(query((ALBUMS, [TWO]))))
        load = await reads.load(two)
        assert (load.ids, load.riders.ids) == ([ONE, TWO], [])
        load.answer({ONE: 1, TWO: -1})
        assert [listed(await one), listed(await two)] == [[("albums/1", 1)], [("albums/2", -1)]]

    async def test_while_it_rides(self, reads):
        reads.store({TWO: 1})
        reads.clock.move(FRESH_SECONDS - 1)
        one = asyncio.create_task(reads.reader.read(query((ALBUMS, [ONE]))))
        load = await reads.load(one)
        assert load.riders.ids == [TWO]
        reads.clock.move(100.0)
        two = asyncio.create_task(reads.reader.read(query((ALBUMS, [TWO]))))
        await quiet()
        load.answer({ONE: 1, TWO: -1})
        assert [listed(await one), listed(await two)] == [[("albums/1", 1)], [("albums/2", -1)]]
        assert len(reads.fake.loads) == 1

    async def test_while_its_refresh_is_under_way(self, reads):
        reads.store({TWO: 1})
        reads.clock.move(FRESH_SECONDS + 1)
        assert listed(await reads.reader.read(query((ALBUMS, [TWO])))) == [("albums/2", 1)]
        (refresh,) = await reads.fake.begun(1)
        reads.clock.move(100.0)
        two = asyncio.create_task(reads.reader.read(query((ALBUMS, [TWO]))))
        await quiet()
        assert not two.done()
        refresh.answer({TWO: -1})
        assert listed(await two) == [("albums/2", -1)]
        assert len(reads.fake.loads) == 1


class TestLargeQueries:
    async def test_a_large_query_is_not_answered_in_one_step(self, reads):
        reads.store({ONE: 1, TWO: -1})
        reader = Reader(reads.sources, reads.clock, piece_ids=1)
        assert reader.at_once(query((ALBUMS, [ONE, TWO]))) is None
        assert listed(await reader.read(query((ALBUMS, [TWO, ONE])))) == [("albums/2", -1), ("albums/1", 1)]

    async def test_others_run_between_its_pieces(self, reads):
        reads.store({ONE: 1, TWO: -1, THREE: 1})
        reader = Reader(reads.sources, reads.clock, piece_ids=1)
        reading = asyncio.create_task(reader.read(query((ALBUMS, [ONE, TWO, THREE]))))
        steps = 0
        while not reading.done():
            await asyncio.sleep(0)
            steps += 1
        assert steps >= 6

    async def test_a_write_between_two_pieces_is_seen_by_the_later_one(self, reads):
        reads.store({ONE: 1, TWO: 1})
        reader = Reader(reads.sources, reads.clock, piece_ids=1)
        reading = asyncio.create_task(reader.read(query((ALBUMS, [ONE, TWO]))))
        await asyncio.sleep(0)
        write = await reads.cache.begin_write(USER, ALBUMS, TWO, WRITE_SECONDS)
        await reads.cache.end_write(write, -1)
        assert listed(await reading) == [("albums/1", 1), ("albums/2", -1)]

    async def test_a_write_between_two_pieces_voids_the_fetch_of_the_earlier_one(self, reads):
        reader = Reader(reads.sources, reads.clock, piece_ids=1)
        reading = asyncio.create_task(reader.read(query((ALBUMS, [ONE, TWO]))))
        await asyncio.sleep(0)
        await reads.cache.begin_write(USER, ALBUMS, ONE, WRITE_SECONDS)
        for load in await reads.fake.begun(1):
            load.answer({ONE: 1, TWO: 1})
        await reading
        assert reads.reader.at_once(query((ALBUMS, [ONE]))) is None
