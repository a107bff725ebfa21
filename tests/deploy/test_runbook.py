"""The runbook: a section per alert, each with what it means, where to look and what to do."""

import re
import subprocess

import pytest

from gateway.cli.parser import parse
from gateway.model import User
from gateway.sandbox import ADA
from tests.deploy.files import RUNBOOK, alerts, panels

TEXT = RUNBOOK.read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"(?ms)^## (RatingsGateway\w+)\n(.*?)(?=^## |\Z)", TEXT))
COMMANDS = re.findall(r"ratings-gateway (check|config|token|purge|warm)\b([^`|'\n]*)", TEXT)


def test_alerts_and_sections_are_the_same():
    assert list(SECTIONS) == [alert["alert"] for alert in alerts()]


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_says_what_it_means_where_to_look_and_what_to_do(name):
    assert re.findall(r"(?m)^\*\*(.+?)\.\*\*", SECTIONS[name]) == ["Means", "Look at", "Do"]


def test_panels_that_are_referred_to_exist():
    titles = {panel["title"] for panel in panels()}
    assert set(re.findall(r"(?<!\*)\*([A-Z][^*\n]+)\*(?!\*)", TEXT)) <= titles


def test_links_within_the_runbook_lead_somewhere():
    assert set(re.findall(r"\]\(#(\w+)\)", TEXT)) <= {name.lower() for name in SECTIONS}


@pytest.mark.parametrize("words", sorted({f"{name}{options}".strip() for name, options in COMMANDS}))
def test_its_commands_exist(words):
    command, *options = words.split()
    given = [option for option in options if option.startswith(("-", "/"))]
    missing = ["--ids", "ids.txt"] if command == "warm" else []
    assert parse([command, *given, *missing]).name == command


def test_a_user_is_found_by_the_digest_in_the_log():
    (command,) = re.findall(r"^(printf .*cut -c1-8)$", TEXT, re.MULTILINE)
    done = subprocess.run(["sh", "-c", command], env={"TOKEN": ADA}, capture_output=True, check=True)
    assert done.stdout.decode().strip() == User.of(ADA).label
