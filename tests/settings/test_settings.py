"""`load`: the precedence of both sources, where each value came from, and every fault at once."""

import traceback
from pathlib import Path

import pytest

from gateway.settings import SETTINGS, BadSettings, load


def test_only_three_apple_settings_are_required(required):
    settings = load(None, required)
    assert (settings.apple.team_id, settings.server.port, settings.cache.redis_url) == (
        "TEAM123456",
        8080,
        None,
    )


def test_the_file_is_read(required, toml):
    settings = load(toml('[server]\nport = 9000\n[cache]\nnamespace = "mine"\n'), required)
    assert (settings.server.port, settings.cache.namespace) == (9000, "mine")


def test_the_environment_overrides_the_file_setting_by_setting(required, toml):
    settings = load(
        toml("[server]\nport = 9000\nmax_ids = 7\n"), {**required, "GATEWAY_SERVER__PORT": "9001"}
    )
    assert (settings.server.port, settings.server.max_ids) == (9001, 7)


def test_the_file_may_be_named_by_the_environment(required, toml):
    path = toml("[server]\nport = 9000\n")
    assert load(None, {**required, "GATEWAY_CONFIG": str(path)}).server.port == 9000


def test_the_file_of_the_command_line_overrides_that_of_the_environment(required, toml):
    path = toml("[server]\nport = 9000\n")
    assert load(path, {**required, "GATEWAY_CONFIG": "/nowhere"}).server.port == 9000


def test_every_setting_has_a_source(required, toml):
    path = toml("[server]\nport = 9000\n")
    sources = load(path, required).sources
    assert sources.keys() == {setting.name for setting in SETTINGS}
    assert sources["server.port"] == f"file {path}"
    assert sources["apple.key_id"] == "environment GATEWAY_APPLE__KEY_ID"
    assert sources["log.level"] == "default"


def test_the_environment_of_the_process_is_ignored(required, monkeypatch):
    monkeypatch.setenv("GATEWAY_SERVER__PORT", "1")
    monkeypatch.setenv("SERVER", '{"port": 2}')
    assert load(None, required).server.port == 8080


def test_all_faults_of_both_sources_are_reported_in_the_order_of_the_settings(faults):
    found = faults(
        {"GATEWAY_CACHE__JITTER": "2", "GATEWAY_SERVER__PORT": "70000", "GATEWAY_APPLE__KEY_ID": "short"},
        '[log]\nlevel = "loud"\n[upstream]\nattempts = 0\n',
    )
    assert list(found) == ["server.port", "apple.key_id", "upstream.attempts", "cache.jitter", "log.level"]


def test_a_fault_names_the_setting_its_source_and_what_is_accepted(faults):
    assert str(faults({"GATEWAY_SERVER__PORT": "70000"})["server.port"]) == (
        "server.port (environment GATEWAY_SERVER__PORT): 70000 is not accepted; "
        "accepted: a whole number, at least 0, at most 65535"
    )


def test_missing_required_settings_are_named():
    with pytest.raises(BadSettings) as caught:
        load(None, {})
    assert [(fault.setting, fault.source) for fault in caught.value.faults] == [
        ("apple.team_id", "not set"),
        ("apple.key_id", "not set"),
        ("apple.private_key", "not set"),
    ]


def test_a_missing_file_is_a_fault_of_the_option_that_named_it(required):
    with pytest.raises(BadSettings) as caught:
        load(Path("/nowhere/gateway.toml"), required)
    [fault] = caught.value.faults
    assert (fault.setting, fault.source) == ("config", "option --config")
    assert "/nowhere/gateway.toml: No such file" in fault.problem


def test_a_missing_file_hides_no_other_fault(faults):
    found = faults({"GATEWAY_CONFIG": "/nowhere", "GATEWAY_SERVER__PORT": "x"})
    assert found["config"].source == "environment GATEWAY_CONFIG"
    assert "server.port" in found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[ops]\ntoken = "hunter2\n', "Illegal character '\\n' (at line 2"),
        ("[ops]\ntoken = hunter2", "Invalid value (at line 2"),
        ("[server]\nport = 1\nport = 2", "Cannot overwrite a value (at "),
        ("[server]\n[server]", "Cannot declare ('server',) twice"),
        ("[hunter2]\n[hunter2]", "Cannot declare ('…',) twice"),
    ],
)
def test_a_broken_file_is_described_by_the_parser_without_secrets(faults, text, reason):
    fault = faults({}, text)["config"]
    assert reason in fault.problem
    assert "hunter2" not in str(fault)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GATEWAY_SERVER__PORT", "http"),
        ("GATEWAY_SERVER__ALLOW_UNAUTHENTICATED", "perhaps"),
        ("GATEWAY_LOG__LEVEL", "loud"),
        ("GATEWAY_CACHE__JITTER", "1.5"),
    ],
)
def test_a_fault_repeats_the_value_of_a_number_choice_or_boolean(faults, variable, value):
    [fault] = faults({variable: value}).values()
    assert fault.problem == f"{value} is not accepted"


def test_a_missing_setting_names_the_variable_to_set():
    with pytest.raises(BadSettings) as caught:
        load(None, {})
    assert [fault.variable for fault in caught.value.faults] == [
        "GATEWAY_APPLE__TEAM_ID",
        "GATEWAY_APPLE__KEY_ID",
        "GATEWAY_APPLE__PRIVATE_KEY or GATEWAY_APPLE__PRIVATE_KEY_FILE",
    ]


def test_a_variable_with_a_single_underscore_is_ignored_with_a_warning(required):
    settings = load(None, {**required, "GATEWAY_SERVER_PORT": "9", "GATEWAY_OPS_TOKEN_FILE": "/x"})
    assert settings.server.port == 8080
    assert [warning.partition(" ")[0] for warning in settings.warnings] == [
        "GATEWAY_SERVER_PORT",
        "GATEWAY_OPS_TOKEN_FILE",
    ]
    assert "GATEWAY_SERVER__PORT" in settings.warnings[0]


def test_faults_are_reported_with_the_warnings_that_explain_them():
    with pytest.raises(BadSettings) as caught:
        load(None, {"GATEWAY_APPLE_TEAM_ID": "TEAM123456"})
    assert "GATEWAY_APPLE__TEAM_ID" in caught.value.warnings[0]


def test_a_file_in_another_encoding_is_a_fault(required, tmp_path):
    path = tmp_path / "gateway.toml"
    path.write_bytes(b"# \xff\n")
    with pytest.raises(BadSettings, match="not UTF-8"):
        load(path, required)


SECRETS = {
    "GATEWAY_SERVER__CALLER_TOKENS": "caller-hunter2,öther-hunter2",
    "GATEWAY_OPS__TOKEN": "ops hunter2",
    "GATEWAY_APPLE__PRIVATE_KEY": "key-hunter2",
    "GATEWAY_CACHE__REDIS_URL": "redis://me:hunter2@host:99999999",
    "GATEWAY_APPLE__BASE_URL": "https://me:hunter2@example.com",
    "GATEWAY_APPLE__TEAM_ID": "hunter2",
    "GATEWAY_CACHE__REDIS_URL_FILE": "redis://me:hunter2@host",
}


def test_no_fault_repeats_a_secret(required):
    with pytest.raises(BadSettings) as caught:
        load(None, {**required, **SECRETS})
    report = "".join(traceback.format_exception(caught.value)) + repr(caught.value.faults)
    assert len(caught.value.faults) >= len(SECRETS) - 1
    assert "hunter2" not in report
