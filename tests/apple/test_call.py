"""What a call says of itself to those that decide whether it is repeated, and whose a failure is."""

import msgspec
import pytest

from gateway.apple.attribution import Asked
from tests.apple.builders import call


@pytest.mark.parametrize(
    ("method", "headers", "idempotent"),
    [
        ("GET", {}, True),
        ("PUT", {}, True),
        ("DELETE", {}, True),
        ("POST", {}, False),
        ("PUT", {"If-Match": '"1"'}, False),
        ("DELETE", {"If-Unmodified-Since": "Mon, 01 Jan 2024 00:00:00 GMT"}, False),
    ],
)
def test_a_post_and_a_conditional_write_may_not_be_sent_twice(method, headers, idempotent):
    made = call(method, headers=headers)
    assert (made.idempotent, made.asked().idempotent) == (idempotent, idempotent)


@pytest.mark.parametrize(
    ("method", "read", "deletes"),
    [("GET", True, False), ("PUT", False, False), ("DELETE", False, True), ("POST", False, False)],
)
def test_a_call_is_a_read_a_deletion_or_neither(method, read, deletes):
    asked = call(method).asked()
    assert (asked.read, asked.deletes) == (read, deletes)


@pytest.mark.parametrize(
    ("field", "fact"),
    [
        ({"ids": 25}, {"ids": 25}),
        ({"divisible": True}, {"divisible": True}),
        ({"riders": True}, {"riders": True}),
        ({"single": True}, {"part": True}),
        ({"whole": True}, {}),
    ],
)
def test_its_size_and_its_company_are_facts_for_the_attribution(field, fact):
    plain = Asked(read=True, idempotent=True)
    asked = msgspec.structs.replace(call(), **field).asked()
    assert asked == msgspec.structs.replace(plain, **fact)


def test_the_caller_says_how_far_it_has_come():
    asked = call().asked(reconnected=True, last=True)
    assert asked == Asked(read=True, idempotent=True, reconnected=True, last=True)


def test_it_fits_by_default():
    assert call().fits()
