from urllib.parse import quote

import pytest

from gateway.errors import Refused
from gateway.model import Id, Kind
from gateway.ratings.relay import RelayedRequest
from gateway.web.target import (
    FAVORITES,
    MANY,
    ONE,
    UNMATCHED,
    ReadTarget,
    RefusedTarget,
    SeveralTarget,
    Target,
    TargetParser,
    WriteTarget,
)

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


def read(target: Target) -> ReadTarget:
    assert isinstance(target, ReadTarget)
    return target


def ids(target: Target) -> tuple[str, ...]:
    (part,) = read(target).parts
    return tuple(part.ids)


def refusal(target: Target) -> Refused:
    assert isinstance(target, RefusedTarget)
    return target.refusal


@pytest.mark.parametrize("kind", IDS)
def test_every_kind_is_read_in_both_forms(parser, kind):
    many = parser.parse("GET", f"{ROOT}/{kind}?ids={IDS[kind]}")
    one = parser.parse("GET", f"{ROOT}/{kind}/{IDS[kind]}")
    assert (many.route, many.kind, ids(many), many.id) == (MANY, kind, (IDS[kind],), None)
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
        (f"{ROOT}/albums?ids={','.join(map(str, range(11)))}", 400, "40005", "ids"),
        (f"{ROOT}/artists?ids=1", 400, "40008", "type"),
        (f"{ROOT}/artists/1", 400, "40008", "type"),
        (f"{ROOT}/albums/abc", 400, "40005", "ids"),
    ],
)
def test_a_malformed_target_is_refused_with_its_source(parser, target, status, code, parameter):
    wrong = refusal(parser.parse("GET", target))
    assert wrong.source is not None
    assert (wrong.status, wrong.code, wrong.source.parameter) == (status, code, parameter)


@pytest.mark.parametrize(
    ("target", "invalid"),
    [
        ("albums?ids=1,abc,x%20y", (("albums", "abc"), ("albums", "x y"))),
        ("songs?ids=" + "1" * 21, (("songs", "1" * 21),)),
        ("playlists?ids=pl." + "a" * 65, (("playlists", "pl." + "a" * 65),)),
        ("albums?ids=1,2\n", ()),
        ("albums?ids=l.1,l.1", (("albums", "l.1"),)),
    ],
)
def test_ids_that_cannot_be_of_the_type_are_kept_apart(parser, target, invalid):
    assert parser.parse("GET", f"{ROOT}/{target}").invalid == invalid


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v2/x", "/health", "*", "", f"{ROOT}/albums/1/2", f"{ROOT}//1", f"{ROOT}/albums//"],
)
def test_an_unknown_path_is_404(parser, path):
    target = parser.parse("GET", path)
    assert (target.route, refusal(target).status, refusal(target).code) == (UNMATCHED, 404, "40401")


@pytest.mark.parametrize("path", ["/v1/", "/v1/catalog/us/songs/1", "/v1/me", "/v1/me/ratingsx", "/v1/test"])
def test_a_path_of_apples_api_that_is_not_served_is_421(parser, path):
    target = parser.parse("GET", path)
    assert (target.route, refusal(target).status, refusal(target).code) == (UNMATCHED, 421, "42100")


@pytest.mark.parametrize("raw", [f"{ROOT}/albums?ids=1#x", f"{ROOT}/albums?ids=1&x=\udcff", "http://[::1/"])
def test_characters_that_no_url_has_are_400(parser, raw):
    assert refusal(parser.parse("GET", raw)).status == 400


def test_one_slash_at_the_end_is_tolerated(parser):
    assert ids(parser.parse("GET", f"{ROOT}/albums/?ids=1,2")) == ("1", "2")
    assert parser.parse("GET", f"{ROOT}/albums/1/").id == "1"
    assert parser.parse("POST", f"{ROOT}/") == SeveralTarget()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_head_is_parsed_as_get(parser, method):
    assert ids(parser.parse(method, f"{ROOT}/albums?ids=1,2")) == ("1", "2")
    assert parser.parse(method, f"{ROOT}/albums/1").id == "1"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", f"{ROOT}/albums?ids=1", "GET, HEAD"),
        ("OPTIONS", f"{ROOT}/albums?ids=1", "GET, HEAD"),
        ("GET", "/v1/me/favorites?ids[albums]=1", "POST, DELETE"),
        ("PATCH", f"{ROOT}/albums/1", "GET, HEAD, PUT, DELETE"),
        ("GET", ROOT, "POST"),
    ],
)
def test_an_unknown_method_is_405_with_the_allowed_ones(parser, method, path, allowed):
    wrong = refusal(parser.parse(method, path))
    assert (wrong.status, wrong.code, wrong.headers["Allow"]) == (405, "40500", allowed)


@pytest.mark.parametrize(
    ("method", "path", "route", "kind"),
    [
        ("POST", f"{ROOT}/albums?ids=1", MANY, "albums"),
        ("PATCH", f"{ROOT}/albums/abc", ONE, "albums"),
        ("POST", f"{ROOT}/artists?ids=1", MANY, None),
        ("GET", f"{ROOT}/albums", MANY, "albums"),
        ("GET", f"{ROOT}/albums/abc", ONE, "albums"),
        ("GET", f"{ROOT}/artists/1", ONE, None),
        ("GET", FAVORITES, FAVORITES, None),
    ],
)
def test_a_refused_target_has_its_route_and_type(parser, method, path, route, kind):
    target = parser.parse(method, path)
    assert (type(target), target.route, target.kind) == (RefusedTarget, route, kind)


def test_other_parameters_are_part_of_the_variant(parser):
    target = parser.parse("GET", f"{ROOT}/albums?ids=1&platform=web")
    assert (ids(target), target.variant) == (("1",), "platform=web")


def test_a_read_with_other_parameters_may_be_relayed_as_it_came(parser):
    many = parser.parse("GET", f"{ROOT}/albums/?ids=1&platform=web")
    one = parser.parse("GET", f"{ROOT}/library-albums/l%2E1?platform=web")
    assert many.relay == RelayedRequest(f"{ROOT}/albums", "ids=1&platform=web", lists_ids=True)
    assert one.relay == RelayedRequest(f"{ROOT}/library-albums/l.1", "platform=web", lists_ids=False)
    assert parser.parse("GET", f"{ROOT}/albums?ids=1&l=de").relay is None


def test_a_target_with_invalid_ids_is_not_relayed(parser):
    target = parser.parse("GET", f"{ROOT}/albums?ids=1,x&platform=web")
    assert (target.invalid, target.variant, target.relay) == ((("albums", "x"),), "platform=web", None)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_ids_beside_an_id_in_the_path_are_refused(parser, method):
    for query in ("ids=2", "platform=web&%69ds=2"):
        wrong = refusal(parser.parse(method, f"{ROOT}/albums/1?{query}"))
        assert wrong.source is not None
        assert (wrong.status, wrong.code, wrong.source.parameter) == (400, "40005", "ids")


def test_a_write_keeps_its_query(parser):
    target = parser.parse("PUT", f"{ROOT}/albums/1?l=de")
    assert target == WriteTarget(Kind.ALBUMS, Id("1"), "l=de")


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
    assert parser.parse("POST", ROOT) == SeveralTarget()


@pytest.mark.parametrize(
    ("query", "favorites"),
    [
        ("ids[albums]=1,2&ids[songs]=3", (("albums", "1"), ("albums", "2"), ("songs", "3"))),
        ("ids%5Balbums%5D=1%2C2", (("albums", "1"), ("albums", "2"))),
        ("ids[artists]=9", ()),
        ("ids[artists]=9&ids[library-songs]=i.1&l=de", (("library-songs", "i.1"),)),
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_favorites_name_ids_by_type(parser, query, favorites, method):
    target = parser.parse(method, f"{FAVORITES}?{query}")
    assert (target.route, target.ids, target.query) == (FAVORITES, favorites, query)


@pytest.mark.parametrize(
    ("query", "code", "parameter"),
    [
        ("", "40003", "ids"),
        ("ids=1", "40003", "ids"),
        ("ids[albums]=,", "40005", "ids"),
        ("ids[albums]=x", "40005", "ids[albums]"),
        ("ids[artists]=" + ",".join(map(str, range(11))), "40005", "ids"),
        ("ids[albums]=1,2,3,4,5,6&ids[songs]=1,2,3,4,5,6", "40005", "ids"),
    ],
)
def test_favorites_without_sound_ids_are_refused(parser, query, code, parameter):
    wrong = refusal(parser.parse("POST", f"{FAVORITES}?{query}"))
    assert wrong.source is not None
    assert (wrong.status, wrong.code, wrong.source.parameter) == (400, code, parameter)
