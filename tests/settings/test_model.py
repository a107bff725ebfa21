"""Settings as one frozen value, and the list of them."""

import pytest
from pydantic import SecretStr, ValidationError

from gateway.settings import SETTINGS, load

BY_NAME = {setting.name: setting for setting in SETTINGS}


def test_a_setting_has_the_name_and_variable_of_its_section_and_key():
    setting = BY_NAME["cache.redis_url"]
    assert (setting.section, setting.key) == ("cache", "redis_url")
    assert setting.variable == "GATEWAY_CACHE__REDIS_URL"


def test_secrets_are_those_of_the_contract():
    assert {setting.name for setting in SETTINGS if setting.is_secret} == {
        "server.caller_tokens",
        "ops.token",
        "apple.private_key",
        "apple.proxy_url",
        "cache.redis_url",
    }


def test_only_numbers_choices_and_booleans_are_plain():
    plain = [
        name
        for name in ("server.port", "cache.jitter", "log.level", "upstream.top_up", "ops.host", "ops.token")
        if BY_NAME[name].is_plain
    ]
    assert plain == ["server.port", "cache.jitter", "log.level", "upstream.top_up"]


def test_no_secret_is_plain():
    assert [setting.name for setting in SETTINGS if setting.is_secret and setting.is_plain] == []


def test_masked_settings_are_all_settings_in_order(required):
    assert list(load(None, required).masked()) == list(BY_NAME)


def test_settings_cannot_be_changed(required):
    settings = load(None, required)
    with pytest.raises(ValidationError, match="frozen"):
        settings.server.port = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        settings.log = settings.log  # type: ignore[misc]


def test_no_display_of_settings_contains_a_secret(required, pem):
    secrets = {
        "GATEWAY_SERVER__CALLER_TOKENS": "hunter2a,hunter2b",
        "GATEWAY_OPS__TOKEN": "hunter2",
        "GATEWAY_CACHE__REDIS_URL": "redis://me:hunter2@host:6379",
        "GATEWAY_APPLE__PROXY_URL": "http://me:hunter2@proxy:3128",
    }
    settings = load(None, {**required, **secrets})
    shown = settings.masked()
    everything = repr(settings) + str(settings) + repr(shown) + repr(settings.sources)
    assert "hunter2" not in everything
    assert pem.splitlines()[1] not in everything
    assert shown["server.caller_tokens"] == "******,******"
    assert shown["cache.redis_url"] == "redis://******@host:6379"
    assert shown["apple.proxy_url"] == "http://******@proxy:3128"


def test_masked_settings_are_shown_as_in_the_file(required):
    shown = load(None, {**required, "GATEWAY_UPSTREAM__CALL_TIMEOUT_SECONDS": "2.50"}).masked()
    assert [shown[name] for name in ("upstream.call_timeout_seconds", "server.port", "ops.token")] == [
        "2.5",
        "8080",
        "-",
    ]
    assert shown["server.allow_unauthenticated"] == "false"
    assert isinstance(load(None, required).apple.private_key, SecretStr)
