"""The API reference in Markdown and as a page shows what the OpenAPI document says."""

import re
from pathlib import Path

import pytest

from gateway.ops.markdown import anchor
from gateway.ops.openapi import document
from gateway.ops.pages import reference_page
from gateway.ops.reference import reference
from tests.ops.html import Document

ROOT = Path(__file__).parents[2]
SOURCE = document()
TEXT = reference(SOURCE)
PAGE = Document(reference_page("http://127.0.0.1:8080", "http://127.0.0.1:8081"))
OPERATIONS = [
    operation
    for item in SOURCE["paths"].values()
    for operation in item.values()
    if isinstance(operation, dict)
]


def flat(text):
    return re.sub(r"\s+", " ", re.sub(r"[`*]|\]\([^)]*\)|\[", "", text))


def section(heading):
    return TEXT.partition(f"\n### {heading}\n")[2].partition("\n### ")[0]


def test_docs_api_md_is_current():
    assert (ROOT / "docs" / "api.md").read_text(encoding="utf-8") == TEXT


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation["operationId"])
def test_every_operation_is_on_the_page_with_its_examples_and_in_the_sidebar(operation):
    id_ = anchor(operation["summary"])
    assert id_ in PAGE.values("id")
    sidebar = [link.attributes["href"] for link in PAGE.all("a") if "nav" in link.path]
    assert f"#{id_}" in sidebar
    for sample in operation["x-codeSamples"]:
        assert sample["source"] in PAGE.text


@pytest.mark.parametrize("kind", ["parameters", "headers", "securitySchemes"])
def test_parts_that_operations_share_are_described(kind):
    for name, part in SOURCE["components"][kind].items():
        if name != "opsToken":
            assert flat(part["description"]) in flat(PAGE.text)


def test_every_error_code_of_the_gateway_is_in_the_table_of_errors():
    table = TEXT.partition("## Errors")[2].partition("\n## ")[0]
    for code in (
        40003, 40005, 40006, 40008, 40100, 40300, 40301, 40400, 40401, 40402, 40500,
        41300, 41400, 42100, 42900, 43100, 50200, 50300, 50400,
    ):  # fmt: skip
        assert f"`{code}`" in table


def test_fields_of_a_body_are_shown_where_it_is_used():
    many = section("Read ratings of many ids of one type")
    assert "| `data[].attributes.value` | `1`, `-1` | 1 is a like, -1 a dislike. |" in many
    assert "| `errors[].meta.id` |" in many
    assert "| `ids.library-albums` |" in section("Read ratings of many ids of several types")
    assert "| `attributes.value` |" in section("Like or dislike")


def test_required_headers_are_marked():
    assert "`Music-User-Token` (required), `X-Gateway-Token`, `Authorization`, `Cache-Control`" in TEXT


def test_an_operation_without_credentials_requires_no_headers():
    assert "Headers" not in section("Readiness probe")


def test_bounds_of_a_header_are_shown():
    assert "| `X-Request-Timeout-Ms` | integer, 1 to 600,000 |" in TEXT


def test_a_bar_in_a_cell_does_not_end_it():
    pattern = SOURCE["components"]["headers"]["Cache-Status"]["schema"]["pattern"]
    assert "|" in pattern
    for row in re.findall(r"^\| .* \|$", TEXT, re.MULTILINE):
        assert len(re.split(r"(?<!\\)\|", row)) >= 4
