import pytest

from gateway.cache.redis.url import Address, RedisUrl, parse_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("redis://h", RedisUrl(scheme="redis", addresses=(Address("h", 6379),))),
        ("redis://h:1/", RedisUrl(scheme="redis", addresses=(Address("h", 1),))),
        ("redis://h:1/2", RedisUrl(scheme="redis", addresses=(Address("h", 1),), db=2)),
        ("redis://h?db=3", RedisUrl(scheme="redis", addresses=(Address("h", 6379),), db=3)),
        (
            "redis://ada:p%40ss@h",
            RedisUrl(scheme="redis", addresses=(Address("h", 6379),), username="ada", password="p@ss"),
        ),
        ("redis://:pw@[::1]:7", RedisUrl(scheme="redis", addresses=(Address("::1", 7),), password="pw")),
        ("rediss://h", RedisUrl(scheme="rediss", addresses=(Address("h", 6379),), ssl=True)),
        ("unix:///run/r.sock?db=1", RedisUrl(scheme="unix", path="/run/r.sock", db=1)),
        ("unix:///run/redis@1/r.sock", RedisUrl(scheme="unix", path="/run/redis@1/r.sock")),
        ("unix://:pw@/run/r.sock", RedisUrl(scheme="unix", path="/run/r.sock", password="pw")),
        (
            "redis+cluster://u:p@a:1,b:2,c?ssl=true",
            RedisUrl(
                scheme="redis+cluster",
                addresses=(Address("a", 1), Address("b", 2), Address("c", 6379)),
                username="u",
                password="p",
                ssl=True,
            ),
        ),
        (
            "redis+sentinel://:p@a,b:2/main/4?sentinel_username=s&sentinel_password=q&ssl=false",
            RedisUrl(
                scheme="redis+sentinel",
                addresses=(Address("a", 26379), Address("b", 2)),
                service="main",
                db=4,
                password="p",
                sentinel_username="s",
                sentinel_password="q",
            ),
        ),
        (
            "redis+sentinel://a/main",
            RedisUrl(scheme="redis+sentinel", addresses=(Address("a", 26379),), service="main"),
        ),
    ],
)
def test_every_form_is_taken_apart(text: str, url: RedisUrl) -> None:
    assert parse_url(text) == url


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("http://h", "redis://"),
        ("h:6379", "redis://"),
        ("", "redis://"),
        ("redis://", "host"),
        ("redis://h:99999", "65535"),
        ("redis://h:port", "port"),
        ("redis://a,b", "redis+cluster://"),
        ("redis://h/one", "database"),
        ("redis://h?db=-1", "database"),
        ("redis://h?ssl_cert_reqs=none", "accepts db"),
        ("rediss://h?ssl=false", "accepts db"),
        ("unix://host/run/r.sock", "path"),
        ("unix://", "path"),
        ("redis+cluster://a/1", "no databases"),
        ("redis+cluster://a,,b", "host"),
        ("redis+cluster://a?ssl=yes", "true or false"),
        ("redis+sentinel://a", "master's name"),
        ("redis+sentinel://a/main/x", "database"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("+", r"\+")):
        parse_url(text)


def test_no_secret_is_repeated() -> None:
    for text in (
        "redis://u:s3cret?x@h",
        "http://u:s3cret@h",
        "redis://u:s3cret@h:99999",
        "redis://u:s3cret@a,b",
        "redis://u:x[s3cret]@h",
        "redis://u:s3cret\N{FULLWIDTH NUMBER SIGN}@h",
    ):
        with pytest.raises(ValueError) as caught:
            parse_url(text)
        assert "s3cret" not in str(caught.value)
        assert "x@h" not in str(caught.value)
    assert "s3cret" not in repr(parse_url("redis://u:s3cret@h"))
    assert repr(parse_url("unix:///run/r.sock")) == "RedisUrl(unix:///run/r.sock)"


@pytest.mark.parametrize(
    "text",
    ["redis://u:99#s3cret@h", "redis+sentinel://u:99/s3cret@h", "unix:///run/r.sock#", "redis://u:9/1@h"],
)
def test_a_part_of_a_password_is_not_read_as_a_port(text: str) -> None:
    with pytest.raises(ValueError, match="# as %23") as caught:
        parse_url(text)
    assert "s3cret" not in str(caught.value)
