"""Relayed reads: which reads are sent to Apple as they came, and which are answered in another way."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from math import inf

import pytest

from gateway.apple.client import AppleSuccess, Outbound
from gateway.cache.lookup import Lookup
from gateway.cache.write_rule import StoredRating
from gateway.errors import AppleError, Cause, GatewayError, Refused, Unusable
from gateway.model import LONGEST_VARIANT, Id, Kind, Partition, Rating, User, Variant, plain_resource
from gateway.ratings.query import (
    NO_DIRECTIVES,
    Answer,
    CacheOutcome,
    Directives,
    Failure,
    Part,
    Query,
    TierCounts,
)
from gateway.ratings.relay import (
    MAX_RELAYED,
    RelayedPartitions,
    RelayedReads,
    RelayedRequest,
    RelayResult,
    Unrated,
    is_no_list,
)
from gateway.ratings.write import Writer
from gateway.waiters import Requester
from tests.cache.fake_shared_cache import FakeSharedCache
from tests.fetch.fake_loads import USER
from tests.ratings.fake_apple import FakeApple
from tests.ratings.reads import FRESH_SECONDS, Reads

ONE, TWO, THREE = Id("1"), Id("2"), Id("3")
PATH = "/v1/me/ratings/albums"
NEW = Variant("new=1")
BOTH = RelayedRequest(PATH, "ids=1,2&new=1", lists_ids=True)
SINGLE = RelayedRequest(f"{PATH}/1", "new=1", lists_ids=False)

RATINGS: Mapping[Id, Rating] = {ONE: 1, TWO: None}
NO_LIST = Unusable("not a list", received_status=200, other_shape=True)
NO_LISTS: Mapping[Id, Rating | GatewayError] = dict.fromkeys((ONE, TWO, THREE), NO_LIST)

NO_RATINGS = AppleSuccess(200, b'{"results":{}}')
A_LIST = AppleSuccess(200, b'{"data":[]}', lists_ratings=True)
UNRATED = AppleError(404, b'{"errors":[{"code":"40400"}]}', code="40400").attribute(
    Cause.REQUEST, stale_allowed=False
)
PAST_REVALIDATION = FRESH_SECONDS + 100
"""An age at which entries serve only if Apple fails."""


class RelayedOnFakes:
    """Relayed reads. A fake Apple answers relays, and loads answer ordinary reads."""

    def __init__(self, redis: FakeSharedCache | None = None) -> None:
        self.reads = Reads(redis)
        self.clock = self.reads.clock
        self.apple = FakeApple()
        self.apple.answer = NO_RATINGS
        self.relayed = RelayedReads(
            self.reads.reader, cache=self.reads.cache, apple=self.apple.client, clock=self.clock
        )
        self.requester = Requester()

    async def read(
        self,
        *loaded: Mapping[Id, Rating | GatewayError],
        request: RelayedRequest = BOTH,
        directives: Directives = NO_DIRECTIVES,
        lenient: bool = False,
        kind: Kind = Kind.ALBUMS,
        ids: tuple[Id, ...] = (ONE, TWO),
    ) -> Answer | RelayResult:
        """Read with other parameters; `loaded` answers the loads, which must be as many."""
        ids = ids if request.lists_ids else ids[:1]
        query = Query(USER, (Part(kind, ids),), NEW, directives, lenient=lenient)
        loads = self.reads.fake.loads
        before = len(loads)
        reading = asyncio.create_task(self.relayed.read(query, request, self.requester))
        for number, outcomes in enumerate(loaded, before + 1):
            load = (await self.reads.fake.begun(number))[-1]
            load.waiters.count_try()
            load.answer({id_: outcomes[id_] for id_ in load.ids})
        try:
            async with asyncio.timeout(5):
                return await reading
        finally:
            assert len(loads) == before + len(loaded)

    async def remember(self) -> None:
        """Relay a read of another id, so that later ones of its partition are relayed at once."""
        assert await self.read(NO_LISTS, ids=(THREE,)) is NO_RATINGS
        self.apple.sent.clear()
        self.requester = Requester()

    async def write(self, value: int) -> None:
        """Write a rating of the first id, in another variant."""
        apple = FakeApple()
        apple.answer = AppleSuccess(200, b'{"data":[%b]}' % plain_resource(Kind.ALBUMS, ONE, value))
        writer = Writer(
            cache=self.reads.cache,
            apple=apple.client,
            tasks=self.reads.fake.tasks,
            clock=self.clock,
            call_timeout_seconds=3.0,
        )
        await writer.write(USER, Kind.ALBUMS, ONE, value, "", self.clock.monotonic() + 10, Requester())

    def store(self, ratings: Mapping[Id, Rating], age: float = 0.0) -> None:
        """Store ratings of the variant that is read, fetched `age` seconds ago."""
        self.reads.store(ratings, variant=NEW)
        self.clock.move(age)


@pytest.fixture
async def fakes() -> AsyncIterator[RelayedOnFakes]:
    fakes = RelayedOnFakes()
    yield fakes
    await fakes.reads.close()


class TestFirstReads:
    """Reads of partitions for which nothing was relayed recently."""

    async def test_a_list_of_ratings_is_cached_and_not_relayed(self, fakes):
        assert (await fakes.read(RATINGS)).outcome is CacheOutcome.MISS
        assert (await fakes.read()).outcome is CacheOutcome.HIT
        assert fakes.apple.sent == []

    async def test_one_that_fails_otherwise_is_not_relayed(self, fakes):
        html = Unusable("HTML", received_status=200)
        answer = await fakes.read({ONE: NO_LIST, TWO: html})
        assert [failure.error for failure in answer.failures] == [NO_LIST, html]
        assert fakes.apple.sent == []

    async def test_one_for_many_ids_is_sent_to_apple_as_it_came(self, fakes):
        assert await fakes.read(NO_LISTS) is NO_RATINGS
        assert fakes.apple.sent == [
            Outbound(
                operation="bypass",
                method="GET",
                path=PATH,
                query="ids=1,2&new=1",
                user=USER,
                many=(Kind.ALBUMS, (ONE, TWO)),
            )
        ]
        assert fakes.requester.calls == 2

    async def test_one_for_one_id_is_sent_to_its_path(self, fakes):
        assert await fakes.read(NO_LISTS, request=SINGLE) is NO_RATINGS
        (call,) = fakes.apple.sent
        assert (call.path, call.query, call.many) == (f"{PATH}/1", "new=1", None)

    async def test_one_that_is_answered_by_a_list_after_all_is_read_again(self, fakes):
        fakes.apple.answer = A_LIST
        answer = await fakes.read(NO_LISTS, RATINGS)
        assert (answer.failures, answer.counts.upstream, answer.counts.calls) == ((), 2, 3)

    @pytest.mark.parametrize("failure", [AppleError(503, b""), Unusable("HTML", received_status=200)])
    async def test_a_failure_of_the_relay_is_returned_and_later_ones_are_not_relayed_at_once(
        self, fakes, failure
    ):
        fakes.apple.answer = failure
        assert await fakes.read(NO_LISTS) is failure
        assert (await fakes.read(RATINGS)).failures == ()

    async def test_a_lenient_one_keeps_what_is_known_if_the_relay_fails(self, fakes):
        fakes.store({TWO: 1})
        fakes.apple.answer = AppleError(503, b"")
        answer = await fakes.read(NO_LISTS, lenient=True)
        assert [(failure.id, failure.error) for failure in answer.failures] == [(ONE, NO_LIST)]
        assert (answer.counts.local, answer.counts.calls) == (1, 2)

    async def test_a_lenient_one_for_one_id_fails_if_the_relay_fails(self, fakes):
        fakes.apple.answer = AppleError(503, b"")
        assert await fakes.read(NO_LISTS, request=SINGLE, lenient=True) is fakes.apple.answer

    async def test_ids_of_several_calls_are_not_relayed(self, fakes):
        fakes.apple.size = 1
        failed = await fakes.read(NO_LISTS)
        assert isinstance(failed, Unusable)
        assert "2 ids take several calls. Ask for at most 1 per request." in failed.detail
        assert (failed.cause, failed.stale_allowed, failed.received_status) == (Cause.REQUEST, False, 200)
        assert (fakes.apple.sent, fakes.requester.calls) == ([], 1)

    async def test_a_lenient_one_of_several_calls_keeps_what_is_known(self, fakes):
        fakes.store({TWO: 1})
        fakes.apple.size = 1
        answer = await fakes.read(NO_LISTS, lenient=True)
        assert ([failure.error for failure in answer.failures], answer.counts.local) == ([NO_LIST], 1)


class TestLaterReads:
    """Reads of partitions for which a read was relayed within the last minute."""

    async def test_they_are_relayed_without_an_ordinary_read(self, fakes):
        await fakes.remember()
        assert await fakes.read() is NO_RATINGS
        assert (len(fakes.apple.sent), fakes.requester.calls) == (1, 1)

    async def test_they_are_relayed_after_an_unrated_id_too(self, fakes):
        fakes.apple.answer = UNRATED
        for loaded in ([NO_LISTS], []):
            assert await fakes.read(*loaded, request=SINGLE) == Unrated(UNRATED.body)
        assert len(fakes.apple.sent) == 2

    async def test_they_are_ordinary_ones_after_a_minute(self, fakes):
        await fakes.remember()
        fakes.clock.move(60.0)
        assert (await fakes.read(RATINGS)).failures == ()
        assert fakes.apple.sent == []

    async def test_those_of_another_type_are_ordinary_ones(self, fakes):
        await fakes.remember()
        assert (await fakes.read(RATINGS, kind=Kind.SONGS)).failures == ()

    @pytest.mark.parametrize(
        ("directives", "age"),
        [(Directives(max_age=900), 0), (Directives(max_stale=inf), PAST_REVALIDATION)],
        ids=["fresh", "stale"],
    )
    async def test_those_that_the_cache_can_answer_need_no_call(self, fakes, directives, age):
        fakes.store(RATINGS, age)
        await fakes.remember()
        answer = await fakes.read(directives=directives)
        assert (answer.failures, answer.counts.local, fakes.apple.sent) == ((), 2, [])

    async def test_only_if_cached_is_never_relayed(self, fakes):
        fakes.store({ONE: 1})
        await fakes.remember()
        answer = await fakes.read(directives=Directives(only_if_cached=True))
        assert [(failure.id, type(failure.error)) for failure in answer.failures] == [(TWO, Refused)]
        assert (answer.outcome, fakes.apple.sent) == (CacheOutcome.HIT, [])

    async def test_those_that_take_several_calls_are_ordinary_ones(self, fakes):
        await fakes.remember()
        fakes.apple.size = 1
        assert (await fakes.read(RATINGS)).failures == ()
        assert fakes.apple.sent == []

    async def test_those_that_need_the_hold_of_a_write_are_ordinary_ones(self, fakes):
        await fakes.remember()
        await fakes.write(-1)
        answer = await fakes.read(RATINGS)
        assert (answer.resources, fakes.apple.sent) == (plain_resource(Kind.ALBUMS, ONE, -1), [])

    async def test_those_that_need_a_hold_that_is_known_to_redis_only_are_ordinary_ones(self):
        redis = FakeSharedCache()
        fakes = RelayedOnFakes(redis)
        await fakes.remember()
        redis.found = Lookup(shared_version=b"2", holds={ONE: StoredRating(-1, 0.0, inf)})
        answer = await fakes.read(RATINGS)
        assert isinstance(answer, Answer)
        assert (answer.resources, fakes.apple.sent) == (plain_resource(Kind.ALBUMS, ONE, -1), [])
        await fakes.reads.close()

    async def test_those_without_a_hold_in_redis_are_relayed(self):
        fakes = RelayedOnFakes(FakeSharedCache())
        await fakes.remember()
        assert await fakes.read() is NO_RATINGS
        await fakes.reads.close()

    async def test_a_failure_of_the_relay_is_returned(self, fakes):
        await fakes.remember()
        fakes.apple.answer = AppleError(500, b"")
        assert await fakes.read() is fakes.apple.answer

    async def test_stale_ratings_stand_in_for_a_failure(self, fakes):
        fakes.store(RATINGS, PAST_REVALIDATION)
        await fakes.remember()
        fakes.apple.answer = AppleError(503, b"")
        answer = await fakes.read()
        assert (answer.failures, answer.outcome, answer.upstream_status) == ((), CacheOutcome.STALE, 503)
        assert (answer.counts.stale, answer.counts.calls) == (2, 1)

    async def test_stale_ratings_do_not_stand_in_for_a_refusal(self, fakes):
        fakes.store(RATINGS, PAST_REVALIDATION)
        await fakes.remember()
        fakes.apple.answer = AppleError(403, b"{}").attribute(Cause.USER, stale_allowed=False)
        assert await fakes.read() is fakes.apple.answer

    async def test_an_id_that_is_not_cached_fails_with_the_failure_of_the_relay(self, fakes):
        fakes.store({ONE: 1})
        await fakes.remember()
        fakes.apple.answer = AppleError(503, b"")
        assert await fakes.read() is fakes.apple.answer
        answer = await fakes.read(lenient=True)
        assert (answer.counts.local, [failure.id for failure in answer.failures]) == (1, [TWO])

    @pytest.mark.parametrize("answer", [A_LIST, AppleError(500, b"")], ids=["ratings", "a failure"])
    async def test_their_ids_count_once_however_often_they_are_looked_up(self, fakes, answer):
        await fakes.remember()
        missed = fakes.reads.counted("local", "miss")
        fakes.apple.answer = answer
        await fakes.read(*([RATINGS] if answer is A_LIST else []))
        assert fakes.reads.counted("local", "miss") - missed == 2

    @pytest.mark.parametrize("listed", [A_LIST, UNRATED], ids=["ratings", "all unrated"])
    async def test_after_a_list_of_ratings_they_are_ordinary_ones(self, fakes, listed):
        await fakes.remember()
        fakes.apple.answer = listed
        assert (await fakes.read(RATINGS)).counts.calls == 2
        fakes.apple.answer = NO_RATINGS
        assert (await fakes.read(RATINGS, directives=Directives(no_cache=True))).failures == ()
        assert len(fakes.apple.sent) == 1


@pytest.mark.parametrize(
    ("errors", "no_list"),
    [
        ([], False),
        ([NO_LIST], True),
        ([NO_LIST, NO_LIST], True),
        ([NO_LIST, AppleError(500, b"")], False),
        ([Unusable("HTML", received_status=200)], False),
        ([Unusable("HTML", received_status=502)], False),
    ],
    ids=["none failed", "one", "all", "another failed otherwise", "not JSON", "Apple failed"],
)
def test_an_answer_is_no_list_if_apple_answered_json_of_another_shape(errors, no_list):
    failures = tuple(Failure(Kind.ALBUMS, Id(str(number)), error) for number, error in enumerate(errors))
    assert is_no_list(Answer(b"", TierCounts(), CacheOutcome.MISS, failures=failures)) is no_list


def partition(variant: str) -> Partition:
    return Partition(User.of("ada"), Kind.ALBUMS, Variant(variant))


class TestRelayedPartitions:
    def test_each_is_remembered_for_a_minute(self):
        relayed = RelayedPartitions()
        relayed.add(partition("x=1"), 100.0)
        assert relayed.has(partition("x=1"), 159.9)
        assert not relayed.has(partition("x=1"), 160.0)
        assert not relayed.has(partition("x=2"), 100.0)

    def test_the_oldest_make_room(self):
        relayed = RelayedPartitions()
        for number in range(MAX_RELAYED):
            relayed.add(partition(f"x={number}"), 0.0)
        relayed.add(partition("x=0"), 1.0)
        relayed.add(partition("x=new"), 1.0)
        assert [relayed.has(partition(f"x={name}"), 2.0) for name in (0, 1, "new")] == [True, False, True]

    def test_long_variants_are_not_kept(self):
        relayed = RelayedPartitions()
        relayed.add(partition("x" * (LONGEST_VARIANT + 1)), 0.0)
        assert not relayed.has(partition("x" * (LONGEST_VARIANT + 1)), 0.0)
