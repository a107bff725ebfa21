"""Relayed requests: what is sent to Apple, what the record says of it, and which reads are relayed."""

from collections.abc import AsyncIterator

import pytest

from gateway.apple.client import Relay
from gateway.errors import BreakerOpen, Cause, Refused, Relayed, Unusable
from gateway.model import Id, Kind
from gateway.ratings.query import Answer, CacheOutcome, Failure, Part, Query, TierCounts
from gateway.waiters import Requester
from gateway.web.accepted import Accepted
from gateway.web.relays import Relays, is_no_list
from gateway.web.response import Reply
from tests.web.apis import ApiOnFakes

ALBUM = "/v1/me/ratings/albums/1"
OTHER = "/v1/me/ratings/albums?ids=1,2&new=1"


class RelaysOnFakes:
    """Relays beside an API, which accepts their requests."""

    def __init__(self) -> None:
        self.gateway = ApiOnFakes()
        self.apple = self.gateway.apple
        self.clock = self.gateway.reads.clock
        self.relays = Relays(self.gateway.writer, self.clock)

    async def write(self, value: int | None, *more: tuple[str, str]) -> tuple[Accepted, Reply]:
        accepted = self.gateway.accepted(ALBUM + "?l=de", *more, method="PUT")
        return accepted, await self.relays.write(accepted, value)

    async def read(
        self, path: str = OTHER, *more: tuple[str, str], no_list: bool = False
    ) -> tuple[Accepted, Reply | None]:
        accepted, query = self.accepted_read(path, *more)
        return accepted, await self.relays.read(accepted, query, Requester(), no_list=no_list)

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
        assert (record.ids, record.tally.calls, record.parts) == (1, 1, (Part(Kind.ALBUMS, (Id("1"),)),))

    async def test_a_failure_becomes_the_answer_and_is_recorded_with_its_calls(self, fakes):
        fakes.apple.answer = BreakerOpen("The breaker is open.")
        accepted, reply = await fakes.write(1)
        assert (reply.status, reply.cache_status) == (503, "ratings-gateway; fwd=method")
        assert (accepted.record.error, accepted.record.tally.calls) == (fakes.apple.answer, 1)


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
    async def test_it_is_sent_as_it_came_and_not_cached(self, fakes):
        fakes.apple.answer = Relay(200, b'{"results":{}}')
        accepted, reply = await fakes.read()
        (call,) = fakes.apple.sent
        assert (call.operation, call.path, call.query) == ("bypass", "/v1/me/ratings/albums", "ids=1,2&new=1")
        assert call.many == (Kind.ALBUMS, ("1", "2"))
        assert (reply.body, reply.cache_status) == (b'{"results":{}}', "ratings-gateway; fwd=bypass")
        assert accepted.record.cache == CacheOutcome.BYPASS

    async def test_one_for_one_id_is_sent_to_its_path(self, fakes):
        await fakes.read("/v1/me/ratings/albums/1?new=1")
        (call,) = fakes.apple.sent
        assert (call.path, call.query, call.many) == (ALBUM, "new=1", None)

    async def test_only_if_cached_is_504_without_a_call(self, fakes):
        with pytest.raises(Refused) as refused:
            await fakes.read(OTHER, ("Cache-Control", "only-if-cached"))
        assert (refused.value.status, fakes.apple.sent) == (504, [])

    async def test_one_that_takes_several_calls_is_unusable(self, fakes):
        fakes.apple.size = 1
        assert (await fakes.read())[1] is None
        with pytest.raises(Unusable, match="2 ids take several calls") as failed:
            await fakes.read(no_list=True)
        assert (failed.value.cause, failed.value.stale_allowed) == (Cause.REQUEST, False)
        assert fakes.apple.sent == []

    async def test_one_of_an_id_that_was_written_recently_is_left_to_an_ordinary_read(self, fakes):
        await fakes.write(-1)
        _, reply = await fakes.read()
        assert reply is None
        assert [call.operation for call in fakes.apple.sent] == ["write"]

    async def test_calls_made_before_count_for_it(self, fakes):
        requester = Requester()
        requester.calls = 2
        accepted, query = fakes.accepted_read(OTHER)
        await fakes.relays.read(accepted, query, requester, no_list=True)
        assert accepted.record.tally.calls == 3

    async def test_later_ones_of_its_user_type_and_variant_are_relayed_at_once(self, fakes):
        same, another = (
            fakes.accepted_read(f"/v1/me/ratings/{path}")
            for path in ("albums?ids=3&new=1", "songs?ids=3&new=1")
        )
        await fakes.read()
        assert not fakes.relays.relays(*same)
        await fakes.read(no_list=True)
        assert fakes.relays.relays(*same)
        assert not fakes.relays.relays(*another)

    async def test_after_a_list_of_ratings_later_ones_are_not_relayed(self, fakes):
        same = fakes.accepted_read(OTHER)
        await fakes.read(no_list=True)
        fakes.apple.answer = Relay(200, b'{"data":[]}', lists_ratings=True)
        accepted, reply = await fakes.read()
        assert (reply, accepted.record.cache) == (None, "none")
        assert not fakes.relays.relays(*same)

    async def test_a_failure_becomes_the_answer(self, fakes):
        fakes.apple.answer = Relayed(500, b"")
        accepted, reply = await fakes.read()
        assert (reply.status, reply.cache_status) == (500, "ratings-gateway; fwd=bypass")
        assert accepted.record.error is fakes.apple.answer


NO_LIST = Unusable("not a list", received_status=200)


@pytest.mark.parametrize(
    ("errors", "no_list"),
    [
        ([], False),
        ([NO_LIST], True),
        ([NO_LIST, NO_LIST], True),
        ([NO_LIST, Relayed(500, b"")], False),
        ([Unusable("HTML", received_status=502)], False),
    ],
    ids=["none failed", "one", "all", "another failed otherwise", "Apple failed"],
)
def test_an_answer_is_no_list_if_apple_answered_200_without_ratings(errors, no_list):
    failures = tuple(Failure(Kind.ALBUMS, Id(str(number)), error) for number, error in enumerate(errors))
    assert is_no_list(Answer(b"", TierCounts(), CacheOutcome.MISS, failures=failures)) is no_list
