import json

import pytest

from gateway.errors import Refused
from gateway.model import Kind
from gateway.web.body import read_parts, read_rating


def test_several_kinds_come_in_one_body():
    body = {
        "ids": {"albums": ["2", "1", "2"], "songs": [" 3 ", ""], "stations": []},
        "include": ["content"],
        "l": "de",
    }
    parts, variant = read_parts(json.dumps(body).encode(), max_ids=10)
    assert [(part.kind, part.ids) for part in parts] == [(Kind.ALBUMS, ("2", "1")), (Kind.SONGS, ("3",))]
    assert variant == "include=content&l=de"


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (b"", "40006", ""),
        (b"{", "40006", ""),
        (b"\xff", "40006", ""),
        (b"[]", "40006", ""),
        (b"[" * 100_000, "40006", ""),
        (b"{}", "40006", "/ids"),
        (b'{"ids":{"albums":["1"]},"mo/re":1}', "40006", "/mo~1re"),
        (b'{"ids":{"albums":"1"}}', "40006", "/ids/albums"),
        (b'{"ids":{"albums":[1]}}', "40006", "/ids/albums/0"),
        (b'{"ids":{"albums":["x"]}}', "40005", "/ids/albums"),
        (b'{"ids":{"artists":["1"]}}', "40008", "/ids/artists"),
        (b'{"ids":{"albums":[" "]}}', "40005", "/ids"),
        (b'{"ids":{"albums":["1","2","3","4","5","6"],"songs":["1","2","3","4","5","6"]}}', "40005", "/ids"),
        (b'{"ids":{"albums":["1"]},"l":"' + b"x" * 2047 + b'"}', "40006", ""),
        (b'{"ids":{"albums":["1"]},"l":1}', "40006", "/l"),
        (b'{"ids":{"albums":["1"]},"include":["a",2]}', "40006", "/include/1"),
    ],
)
def test_a_body_that_is_wrong_is_pointed_into(body, code, pointer):
    with pytest.raises(Refused) as wrong:
        read_parts(body, max_ids=10)
    assert wrong.value.source is not None
    assert (wrong.value.status, wrong.value.code, wrong.value.source.pointer) == (400, code, pointer)


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"rating","attributes":{"value":1}}',
        b'{"type":"ratings","attributes":{"value":1}}',
        b'{"attributes":{"value":1},"more":true}',
    ],
)
def test_the_three_spellings_of_a_rating_are_read(body):
    assert read_rating(body) == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"", ""),
        (b"nope", ""),
        (b"\xff\xfe", ""),
        (b"[1]", ""),
        (b'{"type":"album","attributes":{"value":1}}', "/type"),
        (b'{"type":["rating"],"attributes":{"value":1}}', "/type"),
        (b'{"type":"rating"}', "/attributes"),
        (b'{"attributes":[]}', "/attributes"),
        (b'{"attributes":{}}', "/attributes/value"),
        (b'{"attributes":{"value":0}}', "/attributes/value"),
        (b'{"attributes":{"value":true}}', "/attributes/value"),
        (b'{"attributes":{"value":"1"}}', "/attributes/value"),
        (b'{"attributes":{"value":1.5}}', "/attributes/value"),
        (b'{"attributes":{"value":[1]}}', "/attributes/value"),
    ],
)
def test_a_rating_that_is_wrong_is_pointed_into(body, pointer):
    with pytest.raises(Refused) as wrong:
        read_rating(body)
    assert wrong.value.source is not None
    assert (wrong.value.status, wrong.value.code, wrong.value.source.pointer) == (400, "40006", pointer)
