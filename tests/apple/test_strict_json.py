"""JSON that two parsers could read differently, or that takes too long, is refused."""

import contextlib
import json
import time
from typing import Any

import pytest

from gateway.apple import strict_json
from gateway.apple.strict_json import MAX_TOKENS
from gateway.json_depth import MAX_DEPTH


@pytest.mark.parametrize(
    "body", [b'{"a":[1,-1.5,null,true,"\\u00fc"]}', b"[]", b'"["', b"7", b'{"a":{"a":1},"b":{"a":2}}']
)
def test_sound_json_is_parsed(body):
    assert strict_json.load(body) == json.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a":1,"a":1}',
        b'[{"a":{"b":1,"b":2}}]',
        b"[NaN]",
        b"[Infinity]",
        b'{"a":1}x',
        b"\xff",
        b'["\xff"]',
    ],
)
def test_ambiguous_or_broken_json_is_refused(body):
    with pytest.raises(ValueError):
        strict_json.load(body)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_depth_is_bounded_independently_of_python(opening, closing):
    def nested(depth: int) -> Any:
        return opening * depth + b"1" + closing * depth

    brackets = opening.count(b"[") + opening.count(b"{")
    strict_json.load(nested(MAX_DEPTH // brackets - 1))
    for depth in (MAX_DEPTH // brackets + 1, 5_000, 50_000):
        with pytest.raises(ValueError, match="too"):
            strict_json.load(nested(depth))


def test_many_brackets_side_by_side_or_in_text_are_not_deep():
    assert len(strict_json.load(b"[" + b",".join([b"[{}]"] * 5_000) + b"]")) == 5_000
    assert strict_json.load(b'["' + b"[" * 5_000 + b'\\"]"]') == ["[" * 5_000 + '"]']


def test_brackets_that_do_not_match_are_not_json():
    with pytest.raises(ValueError):
        strict_json.load(b"[}" * 5_000)


def test_the_number_of_values_is_bounded():
    most = MAX_TOKENS - len("[")
    strict_json.load(b"[" + b"1," * most + b"1]")
    with pytest.raises(ValueError, match="too many values"):
        strict_json.load(b"[" + b"1," * most + b"1,1]")


def test_brackets_count_as_values():
    with pytest.raises(ValueError, match="too many values"):
        strict_json.load(b"[]" * (MAX_TOKENS + 1))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * (MAX_DEPTH + 1) + b'"' + b'\\"' * 100_000,
        b"[" * (MAX_DEPTH + 1) + b'"' + b"\\" * 100_001,
        b"[" + b",".join([b"[" * 490 + b"]" * 490] * 150) + b"]",
    ],
    ids=["a string without an end", "an escape without an end", "many deep siblings"],
)
def test_the_time_to_find_the_depth_grows_with_the_bytes_only(body):
    began = time.process_time()
    with contextlib.suppress(ValueError):
        strict_json.load(body)
    assert time.process_time() - began < 2.0
