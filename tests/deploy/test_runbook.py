"""The runbook: a section per alert, each with what it means, where to look and what to do."""

import re

import pytest

from tests.deploy.files import RUNBOOK, alerts, panels

SECTIONS = dict(re.findall(r"(?ms)^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK.read_text()))


def test_alerts_and_sections_are_the_same():
    assert list(SECTIONS) == [alert["alert"] for alert in alerts()]


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_says_what_it_means_where_to_look_and_what_to_do(name):
    assert re.findall(r"(?m)^\*\*(.+?)\.\*\*", SECTIONS[name]) == ["Means", "Look at", "Do"]


def test_panels_that_are_referred_to_exist():
    titles = {panel["title"] for panel in panels()}
    assert set(re.findall(r"(?<!\*)\*([A-Z][^*\n]+)\*(?!\*)", RUNBOOK.read_text())) <= titles


def test_links_within_the_runbook_lead_somewhere():
    assert set(re.findall(r"\]\(#(\w+)\)", RUNBOOK.read_text())) <= {name.lower() for name in SECTIONS}
