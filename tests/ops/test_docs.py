"""The API reference shows what the document says."""

import re

import pytest

from gateway.ops.docs import render
from gateway.ops.openapi import document
from tests.ops.html import Document

SOURCE = document()
PAGE = Document(render(SOURCE))
OPERATIONS = [
    operation
    for item in SOURCE["paths"].values()
    for operation in item.values()
    if isinstance(operation, dict)
]


def flat(text):
    return re.sub(r"\s+", " ", re.sub(r"[`*]|\]\([^)]*\)|\[", "", text))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation["operationId"])
def test_every_operation_is_shown_with_its_examples(operation):
    assert operation["operationId"] in PAGE.values("id")
    assert f"#{operation['operationId']}" in PAGE.values("href")
    for sample in operation["x-codeSamples"]:
        assert sample["source"] in PAGE.text


@pytest.mark.parametrize("kind", ["parameters", "headers", "responses", "securitySchemes"])
def test_all_that_operations_share_is_explained(kind):
    for name, part in SOURCE["components"][kind].items():
        if name != "opsToken":
            assert flat(part["description"]) in flat(PAGE.text)


def test_every_object_is_shown_where_links_lead():
    for name in SOURCE["components"]["schemas"]:
        assert f"object-{name}" in PAGE.values("id")


def test_required_headers_are_told_from_optional_ones():
    assert "Headers: Music-User-Token (required), X-Gateway-Token, Authorization, Cache-Control" in PAGE.text


def test_an_operation_without_credentials_asks_for_none():
    ready = PAGE.text[PAGE.text.index("GET /readyz") :]
    assert "Headers:" not in ready[: ready.index("GET /metrics")]


def test_the_vocabulary_of_cache_status_is_on_the_page():
    for word in ("fwd=bypass", "fwd=method", "fwd=stale", "fwd=request", "fwd=partial", "fwd=miss", "hit"):
        assert re.search(rf"^{word}$|{word}\n", PAGE.text, re.MULTILINE)


def test_what_a_header_may_be_is_shown():
    assert "X-Request-Timeout-Mswhole number, 1 to 600,000" in PAGE.text
