"""The command line as a whole: help, exit statuses, streams, and what is not imported."""

import gc
import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway import __version__, cli
from gateway.cli.console import CommandFailed, WrongUsage, coloured

ROOT = Path(__file__).parents[2]
COMMANDS = [
    "serve", "demo", "sandbox", "check", "config", "token",
    "warm", "purge", "probe", "healthcheck", "openapi",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(run, command):
    ran = run(command, "--help")
    assert ran.status == 0
    assert f"ratings-gateway {command}" in ran.out.partition("examples:")[2]


def test_help_lists_every_command(run):
    listed = run("--help").out
    assert [command for command in COMMANDS if f"\n  {command} " not in listed] == []


@pytest.mark.parametrize(
    ("argv", "suggestion"),
    [
        (("serv",), "no such command; did you mean serve?"),
        (("healtcheck",), "did you mean healthcheck?"),
        (("check", "--conect"), "unrecognized option --conect; did you mean --connect?"),
        (("purge", "--type", "album"), "unknown type; did you mean albums?"),
    ],
)
def test_a_misspelt_word_suggests_the_nearest(run, argv, suggestion):
    assert suggestion in run(*argv).err


@pytest.mark.parametrize("argv", [("hunter2",), ("--token=hunter2",), ("warm", "--token=hunter2")])
def test_wrong_usage_repeats_nothing_that_may_be_a_token(run, argv):
    ran = run(*argv)
    assert ran.status == 2
    assert "hunter2" not in ran.err + ran.out


def test_the_version_is_told(run):
    assert run("--version").out == f"ratings-gateway {__version__}\n"


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("nonsense",),
        ("check", "--nonsense"),
        ("sandbox", "--port", "65536"),
        ("purge", "--type", "films"),
    ],
)
def test_wrong_usage_is_2_and_said_on_stderr(run, argv):
    ran = run(*argv)
    assert (ran.status, ran.out) == (2, "")
    assert "usage:" in ran.err


@pytest.fixture
def command_that(monkeypatch):
    """Makes `openapi` do this instead."""

    def becomes(run):
        command = SimpleNamespace(run=run, DESCRIPTION="", EXAMPLES="", arguments=lambda _: None)
        monkeypatch.setitem(sys.modules, "gateway.cli.openapi", command)

    return becomes


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (CommandFailed("no luck"), 1, "ratings-gateway openapi: no luck\n"),
        (WrongUsage("no sense"), 2, "ratings-gateway openapi: no sense\n"),
        (KeyboardInterrupt(), 1, "interrupted\n"),
    ],
)
def test_giving_up_has_a_status_and_one_line_on_stderr(run, command_that, error, status, said):
    def give_up(_):
        raise error

    command_that(give_up)
    assert run("openapi") == (status, "", said)


def test_the_collector_works_while_a_command_runs(run, command_that):
    command_that(lambda _: 0 if gc.isenabled() else 1)
    assert run("openapi").status == 0


def test_the_collector_is_on_again_after_an_import_that_fails(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "gateway.cli.openapi", None)
    with pytest.raises(ImportError):
        run("openapi")
    assert gc.isenabled()


def test_a_reader_that_went_away_is_no_traceback(command_that, monkeypatch, tmp_path):
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


def test_the_console_script_is_this_main():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["scripts"]["ratings-gateway"].partition(":")
    assert getattr(import_module(module), name) is cli.main


@pytest.mark.parametrize(
    ("terminal", "no_color", "expected"),
    [(True, "", True), (True, "1", False), (False, "", False)],
)
def test_colours_are_for_terminals_whose_owner_wants_them(monkeypatch, terminal, no_color, expected):
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: terminal))
    monkeypatch.setenv("NO_COLOR", no_color)
    assert coloured() is expected


def python(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *argv], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("argv", [("warm", "--help"), ("openapi",)])
def test_a_locale_without_its_letters_is_no_traceback(monkeypatch, argv):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    ran = python("-m", "gateway", *argv)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "\\u2026" in ran.stdout


def test_it_runs_as_a_module():
    assert python("-m", "gateway", "--version").stdout == f"ratings-gateway {__version__}\n"


def test_neither_the_parser_nor_healthcheck_imports_what_only_others_need():
    heavy = (
        "{'aiohttp', 'cryptography', 'jwt', 'prometheus_client', 'pydantic', 'redis', 'rich', 'structlog'}"
    )
    code = (
        "import sys; from gateway.cli import main; "
        "assert main(['healthcheck', '--ops-url', 'http://127.0.0.1:1']) == 1; "
        f"sys.exit(' '.join({heavy} & set(sys.modules)))"
    )
    assert python("-c", code).stderr.splitlines()[1:] == [""]
