"""`main`: exit statuses, streams, and the modules that it does not import."""

import gc
import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway import __main__, __version__, cli
from gateway.cli.console import CommandFailed, WrongUsage, say

ROOT = Path(__file__).parents[2]


@pytest.fixture
def command_that(monkeypatch):
    """Replace what `openapi` does."""

    def becomes(run):
        command = SimpleNamespace(run=run, DESCRIPTION="", EXAMPLES="", arguments=lambda _: None)
        monkeypatch.setitem(sys.modules, "gateway.cli.openapi", command)

    return becomes


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (CommandFailed("no luck"), 1, "ratings-gateway openapi: no luck\n"),
        (WrongUsage("no sense"), 2, "ratings-gateway openapi: no sense\n"),
        (KeyboardInterrupt(), 1, "interrupted\n"),
    ],
)
def test_a_failure_has_an_exit_status_and_one_line_on_stderr(run, command_that, error, status, message):
    def fail(_):
        raise error

    command_that(fail)
    assert run("openapi") == (status, "", message)


def test_garbage_is_collected_while_a_command_runs(run, command_that):
    command_that(lambda _: 0 if gc.isenabled() else 1)
    assert run("openapi").status == 0


def test_a_closed_pipe_ends_the_command_without_a_traceback(command_that, monkeypatch, tmp_path):
    def write_into_closed_pipe(_):
        raise BrokenPipeError

    command_that(write_into_closed_pipe)
    with (tmp_path / "stdout").open("w") as stdout, (tmp_path / "stderr").open("w") as stderr:
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(sys, "stderr", stderr)
        assert cli.main(["openapi"]) == 1
        os.write(stdout.fileno(), b"lost")
        os.write(stderr.fileno(), b"lost")
    assert (tmp_path / "stdout").read_text() == ""
    assert (tmp_path / "stderr").read_text() == ""


@pytest.mark.parametrize("command", ["openapi", "config", "sandbox", "demo"])
@pytest.mark.usefixtures("credentials")
def test_results_that_a_full_disk_does_not_take_are_one_line_on_stderr(command):
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "gateway", command],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    reason = f"ratings-gateway {command}: the output cannot be written: No space left on device\n"
    assert (ran.returncode, ran.stderr.decode()) == (1, reason)


def test_results_that_are_lost_after_a_failure_are_one_line_on_stderr(command_that, monkeypatch, capsys):
    def fail(_):
        say("half a result")
        raise CommandFailed("no luck")

    command_that(fail)
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert cli.main(["openapi"]) == 1
    assert capsys.readouterr().err == (
        "ratings-gateway openapi: no luck\n"
        "ratings-gateway openapi: the output cannot be written: No space left on device\n"
    )


@pytest.mark.parametrize("argv", [("openapi",), ("sandbox",)])
def test_a_pipe_without_a_reader_ends_the_command_quietly(argv):
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run(
        [sys.executable, "-m", "gateway", *argv],
        cwd=ROOT,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (1, b"")


def run_without(streams: str, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the streams closed that a shell's redirections name."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, "-m", "gateway", command],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


@pytest.mark.parametrize("command", ["openapi", "config", "token"])
@pytest.mark.usefixtures("credentials")
def test_results_without_a_stdout_are_one_line_on_stderr(command):
    ran = run_without(">&-", command)
    reason = f"ratings-gateway {command}: the output cannot be written: Bad file descriptor\n"
    assert (ran.returncode, ran.stderr) == (1, reason)


def test_without_any_stream_only_the_status_says_that_a_command_failed():
    ran = run_without("<&- >&- 2>&-", "config")
    assert (ran.returncode, ran.stdout, ran.stderr) == (78, "", "")


def test_the_console_script_runs_what_python_m_does():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["scripts"]["ratings-gateway"].partition(":")
    assert getattr(import_module(module), name) is __main__.main


def python(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *argv], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("argv", [("warm", "--help"), ("openapi",)])
def test_characters_that_the_locale_lacks_are_escaped(monkeypatch, argv):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    ran = python("-m", "gateway", *argv)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "\\u2026" in ran.stdout


def test_it_runs_as_a_module():
    assert python("-m", "gateway", "--version").stdout == f"ratings-gateway {__version__}\n"


def test_healthcheck_imports_no_library_that_it_does_not_need():
    heavy = (
        "{'aiohttp', 'cryptography', 'jwt', 'prometheus_client', 'pydantic', 'redis', 'rich', 'structlog'}"
    )
    code = (
        "import sys; from gateway.cli import main; "
        "assert main(['healthcheck', '--ops-url', 'http://127.0.0.1:1']) == 1; "
        f"sys.exit(' '.join({heavy} & set(sys.modules)))"
    )
    assert python("-c", code).stderr.splitlines()[1:] == [""]
