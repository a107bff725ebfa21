"""Checks of one setting against another."""

import pytest

from gateway.settings import load


def test_a_public_address_needs_caller_tokens_or_an_explicit_setting(faults):
    fault = faults({"GATEWAY_SERVER__HOST": "0.0.0.0"})["server.host"]
    assert fault.source == "environment GATEWAY_SERVER__HOST"
    assert "server.caller_tokens" in fault.accepted
    assert "server.allow_unauthenticated" in fault.accepted


@pytest.mark.parametrize(
    "more",
    [
        {"GATEWAY_SERVER__CALLER_TOKENS": "one"},
        {"GATEWAY_SERVER__ALLOW_UNAUTHENTICATED": "true"},
        {"GATEWAY_SERVER__UNIX_SOCKET": "/run/api.sock"},
        {"GATEWAY_SERVER__HOST": "::1"},
        {"GATEWAY_SERVER__HOST": "localhost"},
        {"GATEWAY_SERVER__HOST": "127.9.9.9"},
        {"GATEWAY_SERVER__HOST": "::ffff:127.0.0.1"},
    ],
)
def test_an_address_is_accepted_if_callers_authenticate_or_are_local_or_it_is_intended(required, more):
    load(None, {**required, "GATEWAY_SERVER__HOST": "0.0.0.0", **more})


def test_a_public_address_is_reported_beside_other_faults(faults):
    found = faults(
        {"GATEWAY_SERVER__HOST": "example.com", "GATEWAY_SERVER__PORT": "x", "GATEWAY_LOG__LEVEL": "x"}
    )
    assert found.keys() == {"server.host", "server.port", "log.level"}


def test_a_check_of_two_settings_is_skipped_if_one_is_invalid(faults):
    found = faults({"GATEWAY_SERVER__HOST": "0.0.0.0", "GATEWAY_SERVER__CALLER_TOKENS": "with blank"})
    assert found.keys() == {"server.caller_tokens"}


def test_a_client_certificate_and_its_key_need_each_other(faults, tls):
    redis = {"GATEWAY_CACHE__REDIS_URL": "rediss://redis"}
    assert faults({**redis, "GATEWAY_CACHE__REDIS_CERT_FILE": tls.cert}).keys() == {"cache.redis_key_file"}
    assert faults({**redis, "GATEWAY_CACHE__REDIS_KEY_FILE": tls.key}).keys() == {"cache.redis_cert_file"}


def test_a_key_that_does_not_match_the_certificate_is_a_fault(faults, tls):
    environ = {
        "GATEWAY_CACHE__REDIS_URL": "rediss://redis",
        "GATEWAY_CACHE__REDIS_CERT_FILE": tls.cert,
        "GATEWAY_CACHE__REDIS_KEY_FILE": tls.other_key,
    }
    assert faults(environ).keys() == {"cache.redis_key_file"}


def test_a_file_without_ca_certificates_is_a_fault(faults, toml):
    environ = {"GATEWAY_CACHE__REDIS_URL": "rediss://redis", "GATEWAY_CACHE__REDIS_CA_FILE": str(toml(""))}
    assert "no PEM certificate" in faults(environ)["cache.redis_ca_file"].problem


def test_tls_files_need_a_redis_url_with_tls(faults, tls):
    for url in ("redis://redis", "redis+cluster://a:1,b:2"):
        found = faults({"GATEWAY_CACHE__REDIS_URL": url, "GATEWAY_CACHE__REDIS_CA_FILE": tls.ca})
        assert "rediss://" in found["cache.redis_ca_file"].accepted


@pytest.mark.parametrize(
    "url", ["rediss://redis", "redis+cluster://a:1,b:2?ssl=true", "redis+sentinel://a:1/main?ssl=true"]
)
def test_tls_files_are_accepted_with_every_url_that_uses_tls(required, tls, url):
    files = {"CA_FILE": tls.ca, "CERT_FILE": tls.cert, "KEY_FILE": tls.key}
    environ = {f"GATEWAY_CACHE__REDIS_{name}": path for name, path in files.items()}
    cache = load(None, {**required, **environ, "GATEWAY_CACHE__REDIS_URL": url}).cache
    assert str(cache.redis_key_file) == tls.key


def test_the_local_tier_can_be_off_only_if_redis_is_set(required, faults):
    off = {"GATEWAY_CACHE__LOCAL_MAX_ENTRIES": "0"}
    assert faults(off).keys() == {"cache.local_max_entries"}
    load(None, {**required, **off, "GATEWAY_CACHE__REDIS_URL": "redis://redis"})


@pytest.mark.parametrize(
    ("server", "ops"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("localhost", "127.0.0.1"),
        ("::1", "localhost"),
        ("::1", "::"),
        ("127.0.0.1", "::"),
        ("Gateway.example.com", "gateway.example.com"),
    ],
)
def test_both_listeners_on_one_address_and_port_are_a_fault_that_names_both(faults, server, ops):
    environ = {
        "GATEWAY_SERVER__HOST": server,
        "GATEWAY_SERVER__ALLOW_UNAUTHENTICATED": "true",
        "GATEWAY_SERVER__PORT": "8081",
        "GATEWAY_OPS__HOST": ops,
        "GATEWAY_LOG__LEVEL": "x",
    }
    found = faults(environ)
    assert found.keys() == {"ops.port", "log.level"}
    assert found["ops.port"].source == "default"
    assert found["ops.port"].problem.startswith("server.port is 8081 too")


@pytest.mark.parametrize(
    "differ",
    [
        {"GATEWAY_SERVER__PORT": "0", "GATEWAY_OPS__PORT": "0"},
        {"GATEWAY_SERVER__UNIX_SOCKET": "/run/api.sock"},
        {"GATEWAY_OPS__HOST": "127.0.0.2"},
        {"GATEWAY_OPS__HOST": "::1"},
        {"GATEWAY_SERVER__HOST": "::1", "GATEWAY_OPS__HOST": "0.0.0.0"},
        {"GATEWAY_OPS__HOST": "gateway.example.com"},
    ],
)
def test_one_port_is_accepted_where_the_listeners_share_no_address(required, differ):
    load(None, {**required, "GATEWAY_SERVER__PORT": "8081", **differ})


def test_the_ports_are_not_compared_while_a_section_is_invalid(faults):
    found = faults({"GATEWAY_SERVER__PORT": "8081", "GATEWAY_SERVER__MAX_IDS": "x"})
    assert found.keys() == {"server.max_ids"}


@pytest.mark.parametrize(
    "text", ["[ops]\ntoken = ''", "[ops]\ntoken = ' '", "[server]\ncaller_tokens = ['']"]
)
def test_an_empty_token_is_called_empty(faults, text):
    [fault] = faults({}, text).values()
    assert fault.problem == "it is empty"
