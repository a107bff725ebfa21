"""Values that each setting accepts, and how values are displayed."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from pydantic import SecretStr

from gateway.settings import SETTINGS, load
from gateway.settings.values import mask_url

GOOD = {
    "server.host": ["0.0.0.0", "::", "::1", "localhost", "gateway.example.com"],
    "server.port": ["0", "65535"],
    "server.unix_socket": ["api.sock", "/run/" + "x" * 102],
    "server.allow_unauthenticated": ["true", "false", "1", "0"],
    "server.drain_delay_seconds": ["0", "0.5"],
    "apple.base_url": [
        "https://example.com:8443/base",
        "http://127.0.0.1:99",
        "http://localhost",
        "http://[::1]:9",
    ],
    "apple.team_id": ["ABCDE12345"],
    "apple.token_lifetime_seconds": ["1", "15552000"],
    "apple.origin": ["https://example.com", "http://example.com:8080"],
    "apple.proxy_url": ["http://proxy:3128", "https://user:word@proxy.example.com:443/"],
    "upstream.top_up": ["true", "false"],
    "upstream.breaker_error_rate": ["0.01", "1"],
    "cache.redis_url": [
        "redis://host",
        "redis://host:6379/0",
        "redis://:word@host",
        "rediss://user:word@[::1]:6379/15",
        "unix:///run/redis.sock?db=1",
        "unix://user:word@/run/redis.sock",
        "redis+cluster://a:1,b:2,c",
        "redis+cluster://user:p%2Fw@a:1,b:2",
        "redis+sentinel://a:1,b:2/main",
        "redis+sentinel://user:word@a/main/3",
    ],
    "cache.jitter": ["0", "1"],
    "cache.visibility_fraction": ["0", "1"],
    "cache.namespace": ["a", "team-a.ratings_2"],
    "log.level": ["debug", "WARNING"],
    "log.format": ["json", "console"],
    "log.sample_hits": ["0", "0.25"],
}

BAD = {
    "server.host": ["http://x", "host:80", "a b", "-x"],
    "server.port": ["-1", "65536", "http", "1.5"],
    "server.caller_tokens": ["with blank", "ümlaut"],
    "server.allow_unauthenticated": ["maybe"],
    "server.unix_socket": ["/", "/run/" + "x" * 103],
    "server.max_ids": ["0", "ten"],
    "server.request_timeout_seconds": ["0", "-1", "nan", "inf"],
    "apple.base_url": [
        "https://a b",
        "example.com",
        "http://example.com",
        "ftp://example.com",
        "https://",
        "https://me:word@example.com",
        "https://example.com?x=1",
        "https://example.com:port",
        "http://[::1",
    ],
    "apple.team_id": ["abcde12345", "ABCDE1234", "ABCDE123456", "ABCDE-2345"],
    "apple.token_lifetime_seconds": ["0", "15552001"],
    "apple.origin": ["example.com", "https://example.com/path"],
    "apple.proxy_url": [
        "proxy:3128",
        "socks5://proxy:1080",
        "http://proxy",
        "http://proxy:port",
        "http://proxy:3128/path",
    ],
    "upstream.top_up": ["sometimes"],
    "upstream.breaker_error_rate": ["0", "1.1"],
    "cache.redis_url": [
        "host:6379",
        "http://host",
        "redis://",
        "redis://a:1,b:2",
        "redis://host:65536",
        "redis://host/name",
        "unix://host/run/redis.sock",
        "unix://",
        "redis+cluster://a:1/0",
        "redis+cluster://a:1,,b:2",
        "redis+sentinel://a:1",
        "redis+sentinel://a:1/",
    ],
    "cache.redis_ca_file": ["/nowhere", "/"],
    "cache.jitter": ["-0.1", "1.01"],
    "cache.visibility_fraction": ["1.01"],
    "cache.namespace": ["a:b", "{a}", "x" * 65],
    "log.level": ["loud"],
    "log.format": ["xml"],
}


def cases(table):
    return [(name, value) for name, texts in table.items() for value in texts]


def variable(name):
    return "GATEWAY_" + name.replace(".", "__").upper()


@pytest.mark.parametrize(("name", "text"), cases(GOOD))
def test_a_valid_value_is_accepted(required, name, text):
    open_to_all = {"GATEWAY_SERVER__ALLOW_UNAUTHENTICATED": "true"}
    settings = load(None, {**required, **open_to_all, variable(name): text})
    assert settings.sources[name] == f"environment {variable(name)}"


@pytest.mark.parametrize(("name", "text"), cases(BAD))
def test_an_invalid_value_is_refused(faults, name, text):
    assert faults({variable(name): text}).keys() == {name}


def test_empty_text_in_the_file_is_a_fault(faults):
    empty = [setting.name for setting in SETTINGS if setting.name != "server.caller_tokens"]
    lines = [f"{section}.{key} = ''" for section, key in (name.split(".") for name in empty)]
    assert faults({}, "\n".join(line for line in lines if not line.startswith("apple."))).keys() == {
        name for name in empty if not name.startswith("apple.")
    }


def test_a_boolean_in_the_file_is_not_a_number(faults):
    assert faults({}, "[server]\nport = true").keys() == {"server.port"}


def test_every_setting_says_in_words_what_it_accepts():
    assert [setting.name for setting in SETTINGS if len(setting.accepted) < len("true or false")] == []


def test_numbers_flags_and_choices_say_their_bounds():
    words = {setting.name: setting.accepted for setting in SETTINGS}
    assert words["server.request_timeout_seconds"] == "a number, above 0, at most 3600"
    assert words["server.allow_unauthenticated"] == "true or false"
    assert words["log.format"] == "one of auto, json, console"


def pem_of(key, protection=None):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection or NoEncryption()).decode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hunter2", "not a private key as PEM text"),
        (
            "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
            "the private key is damaged",
        ),
        (pem_of(ec.generate_private_key(ec.SECP384R1())), "not a P-256 private key"),
        (pem_of(rsa.generate_private_key(65537, 1024)), "not a P-256 private key"),
        (pem_of(ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"x")), "encrypted"),
    ],
    ids=["text", "damaged", "P-384", "RSA", "encrypted"],
)
def test_the_signing_key_must_be_an_unencrypted_p256_key(faults, text, said):
    fault = faults({"GATEWAY_APPLE__PRIVATE_KEY": text})["apple.private_key"]
    assert said in fault.problem
    assert "EC P-256" in fault.accepted


@pytest.mark.parametrize(
    "stored",
    [
        lambda pem: pem.replace("\n", "\\n"),
        lambda pem: pem.replace("\n", "\\r\\n"),
        lambda pem: f"\ufeff{pem}",
        lambda pem: f'"{pem}"',
        lambda pem: f"Bag Attributes\n    friendlyName: key\n{pem}",
        lambda pem: base64.b64encode(pem.encode()).decode(),
        lambda pem: "".join(pem.splitlines()[1:-1]),
    ],
    ids=[
        "newlines as text",
        "CRLF as text",
        "byte order mark",
        "quotes",
        "bag attributes",
        "base64",
        "body only",
    ],
)
def test_a_key_is_read_in_the_shapes_that_secret_stores_give_it(required, pem, stored):
    settings = load(None, {**required, "GATEWAY_APPLE__PRIVATE_KEY": stored(pem)})
    assert settings.apple.private_key.get_secret_value() == pem


@pytest.mark.parametrize("name", ["apple.team_id", "ops.token", "server.caller_tokens", "cache.redis_url"])
def test_blanks_around_a_secret_or_identifier_are_removed(required, name):
    value = {"cache.redis_url": "redis://redis:6379"}.get(name, "TEAM123456")
    settings = load(None, {**required, variable(name): f" {value}\r\n"})
    section, key = name.split(".")
    found = getattr(getattr(settings, section), key)
    found = found[0] if isinstance(found, tuple) else found
    assert (found.get_secret_value() if isinstance(found, SecretStr) else found) == value


def test_the_upstream_address_loses_its_last_slash(required):
    assert (
        load(None, {**required, "GATEWAY_APPLE__BASE_URL": "https://x.example/"}).apple.base_url
        == "https://x.example"
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:1/0", "redis://host:1/0"),
        ("redis://hunter2@host", "redis://******@host"),
        ("redis://me:hunter2@host", "redis://******@host"),
        ("redis://me:hun@ter2@host", "redis://******@host"),
        (
            "unix://me:hunter2@/run/r.sock?db=3&password=hunter2",
            "unix://******@/run/r.sock?db=******&password=******",
        ),
        ("redis://me:hun/ter2@host", "redis://******@host"),
    ],
)
def test_credentials_in_the_address_of_redis_are_masked(url, shown):
    assert mask_url(url) == shown


def test_every_option_of_a_redis_url_is_among_what_is_accepted():
    [accepted] = [setting.accepted for setting in SETTINGS if setting.name == "cache.redis_url"]
    assert [
        word for word in ("ssl=true", "sentinel_username", "sentinel_password") if word not in accepted
    ] == []
