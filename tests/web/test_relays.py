"""Relayed requests: what is sent to Apple, what the record says of it, and which reads are relayed."""

from collections.abc import AsyncIterator, Mapping

import pytest

from gateway.apple.client import Relay
from gateway.errors import BreakerOpen, Cause, Relayed, Unusable
from gateway.model import Id, Kind, Rating, Variant
from gateway.ratings.query import Answer, CacheOutcome, Failure, Part, Query, TierCounts
from gateway.waiters import Requester
from gateway.web.accepted import Accepted
from gateway.web.relays import Relays, is_no_list
from gateway.web.response import Reply
from tests.ratings.reads import FRESH_SECONDS
from tests.web.apis import ApiOnFakes

ONE, TWO = Id("1"), Id("2")
ALBUM = "/v1/me/ratings/albums/1"
OTHER = "/v1/me/ratings/albums?ids=1,2&new=1"
LENIENT = ("Prefer", "handling=lenient")
NO_RATINGS = Relay(200, b'{"results":{}}')
UNRATED = Relayed(404, b'{"errors":[{"code":"40400"}]}', code="40400").attribute(
    Cause.REQUEST, stale_allowed=False
)
NO_LIST = Unusable("not a list", received_status=200, other_shape=True)
PAST_REVALIDATION = FRESH_SECONDS + 100
"""An age at which entries serve only if Apple fails."""


def no_list_answer(*failed: Id) -> Answer:
    """An ordinary answer for which Apple's answer was not a list of ratings."""
    failures = tuple(Failure(Kind.ALBUMS, id_, NO_LIST) for id_ in failed)
    return Answer(b"", TierCounts(), CacheOutcome.MISS, failures=failures)


class RelaysOnFakes:
    """Relays beside an API, which accepts their requests."""

    def __init__(self) -> None:
        self.gateway = ApiOnFakes()
        self.apple = self.gateway.apple
        self.clock = self.gateway.reads.clock
        self.relays = Relays(self.gateway.reads.reader, self.gateway.writer, self.clock)

    async def write(self, value: int | None, *more: tuple[str, str]) -> tuple[Accepted, Reply]:
        accepted = self.gateway.accepted(ALBUM + "?l=de", *more, method="PUT")
        return accepted, await self.relays.write(accepted, value)

    async def read(self, path: str = OTHER, *more: tuple[str, str]) -> tuple[Accepted, Reply | Answer | None]:
        accepted, query = self.accepted_read(path, *more)
        return accepted, await self.relays.read(accepted, query, Requester())

    async def read_no_list(
        self, path: str = OTHER, *more: tuple[str, str], answer: Answer | None = None
    ) -> tuple[Accepted, Reply | Answer | None]:
        accepted, query = self.accepted_read(path, *more)
        answer = answer or no_list_answer(*query.parts[0].ids)
        return accepted, await self.relays.read_no_list(accepted, query, Requester(), answer)

    def store(self, ratings: Mapping[Id, Rating], age: float = 0.0) -> None:
        """Store ratings of the variant of `OTHER`, fetched `age` seconds ago."""
        self.gateway.reads.store(ratings, variant=Variant("new=1"))
        self.clock.move(age)

    def accepted_read(self, path: str, *more: tuple[str, str]) -> tuple[Accepted, Query]:
        accepted = self.gateway.accepted(path, *more)
        assert accepted.query is not None
        accepted.record.ids = sum(len(part.ids) for part in accepted.query.parts)
        return accepted, accepted.query


@pytest.fixture
async def fakes() -> AsyncIterator[RelaysOnFakes]:
    fakes = RelaysOnFakes()
    yield fakes
    await fakes.gateway.close()


class TestWrite:
    async def test_it_is_sent_with_its_query_and_conditions(self, fakes):
        await fakes.write(1, ("If-Match", '"a"'), ("X-Other", "b"))
        (call,) = fakes.apple.sent
        assert (call.method, call.path, call.query, call.headers) == (
            "PUT",
            ALBUM,
            "l=de",
            {"If-Match": '"a"'},
        )

    async def test_apples_answer_is_passed_on(self, fakes):
        fakes.apple.answer = Relay(200, b'{"data":[]}')
        _, reply = await fakes.write(1)
        assert (reply.status, reply.body, reply.cache_status) == (
            200,
            b'{"data":[]}',
            "ratings-gateway; fwd=method",
        )

    async def test_the_record_has_the_id_the_call_and_a_read_of_the_id(self, fakes):
        accepted, _ = await fakes.write(1)
        record = accepted.record
        assert (record.ids, record.counts.calls, record.parts) == (1, 1, (Part(Kind.ALBUMS, (Id("1"),)),))

    async def test_a_failure_becomes_the_answer_and_is_recorded_with_its_calls(self, fakes):
        fakes.apple.answer = BreakerOpen("The breaker is open.")
        accepted, reply = await fakes.write(1)
        assert (reply.status, reply.cache_status) == (503, "ratings-gateway; fwd=method")
        assert (accepted.record.error, accepted.record.counts.calls) == (fakes.apple.answer, 1)


async def test_favorites_are_sent_with_their_query(fakes):
    accepted = fakes.gateway.accepted("/v1/me/favorites?ids[albums]=1,2&ids[songs]=3", method="POST")
    reply = await fakes.relays.favorites(accepted, "POST")
    (call,) = fakes.apple.sent
    assert (reply.status, call.operation, call.query) == (
        200,
        "favorites",
        "ids[albums]=1,2&ids[songs]=3",
    )
    assert accepted.record.ids == 3


class TestRead:
    """Reads whose answers were recently not lists of ratings."""

    async def test_it_is_sent_as_it_came_and_not_cached(self, fakes):
        fakes.apple.answer = NO_RATINGS
        accepted, reply = await fakes.read()
        (call,) = fakes.apple.sent
        assert (call.operation, call.path, call.query) == ("bypass", "/v1/me/ratings/albums", "ids=1,2&new=1")
        assert call.many == (Kind.ALBUMS, ("1", "2"))
        assert (reply.body, reply.cache_status) == (NO_RATINGS.body, "ratings-gateway; fwd=bypass")
        assert accepted.record.cache == CacheOutcome.BYPASS

    async def test_one_for_one_id_is_sent_to_its_path(self, fakes):
        await fakes.read("/v1/me/ratings/albums/1?new=1")
        (call,) = fakes.apple.sent
        assert (call.path, call.query, call.many) == (ALBUM, "new=1", None)

    @pytest.mark.parametrize(("directive", "age"), [("max-age=900", 0), ("max-stale", PAST_REVALIDATION)])
    async def test_one_that_the_cache_can_answer_needs_no_call(self, fakes, directive, age):
        fakes.store({ONE: 1, TWO: None}, age)
        _, answer = await fakes.read(OTHER, ("Cache-Control", directive))
        assert (answer.failures, answer.counts.local, fakes.apple.sent) == ((), 2, [])

    async def test_only_if_cached_is_left_to_an_ordinary_read(self, fakes):
        _, reply = await fakes.read(OTHER, ("Cache-Control", "only-if-cached"))
        assert (reply, fakes.apple.sent) == (None, [])

    async def test_one_that_takes_several_calls_is_left_to_an_ordinary_read(self, fakes):
        fakes.apple.size = 1
        _, reply = await fakes.read()
        assert (reply, fakes.apple.sent) == (None, [])

    async def test_one_of_an_id_that_was_written_recently_is_left_to_an_ordinary_read(self, fakes):
        await fakes.write(-1)
        _, reply = await fakes.read()
        assert reply is None
        assert [call.operation for call in fakes.apple.sent] == ["write"]

    async def test_a_failure_becomes_the_answer(self, fakes):
        fakes.apple.answer = Relayed(500, b"")
        accepted, reply = await fakes.read()
        assert (reply.status, reply.cache_status) == (500, "ratings-gateway; fwd=bypass")
        assert accepted.record.error is fakes.apple.answer

    async def test_stale_ratings_stand_in_for_a_failure(self, fakes):
        fakes.store({ONE: 1, TWO: None}, PAST_REVALIDATION)
        fakes.apple.answer = Relayed(503, b"")
        _, answer = await fakes.read()
        assert (answer.failures, answer.outcome, answer.upstream_status) == ((), CacheOutcome.STALE, 503)
        assert (answer.counts.stale, answer.counts.calls) == (2, 1)

    async def test_stale_ratings_do_not_stand_in_for_a_refusal(self, fakes):
        fakes.store({ONE: 1, TWO: None}, PAST_REVALIDATION)
        fakes.apple.answer = Relayed(403, b"{}").attribute(Cause.USER, stale_allowed=False)
        assert (await fakes.read())[1].status == 403

    async def test_an_id_that_is_not_cached_fails_with_the_failure_of_the_relay(self, fakes):
        fakes.store({ONE: 1})
        fakes.apple.answer = Relayed(503, b"")
        assert (await fakes.read())[1].status == 503
        _, answer = await fakes.read(OTHER, LENIENT)
        assert (answer.counts.local, [failure.id for failure in answer.failures]) == (1, [TWO])

    async def test_after_a_list_of_ratings_later_ones_are_not_relayed(self, fakes):
        same = fakes.accepted_read(OTHER)
        await fakes.read_no_list()
        fakes.apple.answer = Relay(200, b'{"data":[]}', lists_ratings=True)
        accepted, reply = await fakes.read()
        assert (reply, accepted.record.cache) == (None, "none")
        assert not fakes.relays.relays(*same)

    async def test_a_404_for_many_ids_is_a_list_without_ratings(self, fakes):
        same = fakes.accepted_read(OTHER)
        await fakes.read_no_list()
        fakes.apple.answer = UNRATED
        assert (await fakes.read())[1] is None
        assert not fakes.relays.relays(*same)


class TestReadNoList:
    """Reads that failed because Apple's answer was not a list of ratings."""

    async def test_later_ones_of_its_user_type_and_variant_are_relayed_at_once(self, fakes):
        same, another = (
            fakes.accepted_read(f"/v1/me/ratings/{path}")
            for path in ("albums?ids=3&new=1", "songs?ids=3&new=1")
        )
        await fakes.read()
        assert not fakes.relays.relays(*same)
        await fakes.read_no_list()
        assert fakes.relays.relays(*same)
        assert not fakes.relays.relays(*another)

    async def test_later_ones_are_relayed_at_once_after_an_unrated_id(self, fakes):
        same = fakes.accepted_read(ALBUM + "?new=1")
        fakes.apple.answer = UNRATED
        assert (await fakes.read_no_list(ALBUM + "?new=1"))[1].status == 404
        assert fakes.relays.relays(*same)

    @pytest.mark.parametrize("failure", [Relayed(503, b""), Unusable("HTML", received_status=200)])
    async def test_a_failure_of_the_relay_is_the_answer_and_later_ones_are_not_relayed(self, fakes, failure):
        fakes.apple.answer = failure
        accepted, reply = await fakes.read_no_list()
        assert (reply.status, reply.cache_status) == (failure.status, "ratings-gateway; fwd=bypass")
        assert accepted.record.error is failure
        assert not fakes.relays.relays(*fakes.accepted_read(OTHER))

    async def test_a_lenient_one_keeps_what_is_known_if_the_relay_fails(self, fakes):
        fakes.apple.answer = Relayed(503, b"")
        answer = no_list_answer(ONE)
        _, kept = await fakes.read_no_list(OTHER, LENIENT, answer=answer)
        assert (kept, answer.counts.calls) == (answer, 1)

    async def test_one_that_takes_several_calls_is_unusable(self, fakes):
        fakes.apple.size = 1
        accepted, reply = await fakes.read_no_list()
        failed = accepted.record.error
        assert (reply.status, reply.cache_status) == (502, "ratings-gateway; fwd=bypass")
        assert "2 ids take several calls" in failed.detail
        assert (failed.cause, failed.stale_allowed) == (Cause.REQUEST, False)
        assert fakes.apple.sent == []

    async def test_calls_made_before_count_for_it(self, fakes):
        requester = Requester()
        requester.calls = 2
        accepted, query = fakes.accepted_read(OTHER)
        await fakes.relays.read_no_list(accepted, query, requester, no_list_answer(ONE, TWO))
        assert accepted.record.counts.calls == 3


@pytest.mark.parametrize(
    ("errors", "no_list"),
    [
        ([], False),
        ([NO_LIST], True),
        ([NO_LIST, NO_LIST], True),
        ([NO_LIST, Relayed(500, b"")], False),
        ([Unusable("HTML", received_status=200)], False),
        ([Unusable("HTML", received_status=502)], False),
    ],
    ids=["none failed", "one", "all", "another failed otherwise", "not JSON", "Apple failed"],
)
def test_an_answer_is_no_list_if_apple_answered_json_of_another_shape(errors, no_list):
    failures = tuple(Failure(Kind.ALBUMS, Id(str(number)), error) for number, error in enumerate(errors))
    assert is_no_list(Answer(b"", TierCounts(), CacheOutcome.MISS, failures=failures)) is no_list
