"""Every page: its structure for screen readers and keyboards, and that it loads nothing and stays small."""

import re
from itertools import pairwise
from typing import Any

import pytest

from gateway.ops.explain_page import answer_page, fault_page, form, question_page
from gateway.ops.pages import reference_page, runbook_page
from gateway.ops.status.render import render
from tests.ops import samples
from tests.ops.html import Document

EXPLAINED: dict[str, Any] = {
    "type": "albums",
    "id": "1138988512",
    "user": "7ef99c3f",
    "source": "upstream",
    "why": "Nothing usable is cached.",
    "entry": None,
    "local": {
        "rating": None,
        "age_seconds": 400.0,
        "fresh_for_seconds": -100.0,
        "state": "if_error",
        "trusted": False,
    },
    "stale": None,
    "hold": None,
    "in_flight": True,
    "quarantined": True,
    "isolated": [],
    "top_up": True,
}
PAGES = {
    "status, healthy": render(samples.healthy()),
    "status, without Apple": render(samples.without_apple()),
    "status, without Redis": render(samples.without_redis()),
    "status, expired token": render(samples.with_expired_token()),
    "status, just started": render(samples.just_started()),
    "reference": reference_page("http://127.0.0.1:8080", "http://127.0.0.1:8081"),
    "runbook": runbook_page(),
    "explained": answer_page(EXPLAINED, asks_ops_token=True),
    "question": question_page(form(asks_ops_token=True)),
    "fault": fault_page("id must be a valid id of type albums.", form(asks_ops_token=False)),
}


@pytest.fixture(params=list(PAGES.values()), ids=list(PAGES))
def page(request):
    return Document(request.param)


def test_it_has_a_language_a_title_and_fits_a_phone(page):
    assert page.source.startswith("<!DOCTYPE html>\n")
    assert page.all("html")[0].attributes["lang"] == "en"
    assert page.all("title")
    assert "width=device-width, initial-scale=1" in page.values("content")


def test_it_has_one_header_one_main_part_and_named_navigation(page):
    assert [len(page.all(tag)) for tag in ("header", "main")] == [1, 1]
    names = [nav.attributes["aria-label"] for nav in page.all("nav")]
    assert names[0] == "Pages"
    assert len(names) == len(set(names))


def test_headings_skip_no_level(page):
    levels = [int(heading.tag[1]) for heading in page.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_ids_are_unique_and_references_resolve(page):
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    targets = {href[1:] for href in page.values("href") if href.startswith("#")}
    assert targets | set(page.values("aria-labelledby")) <= set(ids)


def test_every_field_has_a_label_and_every_form_a_button(page):
    for field in page.all("input", "select", "meter"):
        assert "label" in field.path or field.attributes.get("aria-label")
    assert len(page.all("form")) == len(page.all("button"))


def test_every_table_has_a_caption_and_every_picture_a_label(page):
    assert len(page.all("caption")) == len(page.all("table"))
    for picture in page.all("svg"):
        assert picture.attributes.get("aria-hidden") == "true" or picture.attributes.get("aria-label")


def test_scrolling_parts_are_reachable_by_keyboard(page):
    for element in page.elements:
        if element.tag == "pre" or element.attributes.get("class", "") == "scrolls":
            assert element.attributes["tabindex"] == "0"


def test_it_runs_no_script_and_loads_nothing(page):
    assert not page.all("script", "img", "iframe", "object", "embed", "base")
    assert not [name for element in page.elements for name in element.attributes if name.startswith("on")]
    assert page.values("src") == []
    assert page.values("style") == []
    assert [link.attributes["href"] for link in page.all("link")] == ["data:,"]
    assert all(href.startswith(("/", "#", "data:,", "https://")) for href in page.values("href"))
    assert not re.search(r"url\(|@import", page.source)


def test_it_is_smaller_than_120_kb(page):
    assert len(page.source) < 120_000
