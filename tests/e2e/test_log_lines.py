"""The canonical log lines of a running gateway."""

import json

import pytest

from gateway.sandbox import ADA, CannedReply
from tests.e2e.harness import ROOT, gateway_on
from tests.redis_server import RedisServer

ONE = "1138988512"


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    said = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    return [line for line in said if line["event"] == "request"]


async def test_the_line_of_a_failed_read_has_hits_and_calls(sandbox, capfd):
    async with gateway_on(sandbox, upstream__attempts=2) as caller:
        await caller.get("albums", [ONE])
        sandbox.faults.add(CannedReply(503))
        await caller.get("albums", [ONE, 5])
        await caller.one("albums", 5)
    _, many, one = lines(capfd)
    assert (many["status"], many["local"], many["upstream"], many["upstream_calls"]) == (503, 1, 0, 2)
    assert (one["status"], one["local"], one["upstream_calls"]) == (503, 0, 2)


async def test_the_line_of_a_relayed_request_has_its_calls(sandbox, capfd):
    async with gateway_on(sandbox, upstream__attempts=2) as caller:
        await caller.rate("albums", ONE, 1)
        await caller.unrate("albums", ONE)
        await caller.get("albums", [ONE], "&new=1")
        sandbox.faults.add(CannedReply(503))
        await caller.get("albums", [ONE], "&new=1")
        await caller.rate("albums", ONE, 1)
        await caller.ask("PUT", f"{ROOT}/albums/{ONE}", body={})
    assert [line["upstream_calls"] for line in lines(capfd)] == [1, 1, 1, 2, 1, 0]


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("GET", f"/{ADA}", "40401 No Such Path"),
        ("GET", f"{ROOT}/{ADA}?ids=1", "40008 Unknown Resource Type: type"),
        ("GET", f"{ROOT}/albums/{ADA}", "40005 Invalid Parameter Value: ids"),
        ("GET", f"{ROOT}/albums?ids={ADA}", "40005 Invalid Parameter Value: ids"),
        ("POST", f"{ROOT}?{ADA}=1", "40005 Invalid Parameter Value"),
    ],
)
async def test_a_user_token_in_the_wrong_place_is_not_logged(sandbox, capfd, method, path, error):
    async with gateway_on(sandbox) as caller:
        await caller.ask(method, path)
    said = "".join(capfd.readouterr())
    assert f'"error":"{error}"' in said
    assert ADA not in said


@pytest.mark.redis_server
async def test_a_gateway_that_ends_does_not_report_redis_as_away(sandbox, capfd):
    with RedisServer() as redis:
        async with gateway_on(sandbox, cache__redis_url=redis.url) as caller:
            await caller.get("albums", [ONE])
    assert "breaker" not in "".join(capfd.readouterr())
