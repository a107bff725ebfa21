"""The pages of a running gateway: they show its traffic and failures, and no secret."""

import pytest

from gateway.sandbox import ADA, REVOKED, CannedReply, Fault, Sandbox
from tests.e2e.harness import gateway_on
from tests.ops.html import Document

OPS_TOKEN = "a-secret-ops-token"
CALLER_TOKEN = "a-secret-caller-token"
PASSWORD = "a-secret-redis-password"
BEARER = {"Authorization": f"Bearer {OPS_TOKEN}"}
PAGES = [
    "/status",
    "/status?format=json",
    "/docs",
    "/openapi.json",
    "/runbook",
    "/metrics",
    "/readyz?verbose",
]


async def get(caller, path, **headers):
    async with caller.session.get(caller.served.ops_url + path, headers=headers) as response:
        return response.status, await response.text()


async def status_of(caller):
    async with caller.session.get(f"{caller.served.ops_url}/status?format=json") as response:
        return await response.json()


async def test_requests_and_calls_are_counted():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        for _ in range(4):
            await caller.get("albums", ["1138988512", "475655712"])
        status = await status_of(caller)
        assert status["traffic"]["by_status"] == {"200": 4}
        assert status["cached_ratio"] == 0.75
        assert status["upstream"]["by_status"] == {"200": 1}
        assert status["local"]["entries"] == 2
        assert status["redis"] is None
        assert status["findings"] == []
        assert status["process"]["api_url"] == caller.served.api_url


async def test_a_failed_read_is_listed_with_a_command_to_repeat_it():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        await caller.get("songs", ["7", "8"], user=REVOKED, headers={"X-Request-Id": "player-1"})
        (error,) = (await status_of(caller))["recent_errors"]
        assert (error["request_id"], error["status"], error["code"]) == ("player-1", 403, "40300")
        assert error["again"] == "/v1/me/ratings/songs?ids=7,8"


async def test_a_failed_write_is_listed_with_a_command_to_read():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        await caller.rate("songs", "7", 1, user=REVOKED)
        await caller.rate("songs", "7", 5)
        refused, failed = (await status_of(caller))["recent_errors"]
        assert (failed["method"], failed["status"], failed["again"]) == (
            "PUT",
            403,
            "/v1/me/ratings/songs?ids=7",
        )
        assert refused["detail"] == "Invalid Request Body: /attributes/value"


async def test_failing_calls_to_apple_are_the_first_finding():
    async with Sandbox() as sandbox, gateway_on(sandbox, upstream__breaker_min_calls=2) as caller:
        sandbox.faults.arm(Fault(CannedReply(500)))
        for id_ in range(3):
            await caller.get("albums", [id_])
        text = Document((await get(caller, "/status"))[1]).text
        what = text.index(
            "Calls to Apple are stopped for 0 s, except for probes, because too many failed (500: 2)"
        )
        assert text.index("What is wrong") < what < text.index("Now")


@pytest.mark.parametrize("path", PAGES)
async def test_no_page_contains_a_secret(path):
    async with Sandbox() as sandbox:
        redis_url = f"redis://user:{PASSWORD}@127.0.0.1:1/0"
        settings = {
            "ops__token": OPS_TOKEN, "server__caller_tokens": CALLER_TOKEN, "cache__redis_url": redis_url,
        }  # fmt: skip
        async with gateway_on(sandbox, **settings) as caller:
            trusted = {"X-Gateway-Token": CALLER_TOKEN}
            await caller.get("albums", ["1"], headers=trusted)
            await caller.get("albums", [ADA], headers=trusted)
            await caller.ask("GET", f"/v1/{ADA}", headers=trusted)
            await caller.ask("GET", "/v1/me/ratings/albums?ids=1", headers=trusted, user=REVOKED)
            status, text = await get(caller, path, **BEARER)
            assert status == 200
            for secret in (
                OPS_TOKEN,
                CALLER_TOKEN,
                PASSWORD,
                REVOKED,
                sandbox.credentials.private_key_pem[40:80],
            ):
                assert secret not in text
            assert ADA not in text or path in ("/docs", "/openapi.json")
