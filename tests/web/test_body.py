import json

import pytest

from gateway.errors import Refused
from gateway.model import Kind
from gateway.web.body import MAX_PARAMETER_CHARACTERS, read_rating, read_several


def test_several_kinds_come_in_one_body():
    body = {
        "ids": {"albums": ["2", "1", "2"], "songs": [" 3 ", ""], "stations": []},
        "include": ["content"],
        "l": "de",
    }
    several = read_several(json.dumps(body).encode(), max_ids=10)
    assert [(part.kind, part.ids) for part in several.parts] == [
        (Kind.ALBUMS, ("2", "1")),
        (Kind.SONGS, ("3",)),
    ]
    assert (several.variant, several.refusal) == ("include=content&l=de", None)


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
        (b'{"ids":{"artists":["1"]}}', "40008", "/ids/artists"),
        (b'{"ids":{"albums":[" "]}}', "40005", "/ids"),
        (b'{"ids":{"albums":["1","2","3","4","5","6"],"songs":["1","2","3","4","5","6"]}}', "40005", "/ids"),
        (b'{"ids":{"albums":["1"]},"l":1}', "40006", "/l"),
        (b'{"ids":{"albums":["1"]},"include":["a",2]}', "40006", "/include/1"),
    ],
)
def test_a_body_that_is_wrong_is_pointed_into(body, code, pointer):
    with pytest.raises(Refused) as wrong:
        read_several(body, max_ids=10)
    assert wrong.value.source is not None
    assert (wrong.value.status, wrong.value.code, wrong.value.source.pointer) == (400, code, pointer)


@pytest.mark.parametrize("name", ["include", "extend", "l"])
def test_parameters_that_are_too_long_together_are_refused(name):
    fits = "a" * MAX_PARAMETER_CHARACTERS
    body = {"ids": {"albums": ["1"]}, name: fits if name == "l" else [fits]}
    assert read_several(json.dumps(body).encode(), max_ids=10).variant == f"{name}={fits}"
    body |= {"include": ["a", "b"]} if name != "include" else {"l": "de"}
    with pytest.raises(Refused, match=f"at most {MAX_PARAMETER_CHARACTERS:,} are sent to Apple") as wrong:
        read_several(json.dumps(body).encode(), max_ids=10)
    assert wrong.value.source is not None
    assert (wrong.value.code, wrong.value.source.pointer) == ("40006", f"/{name}")


def test_ids_that_cannot_be_of_their_type_are_kept_apart():
    several = read_several(b'{"ids":{"albums":["1","x"],"songs":["y"]}}', max_ids=10)
    assert [(part.kind, part.ids) for part in several.parts] == [(Kind.ALBUMS, ("1",))]
    assert several.invalid == ((Kind.ALBUMS, "x"), (Kind.SONGS, "y"))
    assert several.refusal is not None
    assert several.refusal.source is not None
    assert several.refusal.source.pointer == "/ids/albums"


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
        (b'{"attributes":{"value":1.0}}', "/attributes/value"),
        (b'{"attributes":{"value":-1e0}}', "/attributes/value"),
        (b'{"attributes":{"value":1.5}}', "/attributes/value"),
        (b'{"attributes":{"value":[1]}}', "/attributes/value"),
    ],
)
def test_a_rating_that_is_wrong_is_pointed_into(body, pointer):
    with pytest.raises(Refused) as wrong:
        read_rating(body)
    assert wrong.value.source is not None
    assert (wrong.value.status, wrong.value.code, wrong.value.source.pointer) == (400, "40006", pointer)
