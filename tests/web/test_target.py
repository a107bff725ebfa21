from urllib.parse import quote

import pytest

from gateway.errors import Refused
from gateway.model import PLAIN
from gateway.web.target import MANY, ONE, SEVERAL, UNMATCHED, Target, TargetParser

ROOT = "/v1/me/ratings"
IDS = {
    "albums": "1138988512",
    "songs": "203709340",
    "music-videos": "639032181",
    "playlists": "pl.u-8aAVZAPvLpYr",
    "stations": "ra.1461224745",
    "library-albums": "l.0hUUlVV",
    "library-songs": "i.YJ4Ngd3ia",
    "library-playlists": "p.vMO5kRQiX1xGMr",
    "library-music-videos": "i.mmJlEmbcEkKk",
}


@pytest.fixture
def parser() -> TargetParser:
    return TargetParser(max_ids=10)


def ids(target: Target) -> tuple[str, ...]:
    (part,) = target.parts
    return tuple(part.ids)


def refusal(target: Target) -> Refused:
    assert target.refusal is not None
    return target.refusal


@pytest.mark.parametrize("kind", IDS)
def test_every_kind_is_read_in_both_forms(parser, kind):
    many = parser.parse("GET", f"{ROOT}/{kind}?ids={IDS[kind]}")
    one = parser.parse("GET", f"{ROOT}/{kind}/{IDS[kind]}")
    assert (many.route, many.kind, ids(many), many.refusal) == (MANY, kind, (IDS[kind],), None)
    assert (one.route, one.kind, one.id, ids(one)) == (ONE, kind, IDS[kind], (IDS[kind],))


@pytest.mark.parametrize(
    "query",
    ["ids=1,2,3", "ids=1&ids=2&ids=3", "ids=1%2C2%2c3", "ids=%201,+2+,3%20", "ids=,1,,2,3,", "ids=1,2,1,3,2"],
)
def test_every_form_of_ids_names_the_same_ids(parser, query):
    assert ids(parser.parse("GET", f"{ROOT}/albums?{query}")) == ("1", "2", "3")


@pytest.mark.parametrize(
    ("target", "status", "code", "parameter"),
    [
        (f"{ROOT}/albums", 400, "40003", "ids"),
        (f"{ROOT}/albums?include=content", 400, "40003", "ids"),
        (f"{ROOT}/albums?ids=", 400, "40005", "ids"),
        (f"{ROOT}/albums?ids=,%20,", 400, "40005", "ids"),
        (f"{ROOT}/albums?ids=1,abc", 400, "40005", "ids"),
        (f"{ROOT}/songs?ids=" + "1" * 21, 400, "40005", "ids"),
        (f"{ROOT}/playlists?ids=pl." + "a" * 65, 400, "40005", "ids"),
        (f"{ROOT}/albums?ids={','.join(map(str, range(11)))}", 400, "40005", "ids"),
        (f"{ROOT}/artists?ids=1", 400, "40008", "type"),
        (f"{ROOT}/artists/1", 400, "40008", "type"),
        (f"{ROOT}/albums/abc", 400, "40005", "ids"),
    ],
)
def test_a_target_that_is_wrong_names_what_is(parser, target, status, code, parameter):
    wrong = refusal(parser.parse("GET", target))
    assert wrong.source is not None
    assert (wrong.status, wrong.code, wrong.source.parameter) == (status, code, parameter)


def test_the_offending_ids_are_named(parser):
    assert "'abc', 'x y'" in refusal(parser.parse("GET", f"{ROOT}/albums?ids=1,abc,x%20y")).detail


@pytest.mark.parametrize(
    "path",
    ["/", "/v1/me/ratings/", "/v1/me/ratings/albums/", "/v1/catalog", "*", "/v1/me/ratings/albums/1/2", ""],
)
def test_an_unknown_path_is_404(parser, path):
    target = parser.parse("GET", path)
    assert (target.route, refusal(target).status, refusal(target).code) == (UNMATCHED, 404, "40401")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", f"{ROOT}/albums?ids=1", "GET"),
        ("PATCH", f"{ROOT}/albums/1", "GET, PUT, DELETE"),
        ("GET", ROOT, "POST"),
    ],
)
def test_an_unknown_method_is_405_and_tells_the_allowed_ones(parser, method, path, allowed):
    wrong = refusal(parser.parse(method, path))
    assert (wrong.status, wrong.code, wrong.headers["Allow"]) == (405, "40500", allowed)


@pytest.mark.parametrize(
    "query",
    [
        "include=content&extend=a,b&l=de",
        "l=de&extend=b&extend=a&include=content,content",
        "extend=b%2Ca&include=%20content&l=de",
    ],
)
def test_spellings_of_one_variant_are_one(parser, query):
    target = parser.parse("GET", f"{ROOT}/albums?ids=1&{query}")
    assert target.variant == "extend=a,b&include=content&l=de"


def test_empty_parameters_make_no_variant(parser):
    assert parser.parse("GET", f"{ROOT}/albums?ids=1&include=&l=").variant == PLAIN


def test_what_a_variant_holds_cannot_leave_its_parameter(parser):
    target = parser.parse("GET", f"{ROOT}/albums?ids=1&l=" + quote("de&ids=2"))
    assert target.variant == "l=de%26ids%3D2"


@pytest.mark.parametrize("query", ["ids=1&new=1", "ids=1&l=de&l=en", "new=1", "ids=1&l=" + "x" * 2047])
def test_what_the_cache_knows_nothing_of_bypasses_it(parser, query):
    target = parser.parse("GET", f"{ROOT}/albums?{query}")
    assert (target.bypass, target.path, target.query) == (True, f"{ROOT}/albums", query)


def test_ids_beside_an_id_bypass_the_cache(parser):
    assert parser.parse("GET", f"{ROOT}/albums/1?ids=2").bypass


def test_a_write_keeps_its_query(parser):
    target = parser.parse("PUT", f"{ROOT}/albums/1?l=de")
    assert (target.id, target.query, target.refusal) == ("1", "l=de", None)


def test_a_target_with_a_host_is_read_like_one_without(parser):
    assert ids(parser.parse("GET", f"http://gateway:8080{ROOT}/albums?ids=1")) == ("1",)
    assert parser.parse("GET", f"http://gateway:8080{ROOT}/albums/1").id == "1"


def test_a_percent_encoded_id_is_the_id(parser):
    assert parser.parse("GET", f"{ROOT}/library-albums/l%2Eabc").id == "l.abc"


def test_long_targets_are_parsed_too():
    listed = ",".join(str(10**9 + n) for n in range(10_000))
    assert len(ids(TargetParser(max_ids=10_000).parse("GET", f"{ROOT}/albums?ids={quote(listed)}"))) == 10_000


def test_query_parameters_beside_a_body_are_refused(parser):
    assert refusal(parser.parse("POST", f"{ROOT}?ids=1")).code == "40005"
    assert parser.parse("POST", ROOT).route == SEVERAL


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1/me"),
        ("PATCH", "/v1/me/ratings/albums/1"),
        ("GET", "/v1/me/ratings/artists/1"),
        ("GET", "/v1/me/ratings/albums/l.1"),
        ("GET", "/v1/me/ratings/albums?ids=l.1"),
    ],
)
def test_a_remembered_refusal_holds_nothing_of_the_request_that_met_it_first(parser, method, target):
    refusal = parser.parse(method, target).refusal
    assert (refusal.__traceback__, refusal.__context__) == (None, None)
