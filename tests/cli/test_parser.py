"""The command line: help, suggestions, wrong usage, and the import of the command that was given."""

import gc
import sys
from argparse import ArgumentTypeError
from types import SimpleNamespace

import pytest

from gateway import __version__
from gateway.cli.parser import COMMANDS, kind, parse, port
from gateway.model import Kind


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_examples(run, command):
    ran = run(command, "--help")
    assert ran.status == 0
    assert f"ratings-gateway {command}" in ran.out.partition("examples:")[2]


def test_commands_are_those_of_the_contract():
    assert set(COMMANDS) == {
        "serve", "demo", "sandbox", "check", "config", "token",
        "warm", "purge", "probe", "healthcheck", "openapi",
    }  # fmt: skip


def test_help_lists_every_command_with_its_summary(run):
    listed = run("--help").out
    assert [name for name, summary in COMMANDS.items() if f"\n  {name:<12} {summary}\n" not in listed] == []


def test_version_prints_the_version(run):
    assert run("--version").out == f"ratings-gateway {__version__}\n"


def test_a_command_is_parsed_with_its_own_arguments():
    parsed = parse(["healthcheck", "--ops-url", "http://127.0.0.1:1"])
    assert (parsed.name, parsed.arguments.ops_url) == ("healthcheck", "http://127.0.0.1:1")


def test_arguments_default_to_those_of_the_process(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ratings-gateway", "openapi"])
    assert parse(None).name == "openapi"


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
def test_wrong_usage_repeats_no_word_that_may_be_a_token(run, argv):
    ran = run(*argv)
    assert ran.status == 2
    assert "hunter2" not in ran.err + ran.out


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("nonsense",),
        ("check", "--nonsense"),
        ("check", "nonsense"),
        ("check", "--conn"),
        ("sandbox", "--port", "65536"),
        ("purge", "--type", "films"),
    ],
)
def test_wrong_usage_is_2_with_the_usage_on_stderr(run, argv):
    ran = run(*argv)
    assert (ran.status, ran.out) == (2, "")
    assert "usage:" in ran.err


def test_only_the_module_of_the_given_command_is_imported(monkeypatch):
    others = [f"gateway.cli.{name}" for name in COMMANDS if name != "openapi"]
    for module in others:
        monkeypatch.setitem(sys.modules, module, None)
    given = SimpleNamespace(run=None, DESCRIPTION="", EXAMPLES="", arguments=lambda _: None)
    monkeypatch.setitem(sys.modules, "gateway.cli.openapi", given)
    assert parse(["openapi"]).run is None
    with pytest.raises(ImportError):
        parse(["serve"])


def test_garbage_is_collected_again_after_a_failed_import(monkeypatch):
    monkeypatch.setitem(sys.modules, "gateway.cli.openapi", None)
    with pytest.raises(ImportError):
        parse(["openapi"])
    assert gc.isenabled()


def test_a_type_is_one_of_the_contract():
    assert kind("library-songs") is Kind.LIBRARY_SONGS
    with pytest.raises(ArgumentTypeError, match="one of albums, songs"):
        kind("x")


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("65535", 65_535)])
def test_a_port_is_a_number_up_to_65535(text, number):
    assert port(text) == number


@pytest.mark.parametrize("text", ["-1", "65536", "http", "", "\u0661"])
def test_no_other_text_is_a_port(text):
    with pytest.raises(ArgumentTypeError, match="not a port"):
        port(text)
