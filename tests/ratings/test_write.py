"""Writes: the call that is sent, the outcome that the cache records, and how long callers wait."""

import asyncio

import pytest

from gateway.apple.client import AppleSuccess, Outbound
from gateway.errors import (
    AppleError,
    BreakerOpen,
    DeadlineExceeded,
    NoCapacity,
    Quarantined,
    Unreachable,
    Unusable,
    UpstreamError,
)
from gateway.model import Id, Kind, Partition, Rating, User, plain_resource
from gateway.ratings.write import FAVORITES_AT_ONCE, Writer
from gateway.waiters import Requester
from tests.fetch.fake_loads import USER, quiet
from tests.ratings.fake_apple import FakeApple
from tests.ratings.reads import Reads

ALBUMS = Kind.ALBUMS
ONE = Id("1")
DEADLINE = 1010.0
"""Ten seconds from when the clock of a test begins."""
LIKED = b'{"data":[%b]}' % plain_resource(ALBUMS, ONE, 1)


def not_reached() -> UpstreamError:
    return Unreachable("refused", proxy_error="connection_refused", sent=False)


def maybe_done(error: UpstreamError) -> UpstreamError:
    """The failure as of a write whose earlier try was sent and left unanswered."""
    error.maybe_done = True
    return error


class Writes:
    """A writer over a cache without Redis."""

    def __init__(self) -> None:
        self.reads = Reads()
        self.apple = FakeApple()
        self.written: list[tuple[User, Kind, Id, Rating]] = []
        self.writer = Writer(
            cache=self.reads.cache,
            apple=self.apple.client,
            tasks=self.reads.fake.tasks,
            clock=self.reads.clock,
            call_timeout_seconds=3.0,
            on_written=lambda *rating: self.written.append(rating),
        )
        self.requester = Requester()

    async def rate(self, value: int | None, *, deadline: float = DEADLINE) -> AppleSuccess | UpstreamError:
        return await self.writer.write(USER, ALBUMS, ONE, value, "", deadline, self.requester)

    async def add_favorites(self, *ids: tuple[Kind, Id]) -> AppleSuccess | UpstreamError:
        return await self.writer.favorites(USER, "POST", ids, "ids[albums]=1", DEADLINE, self.requester)

    def held(self) -> dict[Id, Rating]:
        recalled = self.reads.cache.recall(Partition(USER, ALBUMS), self.reads.clock.monotonic())
        return {id_: hold.rating for id_, hold in recalled.holds.items()}

    def state(self) -> str:
        """The id's cached rating."""
        if held := self.held():
            return f"held as {held[ONE]!r}"
        if self.reads.cache.write_pending((USER.key, ALBUMS), ONE, self.reads.clock.monotonic()):
            return "unknown"
        return "unchanged"


@pytest.fixture
async def writes():
    writes = Writes()
    yield writes
    await writes.reads.close()


class TestSent:
    async def test_a_rating_is_put_with_its_value_query_and_conditions(self, writes):
        await writes.writer.write(
            USER, ALBUMS, ONE, -1, "l=de", DEADLINE, writes.requester, {"If-Match": "*"}
        )
        assert writes.apple.sent == [
            Outbound(
                operation="write",
                method="PUT",
                path="/v1/me/ratings/albums/1",
                query="l=de",
                user=USER,
                body=b'{"type":"rating","attributes":{"value":-1}}',
                headers={"If-Match": "*"},
            )
        ]

    async def test_a_removal_is_a_delete_without_a_body(self, writes):
        await writes.rate(None)
        (call,) = writes.apple.sent
        assert (call.operation, call.method, call.path, call.body) == (
            "delete",
            "DELETE",
            "/v1/me/ratings/albums/1",
            None,
        )

    async def test_the_call_counts_for_its_requester(self, writes):
        await writes.rate(1)
        assert writes.requester.calls == 1


class TestOutcome:
    @pytest.mark.parametrize(
        ("value", "answer", "state"),
        [
            (1, AppleSuccess(200, LIKED), "held as 1"),
            (1, AppleSuccess(200, b""), "held as 1"),
            (-1, AppleSuccess(200, LIKED), "unknown"),
            (None, AppleSuccess(204, b""), "held as None"),
            (None, AppleError(404, b"{}", code="40400"), "held as None"),
            (1, AppleError(404, b"{}", code="40400"), "unchanged"),
            (None, AppleError(404, b"", code="40402"), "unknown"),
            (1, AppleError(400, b"{}"), "unchanged"),
            (1, AppleError(500, b"{}"), "unknown"),
            (1, AppleError(500, b"{}").as_remembered(), "unchanged"),
            (1, not_reached(), "unchanged"),
            (1, Unreachable("reset", proxy_error="connection_terminated", sent=True), "unknown"),
            (1, Unusable("HTML", received_status=200), "unknown"),
            (1, BreakerOpen("open"), "unchanged"),
            (1, NoCapacity("full"), "unchanged"),
            (1, DeadlineExceeded("late"), "unknown"),
        ],
        ids=[
            "Apple returns the resource",
            "Apple returns nothing",
            "Apple returns another value",
            "removed",
            "nothing to remove",
            "no such resource",
            "a 404 that does not say unrated",
            "refused",
            "failed",
            "not sent, as an earlier failure is remembered",
            "not reached",
            "connection lost",
            "not Apple's API",
            "breaker open",
            "no capacity",
            "deadline",
        ],
    )
    async def test_the_cache_holds_the_rating_only_if_apple_confirmed_it(self, writes, value, answer, state):
        writes.apple.answer = answer
        assert await writes.rate(value) is answer
        assert writes.state() == state

    @pytest.mark.parametrize("value", [1, None], ids=["PUT", "DELETE"])
    @pytest.mark.parametrize(
        "answer",
        [
            AppleError(400, b"{}"),
            AppleError(404, b"{}", code="40400"),
            AppleError(500, b"{}").as_remembered(),
            not_reached(),
            BreakerOpen("open"),
            NoCapacity("full"),
        ],
        ids=["refused", "not found", "remembered", "not reached", "breaker open", "no capacity"],
    )
    async def test_the_rating_is_unknown_if_an_earlier_try_may_have_been_carried_out(
        self, writes, answer, value
    ):
        writes.apple.answer = maybe_done(answer)
        assert await writes.rate(value) is answer
        assert writes.state() == "unknown"

    async def test_a_rating_that_is_held_is_reported(self, writes):
        await writes.rate(-1)
        assert writes.written == [(USER, ALBUMS, ONE, -1)]

    @pytest.mark.parametrize(
        "answer", [AppleError(400, b"{}"), AppleError(500, b"{}")], ids=["refused", "failed"]
    )
    async def test_a_write_that_failed_is_not_reported(self, writes, answer):
        writes.apple.answer = answer
        assert await writes.rate(-1) is answer
        assert writes.written == []

    async def test_writes_that_overlap_are_neither_held_nor_reported(self, writes):
        writes.apple.released.clear()
        both = [asyncio.ensure_future(writes.rate(value)) for value in (1, -1)]
        await writes.apple.received.wait()
        await quiet()
        writes.apple.released.set()
        await asyncio.gather(*both)
        assert (writes.state(), writes.written) == ("unknown", [])

    async def test_an_accepted_write_of_which_apple_returns_another_value_ends_the_hold_before(self, writes):
        writes.apple.answer = AppleSuccess(200, LIKED)
        await writes.rate(1)
        await writes.rate(-1)
        assert writes.state() == "unknown"

    async def test_a_write_that_is_cancelled_by_the_shutdown_is_unknown(self, writes):
        writes.apple.released.clear()
        writing = asyncio.ensure_future(writes.rate(1))
        await writes.apple.received.wait()
        await writes.reads.fake.tasks.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert writes.state() == "unknown"


class TestWaiting:
    async def test_during_a_write_the_old_rating_is_not_served(self, writes):
        writes.reads.store({ONE: 1})
        writes.apple.released.clear()
        writing = asyncio.ensure_future(writes.rate(-1))
        await writes.apple.received.wait()
        recalled = writes.reads.cache.recall(Partition(USER, ALBUMS), writes.reads.clock.monotonic())
        assert (dict(recalled.entries), writes.state()) == ({}, "unknown")
        writes.apple.released.set()
        await writing

    async def test_a_write_goes_on_after_its_deadline(self, writes):
        writes.apple.released.clear()
        answer = await writes.rate(-1, deadline=writes.reads.clock.monotonic())
        assert isinstance(answer, DeadlineExceeded)
        writes.apple.released.set()
        await quiet()
        assert writes.state() == "held as -1"

    async def test_a_write_goes_on_after_its_caller_has_left(self, writes):
        writes.apple.released.clear()
        writing = asyncio.ensure_future(writes.rate(-1))
        await writes.apple.received.wait()
        writing.cancel()
        writes.apple.released.set()
        await quiet()
        assert (writing.cancelled(), writes.state()) == (True, "held as -1")


class TestRefused:
    """Writes that are refused here: by the breaker, or because Apple refuses the user."""

    @pytest.fixture(params=[BreakerOpen("open"), Quarantined(403, b"{}")], ids=["breaker", "quarantine"])
    def refused(self, request, writes):
        writes.reads.store({ONE: 1})
        writes.reads.store({Id("l.1"): 1}, kind=Kind.LIBRARY_ALBUMS)
        writes.apple.refusal = request.param
        return request.param

    @staticmethod
    def fresh(writes, kind):
        now = writes.reads.clock.monotonic()
        recalled = writes.reads.cache.recall(Partition(USER, kind), now)
        return [id_ for id_, entry in recalled.entries.items() if entry.fresh_until > now]

    @pytest.mark.parametrize("value", [-1, None], ids=["PUT", "DELETE"])
    async def test_a_write_that_is_not_sent_leaves_the_cached_ratings(self, writes, refused, value):
        assert await writes.rate(value) is refused
        assert writes.apple.sent == []
        assert [self.fresh(writes, kind) for kind in (ALBUMS, Kind.LIBRARY_ALBUMS)] == [[ONE], ["l.1"]]

    async def test_favorites_that_are_not_sent_leave_the_cached_ratings(self, writes, refused):
        assert await writes.add_favorites((ALBUMS, ONE), (ALBUMS, Id("2"))) is refused
        assert writes.apple.sent == []
        assert [self.fresh(writes, kind) for kind in (ALBUMS, Kind.LIBRARY_ALBUMS)] == [[ONE], ["l.1"]]

    async def test_the_refusal_is_asked_for_once(self, writes, refused):
        assert await writes.rate(-1) is refused
        assert writes.apple.checks == [USER]


class TestFavorites:
    async def test_they_are_sent_as_they_came(self, writes):
        await writes.add_favorites((ALBUMS, ONE))
        (call,) = writes.apple.sent
        assert (call.operation, call.method, call.path, call.query, call.body) == (
            "favorites",
            "POST",
            "/v1/me/favorites",
            "ids[albums]=1",
            None,
        )

    @pytest.mark.parametrize(
        ("answer", "state"),
        [
            (AppleSuccess(202, b""), "unknown"),
            (AppleError(500, b"{}"), "unknown"),
            (AppleError(400, b"{}"), "unchanged"),
            (BreakerOpen("open"), "unchanged"),
            (maybe_done(AppleError(400, b"{}")), "unknown"),
            (maybe_done(not_reached()), "unknown"),
        ],
        ids=["accepted", "failed", "refused", "not sent", "repeat refused", "repeat not sent"],
    )
    async def test_the_ratings_of_the_ids_are_unknown_unless_apple_did_nothing(self, writes, answer, state):
        writes.apple.answer = answer
        assert await writes.add_favorites((ALBUMS, ONE)) is answer
        assert (writes.state(), writes.written) == (state, [])

    @pytest.mark.parametrize(
        ("answer", "state"),
        [
            (AppleSuccess(202, b""), "unknown"),
            (AppleError(500, b"{}"), "held as 1"),
            (AppleError(400, b"{}"), "held as 1"),
        ],
        ids=["accepted", "failed", "refused"],
    )
    async def test_only_if_they_are_accepted_they_end_the_hold_of_a_write(self, writes, answer, state):
        writes.apple.answer = AppleSuccess(200, LIKED)
        await writes.rate(1)
        writes.apple.answer = answer
        await writes.add_favorites((ALBUMS, ONE))
        assert writes.state() == state

    async def test_more_ids_than_are_invalidated_at_once_are_all_invalidated(self, writes):
        ids = [(ALBUMS, Id(str(number))) for number in range(2 * FAVORITES_AT_ONCE + 1)]
        await writes.add_favorites(*ids)
        now = writes.reads.clock.monotonic()
        assert all(writes.reads.cache.write_pending((USER.key, kind), id_, now) for kind, id_ in ids)
