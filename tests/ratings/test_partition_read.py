import asyncio

import pytest

from gateway.cache.lookup import Lookup
from gateway.cache.write_rule import StoredRating
from gateway.errors import AppleError, DeadlineExceeded, GatewayError, Unreachable
from gateway.model import Id, Kind, Variant
from gateway.ratings.partition_read import PartitionRead
from gateway.ratings.query import Directives
from gateway.waiters import Requester
from tests.cache.fake_shared_cache import FakeSharedCache
from tests.fetch.fake_loads import USER, quiet
from tests.ratings.reads import FRESH_SECONDS, Reads, query

ALBUMS = Kind.ALBUMS
FULLER = Variant("include=content")
ONE, TWO = Id("1"), Id("2")


@pytest.fixture
async def redis():
    return FakeSharedCache()


@pytest.fixture
async def reads(redis):
    reads = Reads(redis)
    yield reads
    await reads.close()


def started(read: PartitionRead, *, calls: int = 0) -> "asyncio.Task[None]":
    requester = Requester()
    requester.calls = calls
    return asyncio.ensure_future(read.run(requester))


async def test_a_rating_that_was_stored_while_redis_was_asked_is_served_without_a_fetch(reads, redis):
    redis.before_answer = lambda: reads.store({ONE: 1})
    read = reads.partition_read(query((ALBUMS, [ONE])))
    await read.run(Requester())
    assert read.ratings() == ([ONE], [1])
    assert (read.forwarded, reads.fake.loads) == (False, [])


async def test_ids_count_as_errors_if_redis_does_not_answer(reads, redis):
    redis.found = Lookup()
    running = started(reads.partition_read(query((ALBUMS, [ONE, TWO]))))
    (load,) = await reads.fake.begun(1)
    load.answer()
    await running
    assert [reads.counted("shared", result) for result in ("error", "miss")] == [2, 0]


async def test_an_id_that_is_late_fails_and_its_fetch_goes_on(reads):
    read = reads.partition_read(query((ALBUMS, [ONE]), deadline=reads.clock.monotonic()))
    await read.run(Requester())
    assert isinstance(read.failed[ONE], DeadlineExceeded)
    (load,) = await reads.fake.begun(1)
    load.answer({ONE: 1})
    await quiet()
    assert reads.recalled(query((ALBUMS, [ONE]))).ratings() == ([ONE], [1])


@pytest.mark.parametrize(
    ("calls", "failure", "error", "status", "detail"),
    [
        (0, None, "connection_limit_reached", None, "No slot for a call to Apple Music became free"),
        (1, None, "http_response_timeout", None, "Apple Music did not answer within the time"),
        (1, AppleError(503, b""), "http_response_timeout", 503, "Apple Music answered 503, and the request"),
        (
            1,
            Unreachable("No address was found.", proxy_error="dns_timeout", sent=False),
            "dns_timeout",
            None,
            "No address was found. The request allows no time",
        ),
    ],
    ids=["no call was made", "no try failed", "a status", "no answer"],
)
async def test_an_id_that_is_late_fails_as_its_last_try_did(reads, calls, failure, error, status, detail):
    read = reads.partition_read(query((ALBUMS, [ONE]), deadline=reads.clock.monotonic() + 0.05))
    running = started(read, calls=calls)
    (load,) = await reads.fake.begun(1)
    load.waiters.failure = failure
    await running
    late = read.failed[ONE]
    assert (late.proxy_error, late.received_status) == (error, status)
    assert late.detail.startswith(detail)
    load.answer({ONE: 1})


async def test_a_stale_rating_stands_in_for_an_id_that_failed(reads):
    reads.store({ONE: -1})
    reads.clock.move(FRESH_SECONDS + 100)
    read = reads.partition_read(query((ALBUMS, [ONE, TWO])))
    running = started(read)
    (load,) = await reads.fake.begun(1)
    failure = AppleError(500, b"")
    load.answer({ONE: failure, TWO: failure})
    await running
    assert read.ratings() == ([ONE], [-1])
    assert (read.failed, read.stood_in_for) == ({TWO: failure}, failure)


async def test_no_stale_rating_stands_in_for_a_failure_of_the_gateway(reads):
    reads.store({ONE: -1})
    reads.clock.move(FRESH_SECONDS + 100)
    read = reads.partition_read(query((ALBUMS, [ONE])))
    running = started(read)
    (load,) = await reads.fake.begun(1)
    load.fail(KeyError("a bug"))
    await running
    assert isinstance(read.failed[ONE], GatewayError)


async def test_only_if_cached_fails_missing_ids_without_a_fetch(reads):
    reads.store({ONE: 1})
    read = reads.partition_read(query((ALBUMS, [ONE, TWO]), directives=Directives(only_if_cached=True)))
    await read.run(Requester())
    assert read.ratings() == ([ONE], [1])
    assert (read.failed[TWO].status, read.forwarded, reads.fake.loads) == (504, False, [])


class TestUnfetched:
    """Reads whose caller has already failed to get the ids that are missing in the cache."""

    async def test_cached_ids_are_served_and_the_others_fail(self, reads):
        reads.store({ONE: 1})
        read, failure = reads.partition_read(query((ALBUMS, [ONE, TWO]))), AppleError(400, b"")
        await read.run(Requester(), failure)
        assert (read.ratings(), read.failed) == (([ONE], [1]), {TWO: failure})
        assert reads.fake.loads == []

    async def test_a_stale_rating_stands_in_for_a_failure_of_apple(self, reads):
        reads.store({ONE: -1})
        reads.clock.move(FRESH_SECONDS + 100)
        read, failure = reads.partition_read(query((ALBUMS, [ONE]))), AppleError(503, b"")
        await read.run(Requester(), failure)
        assert (read.ratings(), read.stood_in_for, read.forwarded) == (([ONE], [-1]), failure, True)
        assert reads.fake.loads == []

    @pytest.mark.parametrize(("asked", "refreshed"), [([ONE], [[ONE]]), ([ONE, TWO], [])])
    async def test_stale_ratings_are_refreshed_only_if_no_id_is_missing(self, reads, asked, refreshed):
        reads.store({ONE: 1})
        reads.clock.move(FRESH_SECONDS + 1)
        await reads.partition_read(query((ALBUMS, asked))).run(Requester(), AppleError(400, b""))
        await quiet()
        assert reads.fake.asked() == refreshed


async def test_joined_ids_that_failed_do_not_count_as_collapsed(reads):
    first, second = (reads.partition_read(query((ALBUMS, [ONE, TWO]))) for _ in range(2))
    running = [started(first), started(second)]
    (load,) = await reads.fake.begun(1)
    load.answer({ONE: 1, TWO: AppleError(400, b"")})
    await asyncio.gather(*running)
    assert (second.plan.counts.collapsed, second.plan.counts.upstream) == (1, 1)


class TestHolds:
    HELD = StoredRating(-1, 1000.0, 2000.0)

    async def test_a_plain_read_is_answered_by_a_rating_held_in_redis(self, reads, redis):
        redis.found = Lookup(shared_version=b"1", holds={ONE: self.HELD})
        read = reads.partition_read(query((ALBUMS, [ONE])))
        await read.run(Requester())
        assert read.ratings() == ([ONE], [-1])
        assert (read.plan.counts.shared, reads.counted("shared", "hit")) == (1, 1)

    async def test_a_variant_is_fetched_and_shows_the_held_rating_in_apples_resource(self, reads, redis):
        redis.found = Lookup(shared_version=b"1", holds={ONE: self.HELD})
        read = reads.partition_read(query((ALBUMS, [ONE]), variant=FULLER))
        running = started(read)
        (load,) = await reads.fake.begun(1)
        load.answer({ONE: b'{"attributes":{"value":1},"relationships":{}}'})
        await running
        assert read.ratings() == ([ONE], [b'{"attributes":{"value":-1},"relationships":{}}'])

    async def test_a_fetch_of_held_ids_alone_does_not_count_as_stored(self, reads, redis):
        redis.found = Lookup(shared_version=b"1", holds={ONE: self.HELD})
        read = reads.partition_read(query((ALBUMS, [ONE]), variant=FULLER))
        running = started(read)
        (load,) = await reads.fake.begun(1)
        load.answer({ONE: 1})
        await running
        assert not read.stored


@pytest.mark.parametrize("kind", [ALBUMS, Kind.LIBRARY_ALBUMS])
async def test_a_fetch_during_which_the_user_wrote_does_not_count_as_stored(reads, kind):
    read = reads.partition_read(query((kind, [ONE])))
    running = started(read)
    (load,) = await reads.fake.begun(1)
    write = await reads.cache.begin_write(USER, ALBUMS, TWO, 10.0)
    await reads.cache.end_write(write, 1)
    load.answer({ONE: 1})
    await running
    assert (read.ratings(), read.stored) == (([ONE], [1]), False)
