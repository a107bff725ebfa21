from math import inf

import pytest

from gateway.cache.lookup import Lookup, Tiers, fill_token, held_entries, local_holds, undisputed
from gateway.cache.write_rule import StoredRating
from gateway.model import Id

ONE, TWO, THREE = Id("1"), Id("2"), Id("3")
HOLDS = {ONE: StoredRating(-1, 100.0, 110.0)}
NOW = 105.0


class TestUndisputed:
    @pytest.mark.parametrize(
        ("shared", "stands"),
        [
            (Lookup(), True),
            (Lookup(shared_version=b"1"), True),
            (Lookup(shared_version=b"1", holds={ONE: StoredRating(1, 101.0, 111.0)}), False),
            (Lookup(shared_version=b"1", pending={ONE: b"7"}), False),
            (Lookup(shared_version=b"1", pending={ONE: b"7"}, own_replays=frozenset([ONE])), True),
            (Lookup(shared_version=b"1", pending={TWO: b"7"}), True),
        ],
        ids=[
            "Redis did not answer",
            "no write in Redis",
            "written again",
            "being written again",
            "written here, and delivered late",
            "another id is being written",
        ],
    )
    def test_a_hold_stands_unless_redis_has_a_later_write(self, shared, stands):
        assert undisputed(HOLDS, shared) == (HOLDS if stands else {})


class TestLocalHolds:
    def test_without_redis_only_trusted_holds_stand(self):
        assert local_holds(Lookup(holds=HOLDS, trusted_since=100.0), None) == HOLDS
        assert local_holds(Lookup(holds=HOLDS, trusted_since=100.1), None) == {}

    def test_an_untrusted_hold_stands_if_redis_does_not_dispute_it(self):
        memory = Lookup(holds=HOLDS, trusted_since=inf)
        assert local_holds(memory, Lookup(shared_version=b"1")) == HOLDS
        assert local_holds(memory, Lookup(shared_version=b"1", pending={ONE: b"7"})) == {}

    def test_a_trusted_hold_stands_although_redis_has_a_write(self):
        memory = Lookup(holds=HOLDS, trusted_since=100.0)
        assert local_holds(memory, Lookup(shared_version=b"1", pending={ONE: b"7"})) == HOLDS


class TestHeldEntries:
    def test_a_held_rating_is_fresh_until_its_hold_ends(self):
        entry = held_entries(HOLDS)[ONE]
        assert (entry.rating, entry.fetched_at, entry.trusted_at, entry.fresh_until) == (
            -1,
            100.0,
            100.0,
            110.0,
        )


class TestTiers:
    def test_holds_of_any_gateway_stand_and_the_one_in_redis_is_later(self):
        memory = Lookup(holds=HOLDS, trusted_since=100.0)
        elsewhere = {ONE: StoredRating(1, 101.0, 111.0), TWO: StoredRating(1, 101.0, 111.0)}
        assert Tiers(memory, None).holds == HOLDS
        assert Tiers(memory, Lookup(shared_version=b"1")).holds == HOLDS
        assert Tiers(memory, Lookup(shared_version=b"1", holds=elsewhere)).holds == elsewhere


class TestFillToken:
    def test_without_redis_the_token_rests_on_memory_alone(self):
        memory = Lookup(version=3, holds={TWO: StoredRating(1, 100.0, 110.0)})
        token = fill_token(Tiers(memory, None), {ONE: 7}, [ONE, TWO, THREE], NOW)
        assert (token.version, token.taken_at, token.shared_version) == (3, NOW, None)
        assert token.pending == {ONE: 7}
        assert token.unsettled == {ONE, TWO}

    def test_with_redis_it_carries_the_version_the_cap_and_the_pending_writes_of_both(self):
        shared = Lookup(shared_version=b"v", pending={THREE: b"9"}, cap_until=120.0)
        token = fill_token(Tiers(Lookup(version=3), shared), {ONE: 7}, [ONE, THREE], NOW)
        assert (token.version, token.shared_version, token.cap_until) == (3, b"v", 120.0)
        assert token.pending == {ONE: 7, THREE: b"9"}
        assert token.unsettled == {ONE, THREE}

    def test_a_write_on_the_paired_type_changes_the_stamps_of_all_ids_and_lets_them_be_stored(self):
        before, after = (
            fill_token(
                Tiers(Lookup(version=3), Lookup(shared_version=b"v", paired_stamp=stamp)), {}, [ONE, TWO], NOW
            )
            for stamp in (b"1", b"2")
        )
        assert all(before.pending[id_] != after.pending[id_] for id_ in (ONE, TWO))
        assert after.unsettled == frozenset()

    def test_an_ids_own_writes_separate_fetches_beside_a_write_on_the_paired_type(self):
        tiers = Tiers(Lookup(version=3), Lookup(shared_version=b"v", paired_stamp=b"1"))
        before, after = (fill_token(tiers, {ONE: stamp}, [ONE], NOW) for stamp in (7, 8))
        assert before.pending[ONE] != after.pending[ONE]
