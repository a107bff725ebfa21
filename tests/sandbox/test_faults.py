from typing import get_args

import msgspec
import pytest

from gateway.model import Kind
from gateway.sandbox.faults import EFFECTS, AnyEffect, CannedReply, Fault, Hold, Lag, MaxIds, SlowBody, Where
from gateway.sandbox.journal import RecordedCall

READ = RecordedCall(1, "GET", "/v1/me/ratings/songs", Kind.SONGS, "ada", ("1", "2"), True, "l=de", 0.0)


@pytest.mark.parametrize(
    "where",
    [
        Where(),
        Where(method="GET"),
        Where(kind=Kind.SONGS),
        Where(user="ada"),
        Where(id="2"),
        Where(many=True),
        Where(query="l=de"),
        Where(method="GET", kind=Kind.SONGS, user="ada", id="1", many=True, query="l=de"),
    ],
    ids=str,
)
def test_a_call_that_matches_every_condition_is_struck(where):
    assert Fault(Hold(), where).strikes(READ, fired=0, chance=0.0)


@pytest.mark.parametrize(
    "where",
    [
        Where(method="PUT"),
        Where(kind=Kind.ALBUMS),
        Where(user="ben"),
        Where(id="3"),
        Where(many=False),
        Where(query=""),
        Where(user="ada", id="3"),
    ],
    ids=str,
)
def test_a_call_that_misses_one_condition_is_not_struck(where):
    assert not Fault(Hold(), where).strikes(READ, fired=0, chance=0.0)


def test_a_fault_strikes_at_most_so_many_times():
    fault = Fault(Hold(), times=2)
    assert [fault.strikes(READ, fired=fired, chance=0.0) for fired in (0, 1, 2)] == [True, True, False]


def test_a_fraction_strikes_only_below_its_probability():
    fault = Fault(Hold(), fraction=0.3)
    assert [fault.strikes(READ, fired=0, chance=chance) for chance in (0.0, 0.29, 0.3)] == [True, True, False]


def test_a_limit_on_ids_strikes_only_above_it():
    assert not Fault(MaxIds(2)).strikes(READ, fired=0, chance=0.0)
    assert Fault(MaxIds(1)).strikes(READ, fired=0, chance=0.0)


def test_a_fault_reads_from_json_with_the_names_of_the_api():
    text = b'{"effect":{"name":"slow-body","seconds":2},"where":{"type":"songs","id":"1"},"times":3}'
    assert msgspec.json.decode(text, type=Fault) == Fault(
        SlowBody(2), Where(kind=Kind.SONGS, id="1"), times=3
    )


def test_a_fault_survives_a_round_trip_through_json():
    fault = Fault(CannedReply(503, body="html", retry_after=2), Where(method="GET"), fraction=0.5)
    assert msgspec.json.decode(msgspec.json.encode(fault), type=Fault) == fault


@pytest.mark.parametrize(
    "text",
    [
        b'{"effect":{"name":"explode"}}',
        b'{"effect":{"name":"lag","seconds":-1}}',
        b'{"effect":{"name":"lag","secs":1}}',
        b'{"effect":{"name":"lag","seconds":1},"when":{}}',
        b'{"effect":{"name":"lag","seconds":1},"where":{"kind":"songs"}}',
        b'{"effect":{"name":"lag","seconds":1},"fraction":0}',
        b'{"effect":{"name":"lag","seconds":1},"times":0}',
        b'{"effect":{"name":"misshape","shape":"round"}}',
        b'{"effect":{"name":"truncate","keep":1}}',
    ],
)
def test_json_outside_the_vocabulary_is_refused(text):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Fault)


def test_effects_are_values():
    assert Lag(2) == Lag(2)
    with pytest.raises(AttributeError):
        Lag(2).seconds = 3  # type: ignore[misc]


def test_the_table_has_every_effect_once():
    assert [type(effect) for effect in EFFECTS] == sorted(
        get_args(AnyEffect), key=[type(effect) for effect in EFFECTS].index
    )
    assert len(EFFECTS) == len(get_args(AnyEffect))


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: type(effect).__name__)
def test_an_example_of_the_table_arms_that_effect(effect):
    body = msgspec.json.encode({"effect": effect})
    assert msgspec.json.decode(body, type=Fault).effect == effect
