import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.errors import Refused
from gateway.ratings.query import NO_DIRECTIVES, Directives
from gateway.web.headers import (
    CallerCheck,
    check_host,
    preconditions,
    read_directives,
    read_timeout,
    read_user,
    wants_leniency,
)


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


def test_the_token_names_the_user_and_is_not_shown():
    user = read_user(headers(("music-user-token", " secret ")))
    assert user.token == "secret"
    assert "secret" not in repr(user)


@pytest.mark.parametrize(
    ("tokens", "status"),
    [([], 403), ([""], 403), ([" , "], 403), (["a", "b"], 400), (["a, b"], 400), (["t\udcff"], 403)],
)
@pytest.mark.parametrize("name", ["Music-User-Token", "Media-User-Token"])
def test_exactly_one_token_is_needed(tokens, status, name):
    with pytest.raises(Refused) as refused:
        read_user(headers(*((name, token) for token in tokens)))
    assert refused.value.status == status


@pytest.mark.parametrize(
    "pairs",
    [
        [("media-user-token", "a")],
        [("Music-User-Token", "a"), ("Media-User-Token", " a")],
        [("Music-User-Token", "a, a,")],
        [("Music-User-Token", "a"), ("Music-User-Token", "a")],
    ],
)
def test_the_same_token_several_times_is_one(pairs):
    assert read_user(headers(*pairs)).token == "a"


def test_two_tokens_under_two_names_are_refused():
    with pytest.raises(Refused, match="two different"):
        read_user(headers(("Music-User-Token", "a"), ("Media-User-Token", "b")))


@pytest.mark.parametrize("host", ["x/y", "a b", "a@b", "[::1", "a:b"])
def test_a_malformed_host_is_400(host):
    with pytest.raises(Refused) as refused:
        check_host(headers(("Host", host)))
    assert refused.value.status == 400


@pytest.mark.parametrize("host", ["", "gateway", "127.0.0.1:8080", "[::1]:8080"])
def test_a_well_formed_host_is_allowed(host):
    check_host(headers(("Host", host)))


def test_preconditions_are_passed_on_unchanged():
    given = headers(("If-Match", '"a"'), ("If-Match", '"b"'), ("If-Modified-Since", "x"), ("If-Range", "y"))
    assert preconditions(given) == {"If-Match": '"a", "b"', "If-Modified-Since": "x"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("no-cache", Directives(no_cache=True)),
        ("No-Store, only-if-cached", Directives(no_store=True, only_if_cached=True)),
        ("max-age=5", Directives(max_age=5)),
        ('max-age="5"', Directives(max_age=5)),
        ("max-stale", Directives(max_stale=float("inf"))),
        ("max-stale=7", Directives(max_stale=7)),
        ("max-age=soon, max-stale=-1, min-fresh=4", NO_DIRECTIVES),
        ("", NO_DIRECTIVES),
    ],
)
def test_cache_control_is_read(line, expected):
    assert read_directives(headers(("Cache-Control", line))) == expected


def test_directives_of_several_lines_count_together():
    given = read_directives(headers(("Cache-Control", "no-store"), ("cache-control", "max-age=1")))
    assert given == Directives(no_store=True, max_age=1)


def test_without_cache_control_the_default_directives_are_used():
    assert read_directives(headers()) is NO_DIRECTIVES
    assert read_directives(headers(("Cache-Control", "min-fresh=1"))) is NO_DIRECTIVES


def test_a_timeout_is_in_milliseconds():
    assert read_timeout(headers(("X-Request-Timeout-Ms", "300"))) == 0.3
    assert read_timeout(headers()) is None


@pytest.mark.parametrize(
    "given",
    [
        "0",
        "-1",
        "1.5",
        "soon",
        "",
        "600001",
        "9" * 50,
        "000000600999",
        "²",
        "1".rjust(9, "0") + "0" * 400,
        "0" * 5000,
    ],
)
def test_a_malformed_timeout_is_refused(given):
    with pytest.raises(Refused, match="X-Request-Timeout-Ms"):
        read_timeout(headers(("X-Request-Timeout-Ms", given)))


@pytest.mark.parametrize(
    ("line", "lenient"),
    [
        ("handling=lenient", True),
        ('respond-async, Handling = "lenient"; x=1', True),
        ('foo="a\\", b;", handling=lenient', True),
        ("foo;x=1, handling=lenient", True),
        ("handling=strict", False),
        ("", False),
        ('foo="a, handling=lenient"', False),
        ('foo="a\\", handling=lenient"', False),
        ('foo="a, handling=lenient', False),
        ("foo;handling=lenient", False),
    ],
)
def test_leniency_is_a_preference(line, lenient):
    assert wants_leniency(headers(("Prefer", line))) is lenient


@pytest.mark.parametrize(
    ("first", "second", "lenient"),
    [
        ("handling=strict", "handling=lenient", False),
        ("handling", "handling=lenient", False),
        ("handling=lenient", "handling=strict", True),
    ],
)
def test_the_first_handling_counts_on_one_line_or_two(first, second, lenient):
    assert wants_leniency(headers(("Prefer", f"{first}, {second}"))) is lenient
    assert wants_leniency(headers(("Prefer", first), ("Prefer", second))) is lenient


@pytest.mark.parametrize(
    "pair",
    [
        ("X-Gateway-Token", "two"),
        ("Authorization", "Bearer one"),
        ("authorization", "bearer  two"),
    ],
)
def test_a_caller_with_a_valid_token_is_admitted(pair):
    CallerCheck(["one", "two"])(headers(pair))


@pytest.mark.parametrize(
    "pairs",
    [
        (),
        (("X-Gateway-Token", "three"),),
        (("X-Gateway-Token", ""),),
        (("Authorization", "Basic one"),),
        (("Authorization", "one"),),
        (("X-Gateway-Token", "\udcff"),),
    ],
)
def test_an_unknown_caller_is_refused(pairs):
    with pytest.raises(Refused) as refused:
        CallerCheck(["one", "two"])(headers(*pairs))
    assert refused.value.status == 401
    assert "WWW-Authenticate" in refused.value.headers


def test_every_caller_token_is_compared_in_constant_time_even_after_a_match(monkeypatch):
    compared = []

    def compare(given, known):
        compared.append((given, known))
        return given == known

    monkeypatch.setattr("gateway.web.headers.hmac.compare_digest", compare)
    CallerCheck(["first", "second", "third"])(headers(("X-Gateway-Token", "first")))
    assert compared == [(b"first", b"first"), (b"first", b"second"), (b"first", b"third")]


def test_without_caller_tokens_every_caller_is_admitted():
    CallerCheck([])(headers())
