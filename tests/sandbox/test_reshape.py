from random import Random
from typing import Any, get_args

import msgspec
import pytest

from gateway.model import Kind
from gateway.sandbox import answers
from gateway.sandbox.faults import (
    CannedReply,
    Effect,
    Extra,
    Lag,
    MaxIds,
    Misshape,
    Next,
    Prefix,
    Reset,
    Shape,
    Shuffle,
    Strangers,
    Valueless,
)
from gateway.sandbox.journal import RecordedCall
from gateway.sandbox.reshape import replacement, reshape, substitute

READ = RecordedCall(1, "GET", "/v1/me/ratings/songs", Kind.SONGS, "ada", ("1", "2", "3"), True, "", 0.0)
RATED = answers.SandboxAnswer(200, answers.ratings(Kind.SONGS, {"1": 1, "2": -1}))


def reshaped(*effects: Effect, answer: answers.SandboxAnswer = RATED) -> Any:
    return msgspec.json.decode(reshape(answer, effects, READ, Random(1)).body)


def ids(document: Any) -> list[str]:
    return [resource["id"] for resource in document["data"]]


def test_an_answer_without_reshaping_effects_is_untouched():
    assert reshape(RATED, [Lag(1)], READ, Random(1)) is RATED


def test_an_error_is_never_reshaped():
    refused = answers.refusal(answers.NO_SUBSCRIPTION, Random(1))
    assert reshape(refused, [Prefix(), Valueless()], READ, Random(1)) is refused


def test_next_adds_a_link_to_a_next_page():
    assert reshaped(Next())["next"] == "/v1/me/ratings/songs?offset=2"


def test_strangers_follow_the_other_resources():
    document = reshaped(Strangers(("8", "9")))
    assert ids(document) == ["1", "2", "8", "9"]
    assert document["data"][3] == {
        "attributes": {"value": 1},
        "href": "/v1/me/ratings/songs/9",
        "id": "9",
        "type": "ratings",
    }


def test_a_prefix_precedes_every_id():
    assert ids(reshaped(Prefix())) == ["r.1", "r.2"]


@pytest.mark.parametrize("seed", range(8))
def test_a_shuffle_keeps_all_resources_and_changes_the_order(seed):
    document = msgspec.json.decode(reshape(RATED, [Shuffle()], READ, Random(seed)).body)
    assert ids(document) == ["2", "1"]


def test_unrated_ids_are_resources_without_a_value():
    document = reshaped(Valueless())
    assert ids(document) == ["1", "2", "3"]
    assert document["data"][2]["attributes"] == {}


def test_one_unrated_id_is_a_resource_without_a_value_instead_of_404():
    call = msgspec.structs.replace(READ, ids=("3",), many=False)
    missing = answers.refusal(answers.RESOURCE_NOT_FOUND, Random(1))
    answer = reshape(missing, [Valueless()], call, Random(1))
    assert answer.status == 200
    assert ids(msgspec.json.decode(answer.body)) == ["3"]


def test_extra_members_are_in_every_resource():
    assert [resource["meta"] for resource in reshaped(Extra({"meta": {"a": 1}}))["data"]] == [{"a": 1}] * 2


def test_effects_are_applied_in_the_order_armed():
    assert ids(reshaped(Prefix("x."), Strangers(("9",)))) == ["x.1", "x.2", "9"]


def test_a_misshape_is_applied_last():
    assert reshaped(Misshape("list"), Prefix())[0]["id"] == "r.1"


@pytest.mark.parametrize("shape", get_args(Shape))
def test_every_misshape_is_an_unsound_answer(shape):
    document = reshaped(Misshape(shape))
    data = document.get("data") if isinstance(document, dict) else None
    sound = (
        isinstance(data, list)
        and "errors" not in document
        and all(
            isinstance(resource, dict)
            and resource.get("type") == "ratings"
            and isinstance(resource.get("id"), str)
            and isinstance(resource.get("attributes"), dict)
            and type(resource["attributes"].get("value")) is int
            and resource["attributes"]["value"] in (1, -1)
            for resource in data
        )
    )
    assert not sound


def test_the_first_effect_that_answers_wins():
    assert replacement([Lag(1), CannedReply(500), Reset()]) == CannedReply(500)
    assert replacement([Lag(1)]) is None


def test_a_reset_answers_nothing():
    assert substitute(Reset(), READ, Random(1)) is None


@pytest.mark.parametrize(
    ("reply", "start"),
    [
        (CannedReply(401), b""),
        (CannedReply(204), b""),
        (CannedReply(500, body="empty"), b""),
        (CannedReply(200), b'{"data":[]}'),
        (CannedReply(403), b'{"errors":['),
        (CannedReply(429), b'{"errors":['),
        (CannedReply(429, body="capacity"), b'{"message":"API capacity exceeded"}'),
        (CannedReply(504, body="html"), b"<!DOCTYPE html>"),
        (CannedReply(200, body="html"), b"<!DOCTYPE html>"),
    ],
    ids=str,
)
def test_a_reply_has_the_given_status_and_body(reply, start):
    answer = substitute(reply, READ, Random(1))
    assert answer is not None
    assert answer.status == reply.status
    assert answer.body.startswith(start)
    assert bool(answer.body) == bool(start)


def test_a_reply_has_retry_after_only_if_given():
    with_hint, without = (
        substitute(CannedReply(429, retry_after=after), READ, Random(1)) for after in (7, None)
    )
    assert with_hint is not None
    assert without is not None
    assert with_hint.headers["Retry-After"] == "7"
    assert "Retry-After" not in without.headers


@pytest.mark.parametrize(("status", "names_ids"), [(400, True), (413, False), (504, False)])
def test_only_a_400_for_too_many_ids_names_the_parameter(status, names_ids):
    answer = substitute(MaxIds(2, status), READ, Random(1))
    assert answer is not None
    assert answer.status == status
    assert (b'"parameter":"ids"' in answer.body) == names_ids
