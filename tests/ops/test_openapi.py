"""The OpenAPI document: valid, complete, and consistent with the code."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator
from openapi_spec_validator import validate
from prometheus_client import CollectorRegistry

from gateway.errors import GatewayError
from gateway.model import Kind
from gateway.ops.access import OpsAccess
from gateway.ops.openapi import document
from gateway.ops.pages import Pages
from gateway.ops.server import Ops
from gateway.ratings.query import CacheOutcome
from gateway.web.target import METHODS

ROOT = Path(__file__).parents[2]
DOCUMENT = document()
COMPONENTS = DOCUMENT["components"]
SCHEMAS = COMPONENTS["schemas"]
ID_PATTERN = SCHEMAS["Id"]["pattern"]
ID_PATTERNS = {
    Kind(name): ids["items"]["pattern"]
    for name, ids in SCHEMAS["SeveralRequest"]["properties"]["ids"]["properties"].items()
}
METHOD_NAMES = ("get", "put", "post", "delete")
OPERATIONS = {
    f"{method} {path}": operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method in METHOD_NAMES
}


def resolved(part):
    if "$ref" not in part:
        return part
    _, _, kind, name = part["$ref"].split("/")
    return COMPONENTS[kind][name]


def validator(schema):
    return Draft202012Validator({**schema, "components": COMPONENTS})


def test_it_is_a_valid_openapi_document():
    validate(DOCUMENT)


def test_it_has_the_routes_of_the_api_listener():
    described = {
        path: {method.upper() for method in METHOD_NAMES if method in item}
        for path, item in DOCUMENT["paths"].items()
        if path.startswith("/v1/")
    }
    assert {path: set(methods) for path, methods in METHODS.items()} == described


def test_it_has_every_route_of_the_ops_listener():
    access = OpsAccess(token=None)
    pages = Pages(access=access, snapshot=None, urls=tuple, explain=None)  # type: ignore[arg-type]
    ops = Ops(
        access=access,
        checks=None,  # type: ignore[arg-type]
        started=bool,
        purge=None,  # type: ignore[arg-type]
        pages=pages,
        registry=CollectorRegistry(),
    )
    routes = {f"{route.method.lower()} {route.path}" for route in ops.routes(None)}  # type: ignore[arg-type]
    assert routes == {name for name in OPERATIONS if "/v1/" not in name}


@pytest.mark.parametrize(
    ("method", "status", "name"),
    [
        ("put", "201", "Cache-Status"),
        ("delete", "202", "Cache-Status"),
        ("put", "502", "Cache-Status"),
        ("get", "404", "Cache-Status"),
        ("get", "404", "Preference-Applied"),
    ],
)
def test_other_answers_of_apple_are_described_with_their_headers(method, status, name):
    responses = OPERATIONS[f"{method} /v1/me/ratings/{{type}}/{{id}}"]["responses"]
    assert name in resolved(responses.get(status) or responses["2XX"])["headers"]


def test_the_urls_are_those_of_the_gateway_that_serves_it():
    shown = document("http://api.example:1", "http://ops.example:2")
    assert shown["servers"][0]["url"] == "http://api.example:1"
    assert shown["paths"]["/status"]["servers"][0]["url"] == "http://ops.example:2"
    assert "127.0.0.1" not in str(shown["paths"])


def test_commands_for_a_unix_socket_use_curls_option():
    shown = document("unix:///run/gate way/api.sock")
    assert shown["servers"][0]["url"] == "http://localhost"
    source = shown["paths"]["/v1/me/ratings/{type}/{id}"]["get"]["x-codeSamples"][0]["source"]
    assert source.startswith("curl --unix-socket '/run/gate way/api.sock' -i -H 'Music-User-Token: ")
    assert source.endswith("\n  'http://localhost/v1/me/ratings/albums/1138988512'")


def test_the_types_are_those_of_the_contract():
    assert COMPONENTS["schemas"]["Type"]["enum"] == list(Kind)
    assert len(Kind) == 9


@given(st.sampled_from(Kind), st.data())
def test_the_pattern_of_ids_is_that_of_the_code(kind, data):
    forms = [*ID_PATTERNS.values(), r"[a-z0-9._-]{0,6}"]
    text = data.draw(st.from_regex(data.draw(st.sampled_from(forms)), fullmatch=True))
    # JSON Schema's `$` is the end of the text, Python's may stand before a last newline.
    pattern = ID_PATTERNS[kind].replace("$", r"\Z")
    assert (re.search(pattern, text) is not None) == kind.admits(text)


def test_the_pattern_of_any_id_accepts_ids_of_every_type():
    for pattern in ID_PATTERNS.values():
        prefix = re.match(r"\^([a-z]*)", pattern)
        assert prefix
        text = f"{prefix[1]}.x" if prefix[1] else "1"
        assert re.search(ID_PATTERN, text)
    assert not re.search(ID_PATTERN, "x.1")


def test_every_operation_has_a_unique_name_and_an_example():
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(names) == len(set(names))
    assert all(operation["x-codeSamples"] for operation in OPERATIONS.values())


def test_every_status_of_the_gateway_is_documented():
    made = {str(error.status) for error in _tree(GatewayError)} | {
        "400",
        "401",
        "403",
        "404",
        "405",
        "414",
        "421",
        "429",
    }
    for name, operation in OPERATIONS.items():
        if "/v1/" in name:
            assert made <= operation["responses"].keys()


def test_every_answer_of_the_cache_is_described():
    pattern = COMPONENTS["headers"]["Cache-Status"]["schema"]["pattern"]
    guide = DOCUMENT["info"]["description"]
    for forward in CacheOutcome:
        word = "hit" if forward is CacheOutcome.HIT else f"fwd={forward}"
        assert re.search(pattern, f"ratings-gateway; {word}")
        assert f"| `{word}` |" in guide


@pytest.mark.parametrize("name", COMPONENTS["responses"])
def test_examples_of_answers_match_their_schema(name):
    response = COMPONENTS["responses"][name]
    for content in response.get("content", {}).values():
        examples = [each["value"] for each in content.get("examples", {}).values()]
        examples += [content["example"]] if "example" in content else []
        assert examples
        for example in examples:
            validator(content["schema"]).validate(example)


@pytest.mark.parametrize(
    "name", [name for name, schema in COMPONENTS["schemas"].items() if "examples" in schema]
)
def test_examples_of_objects_match_their_schema(name):
    schema = COMPONENTS["schemas"][name]
    for example in schema["examples"]:
        validator(schema).validate(example)


@pytest.mark.parametrize("name", COMPONENTS["parameters"])
def test_examples_of_parameters_match_their_schema(name):
    parameter = COMPONENTS["parameters"][name]
    assert parameter["description"]
    if "example" in parameter:
        validator(parameter["schema"]).validate(parameter["example"])


@pytest.mark.parametrize("name", COMPONENTS["headers"])
def test_examples_of_headers_match_their_schema(name):
    header = COMPONENTS["headers"][name]
    validator(header["schema"]).validate(header["example"])


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_reference_of_an_operation_resolves(name):
    operation = OPERATIONS[name]
    for part in [*operation.get("parameters", ()), *operation["responses"].values()]:
        assert resolved(part)
    for choice in operation.get("security", DOCUMENT["security"]):
        assert choice.keys() <= COMPONENTS["securitySchemes"].keys()


def _tree(error):
    return [error, *(below for child in error.__subclasses__() for below in _tree(child))]


def test_docs_openapi_json_is_current():
    assert json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8")) == DOCUMENT


@pytest.mark.parametrize(
    ("body", "is_relayed"),
    [
        ({"errors": [{"title": "Forbidden", "unknown": 1}], "more": {}}, True),
        ({"errors": []}, False),
        ({"message": "Forbidden"}, False),
    ],
)
def test_a_relayed_error_is_an_envelope(body, is_relayed):
    assert validator({"$ref": "#/components/schemas/RelayedError"}).is_valid(body) == is_relayed
