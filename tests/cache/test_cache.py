"""Both tiers together: what is stored where, and what writes and invalidations do to it."""

from collections.abc import AsyncIterator, Collection, Mapping
from math import inf

import pytest

from gateway.cache.cache import FILL_SECONDS, Cache
from gateway.cache.entry import Entry, Freshness, Usability
from gateway.cache.invalidation import Drop, DropPaired, Purge
from gateway.cache.lookup import Lookup, Tiers
from gateway.cache.memory import MemoryCache
from gateway.cache.write_log import WriteLog
from gateway.cache.write_rule import UNCHANGED, UNKNOWN, Outcome
from gateway.fill_token import FillToken
from gateway.model import Id, Kind, Partition, Rating, User, UserKind, Variant
from gateway.tasks import Tasks
from tests.cache.fake_shared_cache import FakeSharedCache
from tests.hand_clock import HandClock
from tests.waiting import other_tasks, until

USER = User.of("a user's token")
ALBUMS = Partition(USER, Kind.ALBUMS)
GERMAN = Partition(USER, Kind.ALBUMS, Variant("l=de"))
LIBRARY = Partition(USER, Kind.LIBRARY_ALBUMS)
ONE, TWO = Id("1"), Id("2")
FRESHNESS = Freshness(
    fresh_seconds=300.0, stale_while_revalidate_seconds=60.0, stale_if_error_seconds=1000.0, jitter=0.0
)
HOLD_SECONDS = 10.0
WRITE_SECONDS = 15.0
TRUST_SECONDS = 5.0


class CacheBench:
    """A cache over a fake shared tier, or over none."""

    def __init__(self, shared: FakeSharedCache | None, *, top_up: bool = True) -> None:
        self.clock = HandClock()
        self.tasks = Tasks(lambda name, _: pytest.fail(name))
        self.dropped: list[tuple[UserKind, Collection[Id] | None]] = []
        self.cache = Cache(
            memory=MemoryCache(
                max_entries=1000, max_bytes=1_000_000, fresh_seconds=300.0, on_evict=lambda _: None
            ),
            write_log=WriteLog(hold_seconds=HOLD_SECONDS),
            shared=shared,
            freshness=FRESHNESS,
            trusted_since=lambda _: -inf,
            on_drop=lambda *dropped: self.dropped.append(dropped),
            clock=self.clock,
            tasks=self.tasks,
            trust_seconds=TRUST_SECONDS,
            top_up=top_up,
        )

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    def token(self, partition: Partition = ALBUMS, shared: Lookup | None = None) -> FillToken:
        """The token of a fetch that begins now."""
        memory = self.cache.recall(partition, self.now)
        return self.cache.fill_token(partition, [ONE, TWO], Tiers(memory, shared), self.now)

    def store(
        self, ratings: Mapping[Id, Rating], partition: Partition = ALBUMS, *, ridden: bool = False
    ) -> None:
        """Store a fetch that took no time."""
        self.cache.store(
            partition, self.token(partition, Lookup(shared_version=b"1")), ratings, ridden=ridden
        )

    async def write(self, outcome: Outcome, id_: Id = ONE, kind: Kind = Kind.ALBUMS) -> bool:
        return await self.cache.end_write(
            await self.cache.begin_write(USER, kind, id_, WRITE_SECONDS), outcome
        )

    def entries(self, partition: Partition = ALBUMS) -> dict[Id, Entry]:
        return dict(self.cache.recall(partition, self.now).entries)

    def ratings(self, partition: Partition = ALBUMS) -> dict[Id, Rating]:
        return {id_: entry.rating for id_, entry in self.entries(partition).items()}

    def held(self) -> dict[Id, Rating]:
        holds = self.cache.recall(ALBUMS, self.now).holds
        return {id_: hold.rating for id_, hold in holds.items()}

    def usability(self, partition: Partition = ALBUMS) -> Usability:
        return FRESHNESS.usability(self.entries(partition)[ONE], self.now, -inf)

    def refused(self) -> int:
        return self.cache.fills_refused((USER.key, Kind.ALBUMS), 0.0)


@pytest.fixture
def shared() -> FakeSharedCache:
    return FakeSharedCache()


@pytest.fixture
async def tiers(shared: FakeSharedCache) -> AsyncIterator[CacheBench]:
    tiers = CacheBench(shared)
    yield tiers
    await tiers.tasks.cancel()


@pytest.fixture
async def alone() -> AsyncIterator[CacheBench]:
    """A cache without a shared tier."""
    alone = CacheBench(None)
    yield alone
    await alone.tasks.cancel()


class TestLookUpShared:
    @pytest.mark.parametrize(("keep", "kept"), [(True, {ONE: 1}), (False, {})])
    async def test_entries_of_redis_are_kept_in_memory_if_asked(self, tiers, shared, keep, kept):
        shared.found = Lookup(
            shared_version=b"1", entries={ONE: FRESHNESS.entry(1, tiers.now, fresh_seconds=300.0)}
        )
        memory = tiers.cache.recall(ALBUMS, tiers.now)
        found = await tiers.cache.look_up_shared(ALBUMS, [ONE], memory, tiers.now, keep=keep)
        assert found is shared.found
        assert tiers.ratings() == kept

    async def test_it_is_not_kept_if_a_write_began_meanwhile(self, tiers, shared):
        shared.found = Lookup(
            shared_version=b"1", entries={ONE: FRESHNESS.entry(1, tiers.now, fresh_seconds=300.0)}
        )
        memory = tiers.cache.recall(ALBUMS, tiers.now)
        await tiers.cache.begin_write(USER, Kind.ALBUMS, TWO, WRITE_SECONDS)
        await tiers.cache.look_up_shared(ALBUMS, [ONE], memory, tiers.now, keep=True)
        assert tiers.ratings() == {}

    async def test_it_does_not_replace_a_rating_that_is_held_here(self, tiers, shared):
        await tiers.write(-1)
        older = FRESHNESS.entry(1, tiers.now, fresh_seconds=300.0)
        shared.found = Lookup(shared_version=b"1", entries={ONE: older, TWO: older})
        memory = tiers.cache.recall(ALBUMS, tiers.now)
        await tiers.cache.look_up_shared(ALBUMS, [ONE, TWO], memory, tiers.now, keep=True)
        assert tiers.ratings() == {ONE: -1, TWO: 1}


class TestStore:
    async def test_a_fetch_is_stored_in_both_tiers(self, tiers, shared):
        tiers.store({ONE: 1, TWO: None})
        await until(lambda: not other_tasks())
        assert tiers.ratings() == {ONE: 1, TWO: None}
        assert shared.filled == [(b"1", {ONE: 1, TWO: None})]

    async def test_ids_with_the_same_rating_share_an_entry(self, alone):
        alone.store({ONE: 1, TWO: 1})
        entries = alone.entries()
        assert entries[ONE] is entries[TWO]

    async def test_a_fetch_from_before_a_write_is_refused_and_counted(self, tiers, shared):
        token = tiers.token(shared=Lookup(shared_version=b"1"))
        await tiers.cache.begin_write(USER, Kind.ALBUMS, TWO, WRITE_SECONDS)
        tiers.cache.store(ALBUMS, token, {ONE: 1})
        await until(lambda: not other_tasks())
        assert (tiers.ratings(), shared.filled, tiers.refused()) == ({}, [], 1)

    async def test_ids_that_are_being_written_are_not_stored(self, tiers, shared):
        token = tiers.token(shared=Lookup(shared_version=b"1", pending={ONE: b"7"}))
        tiers.cache.store(ALBUMS, token, {ONE: 1, TWO: 1})
        await until(lambda: not other_tasks())
        assert tiers.ratings() == {TWO: 1}
        assert shared.filled == [(b"1", {TWO: 1})]

    async def test_a_fetch_that_redis_did_not_see_is_fresh_for_the_trust_time_only(self, tiers, shared):
        tiers.cache.store(ALBUMS, tiers.token(), {ONE: 1})
        await until(lambda: not other_tasks())
        assert shared.filled == []
        assert tiers.usability() is Usability.FRESH
        tiers.clock.move(TRUST_SECONDS)
        assert tiers.usability() is Usability.IF_ERROR

    async def test_without_a_shared_tier_it_is_fresh_for_its_whole_time(self, alone):
        assert not alone.cache.has_shared
        alone.cache.store(ALBUMS, alone.token(), {ONE: 1})
        alone.clock.move(299.0)
        assert alone.usability() is Usability.FRESH

    @pytest.mark.parametrize(("seconds", "sent"), [(FILL_SECONDS, False), (FILL_SECONDS + 0.1, True)])
    async def test_a_fetch_that_may_be_served_for_a_moment_only_is_not_sent_to_redis(
        self, tiers, shared, seconds, sent
    ):
        token = tiers.token(shared=Lookup(shared_version=b"1", cap_until=tiers.now + seconds))
        tiers.cache.store(ALBUMS, token, {ONE: 1})
        await until(lambda: not other_tasks())
        assert (bool(shared.filled), tiers.ratings()) == (sent, {ONE: 1})

    async def test_a_fill_that_redis_refuses_is_dropped_from_memory(self, tiers, shared):
        shared.stores = False
        tiers.store({ONE: 1})
        await until(lambda: not other_tasks())
        assert (tiers.ratings(), tiers.refused()) == ({}, 1)

    async def test_a_newer_entry_is_not_dropped_with_a_fetch_that_redis_refused(self, tiers, shared):
        shared.stores = False
        newer = FRESHNESS.entry(-1, tiers.now, fresh_seconds=300.0)
        shared.before_fill = lambda: tiers.cache.memory.put(ALBUMS, {ONE: newer}, tiers.now)
        tiers.store({ONE: 1, TWO: 1})
        await until(lambda: not other_tasks())
        assert tiers.ratings() == {ONE: -1}


def due_beside_one(tiers: CacheBench) -> list[Id]:
    memory = tiers.cache.recall(ALBUMS, tiers.now)
    return list(tiers.cache.top_up.due(ALBUMS, memory, [ONE], tiers.now))


class TestTopUp:
    async def test_ids_near_the_end_of_their_freshness_are_due_beside_those_asked_for(self, alone):
        alone.store({ONE: 1, TWO: 1})
        assert due_beside_one(alone) == []
        alone.clock.move(290.0)
        assert due_beside_one(alone) == [TWO]

    async def test_nothing_is_due_if_it_is_turned_off(self):
        off = CacheBench(None, top_up=False)
        off.store({ONE: 1, TWO: 1})
        off.clock.move(290.0)
        assert due_beside_one(off) == []

    async def test_ids_that_another_gateway_has_refreshed_are_not_due(self, tiers):
        refreshed = FRESHNESS.entry(1, tiers.now, fresh_seconds=300.0)
        shared = Lookup(shared_version=b"1", entries={ONE: refreshed})
        assert tiers.cache.top_up.still_due(ALBUMS, [ONE, TWO], shared, tiers.now) == [TWO]

    async def test_ids_refreshed_along_are_marked_until_they_are_requested(self, alone):
        alone.store({ONE: 1}, ridden=True)
        assert ONE in alone.cache.recall(ALBUMS, alone.now).rides
        alone.store({ONE: 1})
        assert ONE not in alone.cache.recall(ALBUMS, alone.now).rides

    async def test_ids_of_a_call_that_failed_are_not_due_again(self, alone):
        alone.store({ONE: 1, TWO: 1})
        alone.clock.move(290.0)
        alone.cache.top_up.failed(ALBUMS, [TWO])
        assert due_beside_one(alone) == []


class TestWrite:
    async def test_its_begin_drops_the_id_in_every_variant_and_makes_the_paired_type_ask_apple(self, tiers):
        for partition in (ALBUMS, GERMAN, LIBRARY):
            tiers.store({ONE: 1, TWO: 1}, partition)
        await tiers.cache.begin_write(USER, Kind.ALBUMS, ONE, WRITE_SECONDS)
        assert (tiers.ratings(ALBUMS), tiers.ratings(GERMAN)) == ({TWO: 1}, {TWO: 1})
        assert tiers.usability(LIBRARY) is Usability.IF_ERROR
        assert tiers.cache.write_pending((USER.key, Kind.ALBUMS), ONE, tiers.now)

    async def test_fetches_of_the_id_and_of_the_paired_type_are_detached(self, tiers):
        await tiers.cache.begin_write(USER, Kind.ALBUMS, ONE, WRITE_SECONDS)
        assert tiers.dropped == [
            (ALBUMS.user_kind, [ONE]),
            (LIBRARY.user_kind, None),
        ]

    async def test_a_confirmed_write_is_held_and_served(self, tiers, shared):
        assert await tiers.write(-1) is True
        assert (tiers.held(), tiers.ratings()) == ({ONE: -1}, {ONE: -1})
        assert shared.ended == [(ONE, b"1", -1)]
        tiers.clock.move(HOLD_SECONDS)
        assert (tiers.held(), tiers.usability()) == ({}, Usability.FRESH)

    async def test_a_write_of_unknown_outcome_leaves_nothing_to_serve(self, tiers):
        tiers.store({ONE: 1})
        assert await tiers.write(UNKNOWN) is False
        assert (tiers.held(), tiers.ratings()) == ({}, {})
        assert tiers.cache.write_pending((USER.key, Kind.ALBUMS), ONE, tiers.now)

    async def test_after_a_write_of_unknown_outcome_one_that_changed_nothing_leaves_it_unknown(self, tiers):
        await tiers.write(UNKNOWN)
        await tiers.write(UNCHANGED)
        assert tiers.cache.write_pending((USER.key, Kind.ALBUMS), ONE, tiers.now)
        tiers.clock.move(HOLD_SECONDS)
        assert not tiers.cache.write_pending((USER.key, Kind.ALBUMS), ONE, tiers.now)

    async def test_a_write_that_changed_nothing_leaves_the_hold_of_the_one_before(self, tiers):
        await tiers.write(-1)
        assert await tiers.write(UNCHANGED) is False
        assert tiers.held() == {ONE: -1}

    async def test_nothing_is_left_of_a_hold_that_was_purged_before_a_write_that_changed_nothing(self, tiers):
        await tiers.write(-1)
        write = await tiers.cache.begin_write(USER, Kind.ALBUMS, ONE, WRITE_SECONDS)
        await tiers.cache.purge(USER.key, Kind.ALBUMS, [ONE])
        await tiers.cache.end_write(write, UNCHANGED)
        tiers.clock.move(HOLD_SECONDS)
        assert (tiers.held(), tiers.ratings()) == ({}, {})

    async def test_a_write_is_not_held_if_redis_has_another(self, tiers, shared):
        shared.alone = False
        assert await tiers.write(-1) is False
        assert (tiers.held(), tiers.ratings()) == ({}, {})

    async def test_it_is_held_if_redis_missed_its_begin(self, tiers, shared):
        shared.stamp, shared.alone = None, False
        assert await tiers.write(-1) is True
        assert tiers.held() == {ONE: -1}

    @pytest.mark.parametrize(
        ("outcome", "usability"), [(-1, Usability.IF_ERROR), (UNCHANGED, Usability.FRESH)]
    )
    async def test_its_end_makes_the_paired_type_ask_apple_again_unless_nothing_changed(
        self, tiers, outcome, usability
    ):
        write = await tiers.cache.begin_write(USER, Kind.ALBUMS, ONE, WRITE_SECONDS)
        tiers.store({ONE: 1}, LIBRARY)
        await tiers.cache.end_write(write, outcome)
        assert tiers.usability(LIBRARY) is usability

    async def test_a_type_without_a_pair_is_written_alone(self, tiers):
        await tiers.cache.begin_write(USER, Kind.STATIONS, Id("ra.1"), WRITE_SECONDS)
        assert tiers.dropped == [((USER.key, Kind.STATIONS), ["ra.1"])]

    async def test_a_write_on_the_paired_type_ends_the_freshness_with_the_hold(self, tiers):
        await tiers.write(1, Id("l.1"), Kind.LIBRARY_ALBUMS)
        await tiers.write(-1)
        tiers.clock.move(HOLD_SECONDS)
        assert tiers.usability() is Usability.IF_ERROR

    async def test_it_disturbs_fetches_of_its_type_and_the_paired_one(self, tiers):
        tokens = {partition: tiers.token(partition) for partition in (ALBUMS, GERMAN, LIBRARY)}
        songs = Partition(USER, Kind.SONGS)
        other = tiers.token(songs)
        await tiers.cache.begin_write(USER, Kind.ALBUMS, ONE, WRITE_SECONDS)
        assert not any(tiers.cache.undisturbed(partition, token) for partition, token in tokens.items())
        assert tiers.cache.undisturbed(songs, other)


class TestPurge:
    async def test_it_reaches_both_tiers(self, tiers, shared):
        tiers.store({ONE: 1, TWO: 1})
        tiers.store({ONE: 1}, LIBRARY)
        assert await tiers.cache.purge(USER.key, None, None) is True
        assert (tiers.ratings(), tiers.ratings(LIBRARY)) == ({}, {})
        assert shared.purged == [(USER.key, None, None)]
        assert tiers.dropped[: len(Kind)] == [((USER.key, kind), None) for kind in Kind]

    async def test_of_some_ids_it_leaves_the_others(self, tiers):
        tiers.store({ONE: 1, TWO: 1})
        await tiers.cache.purge(USER.key, Kind.ALBUMS, [ONE])
        assert tiers.ratings() == {TWO: 1}

    async def test_it_voids_fetches_that_began_before(self, tiers):
        token = tiers.token(shared=Lookup(shared_version=b"1"))
        await tiers.cache.purge(USER.key, Kind.ALBUMS, [TWO])
        tiers.cache.store(ALBUMS, token, {ONE: 1})
        assert tiers.ratings() == {}

    async def test_it_leaves_holds(self, tiers):
        await tiers.write(-1)
        await tiers.cache.purge(USER.key, None, None)
        assert tiers.held() == {ONE: -1}

    async def test_it_drops_what_a_lookup_kept_that_redis_answered_before_it(self, tiers, shared):
        async def look_up() -> None:
            memory = tiers.cache.recall(ALBUMS, tiers.now)
            await tiers.cache.look_up_shared(ALBUMS, [ONE], memory, tiers.now, keep=True)

        shared.found = Lookup(
            shared_version=b"1", entries={ONE: FRESHNESS.entry(1, tiers.now, fresh_seconds=300.0)}
        )
        shared.before_purge = look_up
        await tiers.cache.purge(USER.key, Kind.ALBUMS, [ONE])
        assert tiers.ratings() == {}

    async def test_a_purge_reports_whether_redis_receives_it_later(self, tiers, shared):
        shared.delivers = False
        assert await tiers.cache.purge(USER.key, None, None) is False


class TestOnInvalidation:
    async def test_a_write_elsewhere_drops_the_ids_and_ends_their_holds(self, tiers):
        await tiers.write(-1)
        tiers.store({TWO: 1})
        token = tiers.token(shared=Lookup(shared_version=b"1"))
        tiers.cache.on_invalidation(Drop(USER.key, Kind.ALBUMS, (ONE,)))
        assert (tiers.held(), tiers.ratings()) == ({}, {TWO: 1})
        assert not tiers.cache.undisturbed(ALBUMS, token)
        assert (ALBUMS.user_kind, (ONE,)) in tiers.dropped

    async def test_a_write_on_the_paired_type_elsewhere_makes_entries_ask_apple(self, tiers):
        tiers.store({ONE: 1})
        token = tiers.token()
        tiers.cache.on_invalidation(DropPaired(USER.key, Kind.ALBUMS))
        assert tiers.usability() is Usability.IF_ERROR
        assert not tiers.cache.undisturbed(ALBUMS, token)

    async def test_a_purge_elsewhere_drops_the_ids(self, tiers):
        tiers.store({ONE: 1, TWO: 1})
        tiers.cache.on_invalidation(Purge(USER.key, Kind.ALBUMS, (ONE,)))
        assert tiers.ratings() == {TWO: 1}
