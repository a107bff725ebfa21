"""The commands of the API reference, run unchanged in a shell against a gateway on a sandbox."""

import asyncio
import shutil

import pytest

from gateway.ops.openapi import document
from gateway.sandbox import Sandbox
from tests.e2e.harness import gateway_on

pytestmark = pytest.mark.needs("curl")

SAMPLES = [
    (operation["operationId"], number)
    for item in document()["paths"].values()
    for operation in item.values()
    if isinstance(operation, dict)
    for number in range(len(operation["x-codeSamples"]))
]
ANSWERS = {
    ("readRating", 1): (404, '"code":"40400"'),
    ("unrate", 0): (204, "fwd=method"),
    ("rate", 0): (200, '"value":1'),
    ("readRatings", 3): (200, "albums 475655712 (en-GB)"),
    ("readSeveralTypes", 0): (200, "/v1/me/ratings/songs/900000001"),
    ("addFavorites", 0): (202, "fwd=method"),
    ("removeFavorites", 0): (202, "fwd=method"),
    ("explain", 0): (200, '"source"'),
    ("purge", 0): (200, '{"purged": true}'),
    ("reload", 0): (200, '{"reloaded": true}'),
    ("status", 0): (200, '"findings":'),
    ("ready", 0): (200, "developer token"),
    ("metrics", 0): (200, "gateway_build_info"),
    ("explainByForm", 0): (200, "Where the answer"),
    ("statusByForm", 0): (200, "<html"),
    ("live", 0): (200, "ok"),
    ("started", 0): (200, "ok"),
    ("document", 0): (200, '"openapi": "3.1.0"'),
    ("docs", 0): (200, "<html"),
    ("index", 0): (200, "<html"),
    ("runbook", 0): (200, "<html"),
}


async def shell(command: str) -> str:
    ran = await asyncio.create_subprocess_exec(
        shutil.which("sh") or "sh",
        "-c",
        command.replace("curl ", r"curl --silent --noproxy '*' --write-out '\n%{http_code}' ", 1),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await ran.communicate()
    assert ran.returncode == 0
    return out.decode()


@pytest.mark.parametrize(("operation_id", "number"), SAMPLES)
async def test_each_sample_command_is_answered_as_documented(operation_id, number):
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        described = document(caller.served.api_url, caller.served.ops_url)
        operation = next(
            operation
            for item in described["paths"].values()
            for operation in item.values()
            if isinstance(operation, dict) and operation["operationId"] == operation_id
        )
        source = operation["x-codeSamples"][number]["source"]
        answer = await shell(source)
        status, contains = ANSWERS.get((operation_id, number), (200, '"id":"1138988512"'))
        assert answer.endswith(f"\n{status}")
        assert contains in answer


async def test_the_first_command_shows_a_miss_and_then_a_hit():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        item = document(caller.served.api_url)["paths"]["/v1/me/ratings/{type}"]
        source = item["get"]["x-codeSamples"][0]["source"]
        assert "ratings-gateway; fwd=miss; stored" in await shell(source)
        assert "ratings-gateway; hit; ttl=" in await shell(source)
