"""Redis keeps the write rule to the letter: random histories on a real server and on the pure rule agree."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, run_state_machine_as_test
from hypothesis.stateful import rule as step

from gateway.cache import write_rule
from gateway.cache.entry import Entry, Freshness
from gateway.cache.invalidation import Purge
from gateway.cache.lookup import Lookup
from gateway.cache.redis import scripts
from gateway.cache.redis.codec import Reading
from gateway.cache.redis.layout import META, Keys, owner_tag, variant_name
from gateway.cache.redis.retry_queue import Undelivered
from gateway.cache.redis.scripts import Script
from gateway.cache.redis.writes import Writes
from gateway.cache.write_rule import (
    ACCEPTED,
    UNCHANGED,
    UNKNOWN,
    PairedWrite,
    PendingWrite,
    Record,
    StoredRating,
    Unwritten,
)
from gateway.model import Id, Kind, Partition, Rating, UserKind, Variant, plain_resource
from tests import redis_rule
from tests.cache.redis.harness import USER, limits
from tests.redis_server import RedisServer

pytestmark = pytest.mark.redis_server

START = 1_000_000.0
HOLD, TERM, LIFETIME = 10.0, 5.0, 45.0
KEYS = Keys("ratings")
PLACES = [(USER.key, Kind.ALBUMS), (USER.key, Kind.LIBRARY_ALBUMS)]
IDS = [Id("1"), Id("2")]
OTHER_FORM = Variant("l=de")

# Quarters of seconds are exact in both arithmetics.
pauses = st.sampled_from([0.25, 1.0, 4.75, 5.25, 10.0, 25.0, 44.75, 60.0])
places = st.sampled_from(PLACES)
ids = st.sampled_from(IDS)
contents = st.sampled_from([None, 1, -1, b"more"])
outcomes = st.one_of(contents, st.sampled_from([UNCHANGED, UNKNOWN, ACCEPTED]))


class HandMovedRedis:
    """Runs scripts on a real Redis, with a time that the test moves: a list takes the place of TIME."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.now = START

    async def run(self, script: Script, keys: list[str], args: list[Any]) -> Any:
        seconds, part = divmod(self.now, 1)
        self.client.delete("clock")
        self.client.rpush("clock", int(seconds), int(part * 1_000_000))
        source = script.source.replace("redis.call('TIME')", "redis.call('LRANGE', 'clock', 0, -1)")
        assert source != script.source
        return self.client.eval(source, len(keys), *keys, *args)


class Model:
    """One user and kind as the pure rule has it."""

    def __init__(self) -> None:
        self.version = 0
        self.paired: PairedWrite | None = None
        self.records: dict[Id, Record] = {}
        self.variant: dict[Id, StoredRating] = {}

    def raised(self, now: float) -> int:
        self.version = redis_rule.raised(self.version, now)
        return self.version

    def paired_written(self, now: float) -> None:
        self.paired = write_rule.paired_write(self.raised(now), now, HOLD)

    def lookup(self, now: float, lifetime: float, *, of_variant: bool) -> Lookup:
        entries: dict[Id, Entry] = {}
        holds: dict[Id, StoredRating] = {}
        pending: dict[Id, bytes] = {}
        for id_ in IDS:
            record = write_rule.standing(self.records.get(id_), now)
            held_rating = write_rule.held(record, now)
            if held_rating is not None:
                holds[id_] = held_rating
            elif isinstance(record, PendingWrite):
                pending[id_] = b"%d" % record.stamp
                continue
            rated = (None if held_rating else self.variant.get(id_)) if of_variant else held_rating or record
            if isinstance(rated, StoredRating) and (held_rating or now - rated.fetched_at < lifetime):
                entries[id_] = freshness(lifetime).entry(
                    rated.rating,
                    now,
                    fresh_seconds=lifetime,
                    age=now - rated.fetched_at,
                    cap=write_rule.cap(self.paired, record if held_rating and record else rated, now),
                )
        return Lookup(
            shared_version=b"%d" % self.version,
            entries=entries,
            holds=holds,
            pending=pending,
            paired_stamp=b"%d" % self.paired.stamp if self.paired else b"",
            cap_until=self.paired.until if self.paired and now < self.paired.until else None,
        )


def freshness(lifetime: float) -> Freshness:
    return Freshness(
        fresh_seconds=lifetime, stale_while_revalidate_seconds=0, stale_if_error_seconds=0, jitter=0
    )


def seen(lookup: Lookup) -> tuple[Lookup, dict[Id, tuple[Any, ...]]]:
    """The lookup with its entries by value: entries themselves are compared by identity."""
    entries = {
        id_: (entry.rating, entry.fetched_at, entry.trusted_at, entry.fresh_until, entry.ask_when_stale)
        for id_, entry in lookup.entries.items()
    }
    return msgspec.structs.replace(lookup, entries={}, complete=None), entries


class Histories(RuleBasedStateMachine):
    """Every step is taken by Redis and by the model, and they answer alike."""

    def __init__(self, redis: HandMovedRedis, lifetime: float = LIFETIME) -> None:
        super().__init__()
        self.redis = redis
        self.lifetime = lifetime
        self.redis.client.flushall()
        self.redis.now = START
        self.writes = writes_on(redis)
        self.models = {place: Model() for place in PLACES}
        self.begun: list[tuple[UserKind, Id, bytes | None]] = []
        self.tokens: list[tuple[UserKind, bytes]] = [(place, b"0") for place in PLACES]

    @property
    def now(self) -> float:
        return self.redis.now

    @step(pause=pauses)
    def time_passes(self, pause: float) -> None:
        self.redis.now += pause

    @step(place=places, id_=ids, term=st.sampled_from([TERM, 1.0]))
    def begins(self, place: UserKind, id_: Id, term: float = TERM) -> None:
        model = self.models[place]
        stamp = model.raised(self.now)
        model.records[id_] = write_rule.begin(model.records.get(id_), stamp, self.now, term)
        model.variant.pop(id_, None)
        self.paired_with(place).paired_written(self.now)
        assert done(self.writes.begin(place, id_, term)) == b"%d" % stamp
        self.begun.append((place, id_, b"%d" % stamp))

    @step(which=st.integers(0, 3), outcome=outcomes, forgets_stamp=st.booleans())
    def ends(self, which: int, outcome: Any, forgets_stamp: bool = False) -> None:
        if not self.begun:
            return
        place, id_, stamp = self.begun.pop(which % len(self.begun))
        if forgets_stamp:
            stamp = None
        if isinstance(outcome, bytes):
            outcome = form(place[1], id_, outcome)
        model = self.models[place]
        record = write_rule.end(
            model.records.get(id_),
            int(stamp) if stamp else None,
            outcome,
            version=model.raised(self.now),
            now=self.now,
            hold=HOLD,
        )
        model.records[id_] = record
        model.variant.pop(id_, None)
        if outcome is not UNCHANGED:
            self.paired_with(place).paired_written(self.now)
        stored = isinstance(record, StoredRating) and not isinstance(outcome, Unwritten)
        assert done(self.writes.end(place, id_, stamp, outcome)).stored is stored

    @step(place=places)
    def takes_token(self, place: UserKind) -> None:
        self.tokens.append((place, b"%d" % self.models[place].version))

    @step(which=st.integers(-3, 3), wanted=st.lists(ids, min_size=1, unique=True), rating=contents)
    def fills(self, which: int, wanted: list[Id], rating: Any) -> None:
        place, token = self.tokens[which % len(self.tokens)]
        model = self.models[place]
        fetched_ratings = {id_: form(place[1], id_, rating) for id_ in wanted}
        accepted = token == b"%d" % model.version
        for id_, each in fetched_ratings.items():
            if accepted and write_rule.fillable(model.records.get(id_), self.now):
                model.records[id_] = StoredRating(each, self.now)
        assert done(self.writes.fill(Partition(USER, place[1]), token, fetched_ratings)) is accepted

    @step(place=places, wanted=st.lists(ids, min_size=1, unique=True), rating=contents)
    def fills_variant(self, place: UserKind, wanted: list[Id], rating: Any) -> None:
        model = self.models[place]
        fetched_ratings = {id_: form(place[1], id_, rating) for id_ in wanted}
        for id_, each in fetched_ratings.items():
            if write_rule.fillable(model.records.get(id_), self.now):
                model.variant[id_] = StoredRating(each, self.now)
        token = b"%d" % model.version
        assert done(self.writes.fill(Partition(USER, place[1], OTHER_FORM), token, fetched_ratings)) is True

    @step(place=places, wanted=st.none() | st.lists(ids, min_size=1, unique=True))
    def purges(self, place: UserKind, wanted: list[Id] | None) -> None:
        model = self.models[place]
        version = model.raised(self.now)
        for id_ in wanted or IDS:
            model.records[id_] = redis_rule.purged(model.records.get(id_), version, self.now)
            model.variant.pop(id_, None)
        named = None if wanted is None else tuple(wanted)
        done(self.writes.purge([place[1]], Purge(USER.key, place[1], named)))

    @step(place=places, wanted=st.dictionaries(ids, st.integers(0, 1), min_size=1))
    def receives_late(self, place: UserKind, wanted: dict[Id, int]) -> None:
        model = self.models[place]
        version = model.raised(self.now)
        before = {id_: write_rule.standing(model.records.get(id_), self.now) for id_ in wanted}
        for id_, ended in wanted.items():
            model.records[id_] = redis_rule.replayed(
                model.records.get(id_), ended, version=version, now=self.now, hold=HOLD
            )
            model.variant.pop(id_, None)
        self.paired_with(place).paired_written(self.now)
        replayed = done(self.writes.replay(place, Undelivered(wanted)))
        assert replayed.stamp == b"%d" % version
        assert {id_: replaced.record for id_, replaced in replayed.replaced.items()} == {
            id_: record for id_, record in before.items() if not write_rule.fillable(record, self.now)
        }

    @step(place=places)
    def sweeps(self, place: UserKind) -> None:
        key, tag = KEYS.main(*place), owner_tag(*place)
        done(self.redis.run(scripts.SWEEP, [key], [tag, int(self.lifetime * 100), "main", *IDS]))

    @invariant()
    def looks_alike(self) -> None:
        for place, model in self.models.items():
            name = variant_name(OTHER_FORM)
            plain = model.lookup(self.now, self.lifetime, of_variant=False)
            assert seen(self.looked_up(place)) == seen(plain)
            variant = self.reading(place)
            variant.read_main(IDS, self.fetched(KEYS.main(*place)), owner_tag(*place))
            reply = self.fetched(f"{KEYS.main(*place)}:{name}")
            variant.read_variant(IDS, reply, owner_tag(*place, OTHER_FORM), name.encode())
            found = variant.lookup(name.encode())
            assert seen(found) == seen(model.lookup(self.now, self.lifetime, of_variant=True))

    def looked_up(self, place: UserKind) -> Lookup:
        reading = self.reading(place)
        reading.read_main(IDS, self.fetched(KEYS.main(*place)), owner_tag(*place))
        return reading.lookup()

    def reading(self, place: UserKind) -> Reading:
        return Reading(freshness(self.lifetime), self.lifetime, self.now, self.now)

    def fetched(self, key: str) -> Any:
        return self.redis.client.hmget(key, [META, *IDS])

    def paired_with(self, place: UserKind) -> Model:
        paired = place[1].paired
        assert paired is not None
        return self.models[place[0], paired]


def writes_on(redis: HandMovedRedis) -> Writes:
    kept = limits(freshness=freshness(LIFETIME), hold_seconds=HOLD)
    return Writes(redis, KEYS, kept, "model", lambda: False)  # type: ignore[arg-type]


def form(kind: Kind, id_: Id, rating: Rating) -> Rating:
    if rating == b"more":
        return plain_resource(kind, id_, 1).replace(b"}}", b'},"more":1}')
    return rating


def done(work: Coroutine[Any, Any, Any]) -> Any:
    """Run what never really waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waited")


@pytest.fixture
def hand_moved(server: RedisServer) -> Iterator[HandMovedRedis]:
    with server.client() as client:
        yield HandMovedRedis(client)


def test_redis_and_the_rule_agree_on_every_history(hand_moved: HandMovedRedis) -> None:
    run_state_machine_as_test(
        lambda: Histories(hand_moved),  # type: ignore[arg-type]  # it only calls it
        settings=settings(
            max_examples=100,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


A = PLACES[0]
ID = IDS[0]


def ends_onto_a_hold(history: Histories) -> None:
    history.begins(A, ID)
    history.time_passes(TERM)
    history.begins(A, ID)
    history.ends(1, None)
    history.ends(0, 1)


def ends_after_its_term_and_a_fill(history: Histories) -> None:
    history.begins(A, ID)
    history.time_passes(TERM)
    history.fills_variant(A, [ID], 1)
    history.ends(0, UNCHANGED)


def is_swept_within_a_hold_past_its_lifetime(history: Histories) -> None:
    history.begins(A, ID)
    history.ends(0, None)
    history.time_passes(HOLD - 0.25)
    history.sweeps(A)


def overlaps_in_turn(history: Histories) -> None:
    history.begins(A, ID)
    history.begins(A, ID)
    history.ends(0, None)
    history.looks_alike()
    history.ends(0, 1)


def overlaps_with_one_of_a_shorter_term(history: Histories) -> None:
    history.begins(A, ID)
    history.begins(A, ID, term=1.0)
    history.ends(1, None)
    history.time_passes(1.0)
    history.looks_alike()
    history.ends(0, 1)


def is_accepted_without_a_rating_within_the_hold_of_another(history: Histories) -> None:
    history.begins(A, ID)
    history.ends(0, 1)
    history.begins(A, ID)
    history.looks_alike()
    history.ends(0, ACCEPTED)


def is_accepted_without_a_rating_while_another_is_under_way(history: Histories) -> None:
    history.begins(A, ID)
    history.ends(0, 1)
    history.begins(A, ID)
    history.begins(A, ID)
    history.ends(0, ACCEPTED)
    history.looks_alike()
    history.ends(0, UNCHANGED)


def never_ends_after_an_unknown_one(history: Histories) -> None:
    history.begins(A, ID)
    history.ends(0, UNKNOWN)
    history.begins(A, ID, term=1.0)


def overlaps_nested(history: Histories) -> None:
    history.begins(A, ID)
    history.begins(A, ID)
    history.ends(1, None)
    history.begins(A, ID)
    history.ends(1, 1)
    history.ends(0, 1)


def is_received_late(history: Histories) -> None:
    history.begins(A, ID)
    history.begins(A, ID)
    history.receives_late(A, {ID: 1})
    history.looks_alike()
    history.receives_late(A, {ID: 1})


def is_refused_within_the_hold_of_another(history: Histories) -> None:
    history.begins(A, ID)
    history.ends(0, 1)
    history.begins(A, ID)
    history.begins(A, ID)
    history.ends(0, UNCHANGED)
    history.looks_alike()
    history.ends(0, UNKNOWN)


def is_refused_after_an_unknown_one(history: Histories) -> None:
    history.begins(A, ID)
    history.ends(0, UNKNOWN)
    for _ in range(2):
        history.begins(A, ID)
        history.looks_alike()
        history.ends(0, UNCHANGED)
        history.looks_alike()
        history.time_passes(4.75)


def is_refused_after_two_that_overlapped(history: Histories) -> None:
    history.begins(A, ID)
    history.begins(A, ID)
    history.ends(0, 1)
    history.ends(0, -1)
    history.begins(A, ID)
    history.ends(0, UNCHANGED)


def is_refused_after_an_unknown_one_within_a_hold(history: Histories) -> None:
    history.begins(A, ID)
    history.ends(0, 1)
    history.time_passes(1.0)
    history.begins(A, ID)
    history.ends(0, UNKNOWN)
    history.begins(A, ID)
    history.looks_alike()
    history.ends(0, UNCHANGED)


def is_refused_twice_within_a_hold(history: Histories) -> None:
    history.begins(A, ID)
    history.ends(0, 1)
    history.time_passes(1.0)
    for _ in range(2):
        history.begins(A, ID)
        history.ends(0, UNCHANGED)
        history.looks_alike()


def is_purged_within_a_hold(history: Histories) -> None:
    history.begins(A, ID)
    history.ends(0, 1)
    history.purges(A, None)


def is_purged_by_name_within_a_hold_and_written(history: Histories) -> None:
    history.begins(A, ID)
    history.ends(0, 1)
    history.purges(A, [ID])
    history.looks_alike()
    history.begins(A, ID)
    history.looks_alike()
    history.ends(0, -1)


def is_purged_before_a_refusal(history: Histories) -> None:
    history.begins(A, ID)
    history.ends(0, 1)
    history.begins(A, ID)
    history.purges(A, [ID])
    history.ends(0, UNCHANGED)


def never_ends_within_the_hold_of_another(history: Histories) -> None:
    history.begins(A, ID)
    history.ends(0, 1)
    history.begins(A, ID)
    history.time_passes(TERM)
    history.looks_alike()
    history.sweeps(A)


@pytest.mark.parametrize("lifetime", [LIFETIME, 5.0])
@pytest.mark.parametrize(
    "happens",
    [
        ends_onto_a_hold,
        overlaps_in_turn,
        overlaps_nested,
        overlaps_with_one_of_a_shorter_term,
        is_accepted_without_a_rating_within_the_hold_of_another,
        is_accepted_without_a_rating_while_another_is_under_way,
        never_ends_after_an_unknown_one,
        is_received_late,
        ends_after_its_term_and_a_fill,
        is_swept_within_a_hold_past_its_lifetime,
        is_refused_within_the_hold_of_another,
        is_refused_after_an_unknown_one,
        is_refused_after_two_that_overlapped,
        is_refused_after_an_unknown_one_within_a_hold,
        is_refused_twice_within_a_hold,
        is_purged_within_a_hold,
        is_purged_by_name_within_a_hold_and_written,
        is_purged_before_a_refusal,
        never_ends_within_the_hold_of_another,
    ],
)
def test_redis_and_the_rule_agree_on_rare_histories(
    hand_moved: HandMovedRedis, happens: Callable[[Histories], None], lifetime: float
) -> None:
    history = Histories(hand_moved, lifetime)
    happens(history)
    for pause in (0.0, TERM, HOLD - TERM):
        history.time_passes(pause)
        history.looks_alike()


@pytest.mark.parametrize(
    "happens",
    [is_purged_within_a_hold, is_purged_before_a_refusal, never_ends_within_the_hold_of_another],
)
def test_redis_serves_a_hold_that_a_purge_or_another_write_met_to_its_end_and_no_longer(
    hand_moved: HandMovedRedis, happens: Callable[[Histories], None]
) -> None:
    history = Histories(hand_moved)
    happens(history)
    held = START + HOLD - hand_moved.now
    entry = history.looked_up(A).entries[ID]
    assert (entry.rating, entry.fresh_until - hand_moved.now) == (1, held)
    assert entry.ask_when_stale
    history.time_passes(held)
    assert (history.looked_up(A).entries, history.looked_up(A).pending) == ({}, {})


def test_a_replay_of_a_whole_place_voids_everything_but_writes_under_way(hand_moved: HandMovedRedis) -> None:
    writes = writes_on(hand_moved)
    place = PLACES[0]
    partition, variant = Partition(USER, place[1]), Partition(USER, place[1], OTHER_FORM)
    done(writes.fill(partition, b"0", {IDS[0]: None, Id("3"): None}))
    done(writes.fill(variant, b"0", {IDS[0]: None}))
    stamp = done(writes.begin(place, IDS[1], TERM))
    received = done(writes.replay(place, Undelivered(all=True))).stamp
    reading = Reading(freshness(LIFETIME), LIFETIME, hand_moved.now, hand_moved.now)
    records = hand_moved.client.hmget(KEYS.main(*place), [META, *IDS])
    reading.read_main(IDS, records, owner_tag(*place))
    outcome = reading.lookup(variant_name(OTHER_FORM).encode())
    assert outcome == Lookup(
        shared_version=received,
        pending={IDS[1]: received},
        paired_stamp=received,
        cap_until=hand_moved.now + HOLD,
    )
    assert not hand_moved.client.exists(f"{KEYS.main(*place)}:{variant_name(OTHER_FORM)}")
    assert not done(writes.end(place, IDS[1], stamp, None)).stored
