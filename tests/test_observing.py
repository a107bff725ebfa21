"""Checks and status of running gateways, with Redis and without."""

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.apple.developer_token import SigningKey
from gateway.ops.server import Reloaded
from gateway.sandbox import CannedReply, Credentials, Sandbox
from tests.e2e.harness import Caller, gateway_on
from tests.redis_server import RedisServer
from tests.waiting import until


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def status_of(caller: Caller, **headers: str) -> dict[str, Any]:
    url = f"{caller.served.ops_url}/status?format=json"
    async with caller.session.get(url, headers=headers) as response:
        return dict(await response.json())


async def test_readiness_lists_the_checks_with_their_details():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        ready = await caller.ask("GET", "/readyz?verbose")
        assert ready.status == 200
        assert b"[+] accepting: yes" in ready.body
        assert b"[+] developer token: valid until" in ready.body


async def test_readiness_reports_a_refused_developer_token_and_stays_ready():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        before = await caller.ask("GET", "/readyz?verbose")
        sandbox.tokens.distrust(sandbox.credentials.key_id)
        await caller.get("albums", [1])
        refused = await caller.ask("GET", "/readyz?verbose")
        assert b"developer token accepted: not refused" in before.body
        assert refused.status == 200
        assert b"developer token accepted: refused by Apple (401)" in refused.body


async def test_a_draining_gateway_is_alive_but_not_ready():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        caller.served.gateway.api.draining = True
        ready = await caller.ask("GET", "/readyz?verbose")
        assert ready.status == 503
        assert b"[-] accepting: draining" in ready.body
        assert (await caller.ask("GET", "/livez")).status == 200


async def test_after_a_rotation_the_key_in_use_is_shown():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        pem = Credentials.generate().private_key_pem
        key = SigningKey.parse(
            team_id="TEAM123456", key_id="NEWKEYID01", private_key=pem, lifetime_seconds=900
        )
        caller.served.gateway.tokens.replace(key)
        token = (await status_of(caller))["token"]
        assert token["key_id"] == "NEWKEYID01"
        assert 0 < token["expires_in_seconds"] <= 900


async def test_a_failed_reload_is_a_finding_that_says_what_is_wrong_to_those_who_may_see_it():
    fault = "apple.private_key: not a P-256 private key"
    async with Sandbox() as sandbox, gateway_on(sandbox, ops__token="operator") as caller:
        caller.served.gateway.runtime.last_reload = Reloaded(fault=fault)
        seen = await status_of(caller, Authorization="Bearer operator")
        assert f"could not be read ({fault})" in seen["findings"][0]["what"]
        unseen = await status_of(caller)
        assert "could not be read. The old" in unseen["findings"][0]["what"]
        assert fault not in str(unseen)


async def test_settings_that_wait_for_a_restart_are_named():
    async with Sandbox() as sandbox, gateway_on(sandbox) as caller:
        caller.served.gateway.runtime.last_reload = Reloaded(not_applied=("server.port",))
        status = await status_of(caller)
        assert status["findings"][0]["what"] == "Changed settings wait for a restart: server.port."


async def test_figures_are_shown_with_their_bounds():
    async with Sandbox() as sandbox, gateway_on(sandbox, cache__local_max_entries=300) as caller:
        status = await status_of(caller)
        assert status["local"]["max_entries"] == 300
        assert (status["upstream"]["limit"], status["upstream"]["max_limit"]) == (64, 64)
        assert status["redis"] is None
        assert [check["name"] for check in status["process"]["checks"]] == [
            "accepting",
            "developer token",
            "developer token accepted",
            "apple",
        ]


@pytest.mark.redis_server
async def test_a_dead_redis_is_a_finding_with_its_cause(redis: RedisServer):
    async with Sandbox() as sandbox, gateway_on(sandbox, cache__redis_url=redis.url) as caller:
        link = caller.served.gateway.link
        assert link is not None
        await until(lambda: link.subscribed)
        status = await status_of(caller)
        assert status["findings"] == []
        assert (status["redis"]["answering"], status["redis"]["subscribed"]) == (True, True)
        assert [breaker["target"] for breaker in status["breakers"]] == ["apple", "redis"]
        redis.kill()
        await until(lambda: link.state.name == "OPEN")
        await caller.get("albums", ["1"])
        finding = (await status_of(caller))["findings"][0]
        assert finding["what"].startswith("Redis has not been usable for 0 s (")
        assert finding["runbook"] == "RatingsGatewayRedisErrors"


@pytest.mark.redis_server
async def test_why_redis_is_not_used_is_a_word_for_all_and_a_sentence_for_those_who_may_see_it(
    redis: RedisServer,
):
    url = f"redis://nobody:wrong@127.0.0.1:{redis.port}"
    async with (
        Sandbox() as sandbox,
        gateway_on(sandbox, cache__redis_url=url, ops__token="operator") as caller,
    ):
        await caller.get("albums", ["1"])
        operator = {"Authorization": "Bearer operator"}
        seen = await caller.ask("GET", "/readyz?verbose", headers=operator)
        assert b"[-] redis: circuit breaker open (denied: WRONGPASS invalid" in seen.body
        unseen = await caller.ask("GET", "/readyz?verbose")
        assert b"[-] redis: circuit breaker open (denied) (reported only)" in unseen.body
        finding = (await status_of(caller, **operator))["findings"][0]
        assert "Latest failure: denied: WRONGPASS invalid username-password pair" in finding["what"]
        assert "WRONGPASS" not in str(await status_of(caller))


async def test_readiness_says_why_calls_to_apple_are_stopped():
    guarded = {"upstream__attempts": 1, "upstream__breaker_min_calls": 4}
    async with Sandbox() as sandbox, gateway_on(sandbox, **guarded) as caller:
        sandbox.faults.add(CannedReply(500))
        for number in range(4):
            await caller.get("albums", [number + 1])
        ready = await caller.ask("GET", "/readyz?verbose")
        assert b"[-] apple: circuit breaker open (500: 4) (reported only)" in ready.body
