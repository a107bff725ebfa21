import sys

import pytest

from gateway.settings import SETTINGS


@pytest.mark.usefixtures("credentials")
def test_every_setting_is_shown_with_its_value_and_source(run, tmp_path):
    path = tmp_path / "gateway.toml"
    path.write_text("[server]\nport = 9000\n")
    lines = [line.split("\t") for line in run("config", "--config", str(path)).out.splitlines()]
    assert [line[0] for line in lines] == [setting.name for setting in SETTINGS]
    assert ["server.port", "9000", f"file {path}"] in lines
    assert ["apple.private_key", "******", "environment GATEWAY_APPLE__PRIVATE_KEY"] in lines


@pytest.mark.usefixtures("credentials")
def test_a_terminal_shows_a_table(run, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    shown = run("config").out
    assert "setting" in shown.splitlines()[1]
    assert "\t" not in shown
    assert "127.0.0.1" in shown


@pytest.mark.parametrize("command", ["config", "check", "token"])
def test_a_bad_configuration_is_78_with_every_fault_on_stderr_and_nothing_on_stdout(
    run, monkeypatch, command
):
    monkeypatch.setenv("GATEWAY_SERVER__PROT", "hunter2")
    ran = run(command)
    assert (ran.status, ran.out) == (78, "")
    assert "The configuration has 4 faults:" in ran.err
    assert "environment GATEWAY_SERVER__PROT" in ran.err
    assert "did you mean GATEWAY_SERVER__PORT?" in ran.err
    assert [
        name for name in ("apple.team_id", "apple.key_id", "apple.private_key") if name not in ran.err
    ] == []
    assert "hunter2" not in ran.err


@pytest.mark.usefixtures("credentials")
def test_a_single_fault_is_counted_as_one(run, monkeypatch):
    monkeypatch.setenv("GATEWAY_SERVER__PORT", "x")
    assert "has 1 fault:" in run("config").err
