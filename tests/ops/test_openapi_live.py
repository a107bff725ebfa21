"""The OpenAPI document against a running gateway: a property-based client finds no contradiction."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema_rs import Draft202012Validator
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection

from gateway.model import Kind
from gateway.ops.openapi import document
from gateway.sandbox import ADA, Sandbox
from gateway.server import serving
from gateway.settings import load
from tests.e2e.harness import environment


@contextmanager
def running() -> Iterator[str]:
    """A gateway on a sandbox, in a thread of its own, because the client blocks. Its API's URL."""
    loop = asyncio.new_event_loop()
    listening = threading.Event()
    stop = asyncio.Event()
    urls: list[str] = []

    async def serve() -> None:
        async with Sandbox() as sandbox, serving(load(None, environment(sandbox))) as served:
            urls.append(served.api_url)
            listening.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert listening.wait(10)
    yield urls[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    loop.close()


@pytest.fixture(scope="module")
def api_url() -> Iterator[str]:
    with running() as url:
        yield url


def api_document() -> dict[str, Any]:
    """The ratings routes, and no catch-all: every status must be documented by its number.

    Favorites are relayed whole, so what is valid there is Apple's business.
    """
    whole = document()
    whole["paths"] = {
        path: item for path, item in whole["paths"].items() if path.startswith("/v1/me/ratings")
    }
    for item in whole["paths"].values():
        for operation in item.values():
            if isinstance(operation, dict):
                del operation["responses"]["default"]
    return whole


CONFIG = schemathesis.Config.from_dict(
    {
        "generation": {"mode": "all", "max-examples": 40, "allow-extra-parameters": False},
        "checks": {
            # A deadline of some milliseconds is over before Apple has answered.
            "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "504"]},
            "positive_data_acceptance": {"expected-statuses": ["2xx", "404", "504"]},
        },
    }
)
schema = schemathesis.openapi.from_dict(api_document(), config=CONFIG)


@schema.parametrize()
# Derandomized: the client rarely takes a valid request, such as one with `include=false`, for an invalid one.
@settings(derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_contradicts_the_document(case: "Case[Any]", api_url: str) -> None:
    if case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE:
        fit_ids_to_type(case.path_parameters, case.query)
    case.call_and_validate(
        base_url=api_url, headers={"Music-User-Token": ADA}, excluded_checks=list(beside_the_point(case))
    )


def fit_ids_to_type(path: dict[str, Any], query: dict[str, Any]) -> None:
    """Make the type one that the first id can be of, and drop ids of others: OpenAPI cannot express that."""
    if "id" not in path and "ids" not in query:
        return
    ids = [path["id"]] if "id" in path else pieces_of(query["ids"])
    kind = next(kind for kind in (Kind(path["type"]), *Kind) if kind.admits(ids[0]))
    path["type"] = kind.value
    if "ids" in query:
        query["ids"] = ",".join(id_ for id_ in ids if kind.admits(id_))


def beside_the_point(case: "Case[Any]") -> Iterator[Any]:
    """Checks that contradict the descriptions, which say more than the schema."""
    if {"Prefer", "X-Request-Timeout-Ms"} & case.headers.keys():
        # Leniency makes a 200 even of a refused user, and a short deadline a 504.
        yield ignored_auth
    lenient = "handling=lenient" in str(case.headers.get("Prefer", ""))
    if is_body_tolerated(case.body, lenient=lenient) or are_ids_tolerated(
        case.path_parameters, case.query, lenient=lenient
    ):
        yield negative_data_rejection


def is_body_tolerated(body: Any, *, lenient: bool) -> bool:
    """Whether nothing is wrong with it but blanks around ids, empty pieces and, if lenient, invalid ids."""
    if not isinstance(body, dict) or not isinstance(body.get("ids"), dict):
        return False
    kept = {}
    for kind, ids in body["ids"].items():
        named = ids
        if isinstance(ids, list):
            stripped = [id_.strip() if isinstance(id_, str) else id_ for id_ in ids]
            named = [id_ for id_ in stripped if id_ != "" and not (lenient and is_invalid(kind, id_))]
        if named != []:
            kept[kind] = named
    return SEVERAL.is_valid({**body, "ids": kept})


def is_invalid(kind: str, id_: Any) -> bool:
    return kind in set(Kind) and isinstance(id_, str) and not Kind(kind).admits(id_)


def are_ids_tolerated(path: dict[str, Any], query: dict[str, Any], *, lenient: bool) -> bool:
    """The same of the parameter."""
    if "ids" not in query or path.get("type") not in set(Kind):
        return False
    named = [id_ for piece in pieces_of(query["ids"]) if (id_ := piece.strip())]
    return bool(named) and (lenient or all(Kind(path["type"]).admits(id_) for id_ in named))


def pieces_of(ids: Any) -> list[str]:
    return ids.split(",") if isinstance(ids, str) else [str(id_) for id_ in ids]


SEVERAL = Draft202012Validator(
    {"$ref": "#/components/schemas/SeveralRequest", "components": document()["components"]}
)
