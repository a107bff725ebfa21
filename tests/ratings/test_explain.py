"""Explanations: where an answer would come from, for each state of the cache and each refusal."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.cache.invalidation import DropPaired
from gateway.cache.lookup import Lookup
from gateway.cache.write_rule import StoredRating
from gateway.errors import AppleError, BreakerOpen, Cause, Quarantined, UpstreamError
from gateway.fill_token import FillToken
from gateway.model import Id, Rating
from gateway.ratings.explain import Explainer
from gateway.waiters import Requester
from tests.cache.fake_shared_cache import FakeSharedCache
from tests.fetch.fake_loads import ALBUMS, USER, FakeToken
from tests.ratings.reads import FRESH_SECONDS, WRITE_SECONDS, Reads

ONE = Id("1")
STALE = FRESH_SECONDS + 10
"""Age of an entry that is served while it is refreshed."""
IF_ERROR = FRESH_SECONDS + 100
"""Age of an entry that is served only if Apple fails."""


class Explained:
    """Explains one id to the operators of a gateway with a fake Redis."""

    def __init__(self) -> None:
        self.shared = FakeSharedCache()
        self.reads = Reads(self.shared)
        self.refusal: UpstreamError | None = None
        self._explainer = Explainer(self.reads.sources, self.reads.clock, refusal=lambda *_: self.refusal)

    def store(self, rating: Rating = 1, *, age: float = 0.0) -> None:
        self.reads.store({ONE: rating})
        self.reads.clock.move(age)

    def in_redis(self, rating: Rating = 1, **more: Any) -> None:
        now = self.reads.clock.monotonic()
        entry = self.reads.cache.freshness.entry(rating, now, fresh_seconds=FRESH_SECONDS)
        self.shared.found = Lookup(shared_version=b"1", entries={ONE: entry}, **more)

    async def explain(self) -> dict[str, Any]:
        return await self._explainer.explain(USER, ALBUMS.kind, ONE)


@pytest.fixture
async def explained() -> AsyncIterator[Explained]:
    explained = Explained()
    yield explained
    await explained.reads.close()


async def test_an_id_that_is_not_cached_comes_from_apple(explained):
    answer = await explained.explain()
    assert (answer["type"], answer["id"], answer["user"]) == ("albums", "1", USER.label)
    assert (answer["source"], answer["entry"], answer["stale"], answer["local"]) == (
        "upstream",
        None,
        None,
        None,
    )
    assert "Nothing usable is cached" in answer["why"]


async def test_a_fresh_entry_in_memory_is_shown_with_its_age_and_freshness(explained):
    explained.store(-1, age=20.0)
    answer = await explained.explain()
    assert (answer["source"], "It is in this process, and fresh" in answer["why"]) == ("local", True)
    assert answer["entry"] == {
        "rating": -1,
        "age_seconds": 20.0,
        "fresh_for_seconds": FRESH_SECONDS - 20.0,
        "state": "fresh",
        "trusted": True,
    }


async def test_an_entry_in_redis_is_shown_and_not_kept_in_memory(explained):
    explained.in_redis()
    answer = await explained.explain()
    assert (answer["source"], answer["local"]) == ("shared", None)
    assert "It is in Redis, and fresh" in answer["why"]
    assert explained.reads.cache.memory.entries == 0


@pytest.mark.parametrize(("version", "mentioned"), [(None, True), (b"0", False)])
async def test_a_redis_that_did_not_answer_is_mentioned(explained, version, mentioned):
    explained.shared.found = Lookup(shared_version=version)
    assert ("Redis did not answer" in (await explained.explain())["why"]) is mentioned


async def test_a_stale_entry_is_served_while_it_is_refreshed(explained):
    explained.store(age=STALE)
    answer = await explained.explain()
    assert (answer["source"], answer["entry"]["state"]) == ("local", "revalidate")
    assert "served at once and refreshed" in answer["why"]


async def test_an_older_entry_is_served_only_if_apple_fails(explained):
    explained.store(age=IF_ERROR)
    answer = await explained.explain()
    assert (answer["source"], answer["entry"], answer["stale"]["rating"]) == ("upstream", None, 1)
    assert answer["why"] == (
        "The cached entry is too old: Apple is called, and it is served only if Apple fails."
    )


async def test_an_entry_that_a_write_on_the_paired_type_may_have_changed_is_not_called_too_old(explained):
    explained.store()
    explained.reads.cache.on_invalidation(DropPaired(USER.key, ALBUMS.kind))
    answer = await explained.explain()
    assert (answer["source"], answer["stale"]["rating"]) == ("upstream", 1)
    assert answer["why"].startswith("The cached entry is too old, or may have changed: Apple is called")


async def test_a_held_rating_is_shown_with_the_time_left(explained):
    now = explained.reads.clock.monotonic()
    explained.shared.found = Lookup(shared_version=b"1", holds={ONE: StoredRating(-1, now, now + 10.0)})
    answer = await explained.explain()
    assert (answer["source"], answer["hold"]) == ("shared", {"rating": -1, "for_seconds": 10.0})
    assert "outranks what Apple reports" in answer["why"]


async def test_a_rating_written_through_this_gateway_is_held_in_this_process(explained):
    cache = explained.reads.cache
    await cache.end_write(await cache.begin_write(USER, ALBUMS.kind, ONE, WRITE_SECONDS), -1)
    answer = await explained.explain()
    assert (answer["source"], answer["hold"]["rating"]) == ("local", -1)
    assert "outranks what Apple reports" in answer["why"]


async def test_an_id_that_was_refreshed_along_with_others_is_shown_as_such(explained):
    explained.store()
    assert not (await explained.explain())["top_up"]
    now = explained.reads.clock.monotonic()
    explained.reads.cache.store(ALBUMS, FillToken(0, now, b"1"), {ONE: 1}, ridden=True)
    assert (await explained.explain())["top_up"]


async def test_a_write_under_way_keeps_the_answer_from_being_stored(explained):
    explained.shared.found = Lookup(shared_version=b"1", pending={ONE: b"7"})
    answer = await explained.explain()
    assert (answer["source"], "Apple is asked, and nothing is stored" in answer["why"]) == ("upstream", True)


async def test_a_fetch_in_flight_is_shown(explained):
    explained.reads.fake.flights.join(
        ALBUMS,
        [ONE],
        token=FakeToken(),
        keep=False,
        requester=Requester(),
    )
    assert (await explained.explain())["in_flight"]


REFUSALS = {
    "breaker": (BreakerOpen("open"), "The circuit breaker stops calls to Apple", 503),
    "id": (
        AppleError(500, b"").attribute(Cause.ID, stale_allowed=True).as_remembered(),
        "Apple failed for this id",
        500,
    ),
    "user": (
        AppleError(500, b"").attribute(Cause.USER, stale_allowed=True).as_remembered(),
        "Apple failed for this user",
        500,
    ),
    "quarantine": (Quarantined(403, b""), "Apple refused this user token", 403),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_without_an_entry_the_answer_is_the_remembered_failure(explained, name):
    explained.refusal, why, status = REFUSALS[name]
    answer = await explained.explain()
    assert (answer["source"], answer["stale"]) == ("upstream", None)
    assert answer["why"].startswith(why)
    assert f"the answer is {status}" in answer["why"]


@pytest.mark.parametrize(
    ("name", "served"), [("breaker", True), ("id", True), ("user", True), ("quarantine", False)]
)
async def test_a_stale_entry_stands_in_for_a_remembered_failure_unless_the_user_is_refused(
    explained, name, served
):
    explained.store(age=IF_ERROR)
    explained.refusal = REFUSALS[name][0]
    answer = await explained.explain()
    assert ("the stale entry is served" in answer["why"]) is served
    assert answer["source"] == ("local" if served else "upstream")


async def test_a_refusal_does_not_matter_for_a_fresh_entry(explained):
    explained.store()
    explained.refusal = BreakerOpen("open")
    answer = await explained.explain()
    assert (answer["source"], "and fresh" in answer["why"]) == ("local", True)


async def test_a_quarantined_user_gets_no_stale_entry(explained):
    explained.store(age=STALE)
    explained.reads.quarantine.refuse(USER.key, AppleError(403, b""), explained.reads.clock.monotonic())
    answer = await explained.explain()
    assert (answer["quarantined"], answer["entry"], answer["stale"]) == (True, None, None)
    assert answer["isolated"] == ()


@pytest.mark.parametrize(("writes_only", "isolated"), [(False, ("reads", "writes")), (True, ("writes",))])
async def test_a_user_for_whom_alone_apple_fails_is_shown_with_the_calls_that_are_stopped(
    explained, writes_only, isolated
):
    now = explained.reads.clock.monotonic()
    explained.reads.quarantine.isolate(USER.key, AppleError(500, b""), now, writes_only=writes_only)
    answer = await explained.explain()
    assert (answer["quarantined"], answer["isolated"]) == (False, isolated)


async def test_users_whom_apple_answers_are_not_isolated(explained):
    assert (await explained.explain())["isolated"] == ()


async def test_nothing_is_fetched_and_no_lookup_counted(explained):
    explained.store(age=STALE)
    await explained.explain()
    assert explained.reads.fake.loads == []
    assert explained.reads.counted("local", "stale") == 0
