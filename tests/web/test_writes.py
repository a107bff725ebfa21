"""Writes, favorites and relayed reads: what Apple receives, what the caller gets, and what is recorded."""

from collections.abc import AsyncIterator

import pytest

from gateway.apple.client import AppleSuccess
from gateway.errors import AppleError, BreakerOpen
from gateway.model import Id, Kind
from gateway.ratings.query import CacheOutcome, Part
from gateway.ratings.relay import Unrated
from gateway.waiters import Requester
from gateway.web.accepted import AcceptedOther
from gateway.web.response import Reply
from gateway.web.target import WriteTarget
from gateway.web.writes import WriteRequests, bypassed
from tests.web.apis import ApiOnFakes

ALBUM = "/v1/me/ratings/albums/1"
OTHER = "/v1/me/ratings/albums?ids=1,2&new=1"


class WritesOnFakes:
    """Write requests beside an API, which accepts them."""

    def __init__(self) -> None:
        self.gateway = ApiOnFakes()
        self.apple = self.gateway.apple
        self.writes = WriteRequests(self.gateway.writer)

    async def write(self, value: int | None, *more: tuple[str, str]) -> tuple[AcceptedOther, Reply]:
        accepted = self.gateway.accepted(ALBUM + "?l=de", *more, method="PUT")
        assert isinstance(accepted, AcceptedOther)
        assert isinstance(accepted.target, WriteTarget)
        return accepted, await self.writes.write(accepted, accepted.target, value)


@pytest.fixture
async def fakes() -> AsyncIterator[WritesOnFakes]:
    fakes = WritesOnFakes()
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
        fakes.apple.answer = AppleSuccess(200, b'{"data":[]}')
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
    reply = await fakes.writes.favorites(accepted, accepted.target, "POST")
    (call,) = fakes.apple.sent
    assert (reply.status, call.operation, call.query) == (
        200,
        "favorites",
        "ids[albums]=1,2&ids[songs]=3",
    )
    assert accepted.record.ids == 3


class TestBypassed:
    """Reads that were relayed."""

    async def test_apples_answer_is_passed_on_and_recorded_as_a_bypass_with_its_calls(self, fakes):
        record, requester = fakes.gateway.accepted(OTHER).record, Requester()
        requester.calls = 2
        reply = bypassed(record, requester, AppleSuccess(200, b'{"results":{}}'))
        assert (reply.status, reply.body, reply.cache_status) == (
            200,
            b'{"results":{}}',
            "ratings-gateway; fwd=bypass",
        )
        assert (record.cache, record.counts.calls, record.error) == (CacheOutcome.BYPASS, 2, None)

    async def test_that_nothing_is_rated_is_an_answer_and_no_failure(self, fakes):
        record = fakes.gateway.accepted(OTHER).record
        reply = bypassed(record, Requester(), Unrated(b'{"errors":[{"code":"40400"}]}'))
        assert (reply.status, reply.body) == (404, b'{"errors":[{"code":"40400"}]}')
        assert "Proxy-Status" not in reply.head
        assert "Cache-Control: no-store" in reply.head
        assert (record.cache, record.error) == (CacheOutcome.BYPASS, None)

    async def test_a_failure_becomes_the_answer_and_is_recorded(self, fakes):
        record, failure = fakes.gateway.accepted(OTHER).record, AppleError(500, b"")
        reply = bypassed(record, Requester(), failure)
        assert (reply.status, reply.cache_status) == (500, "ratings-gateway; fwd=bypass")
        assert (record.cache, record.error) == (CacheOutcome.BYPASS, failure)
