"""Whether a 401 is the developer token's: evidence first, else one test for all that ask."""

import asyncio

import pytest

from gateway.apple.token_check import TokenCheck, TokenTest
from gateway.apple.transport import connect
from gateway.telemetry.metrics import Metrics
from tests.apple.exchanges import ask
from tests.apple.scripted import reply, reset


class FakeTest:
    """Answers tests with the given verdict, and counts them."""

    def __init__(self, accepted: bool | None) -> None:
        self.accepted = accepted
        self.made = 0
        self.hold = asyncio.Event()
        self.hold.set()

    async def __call__(self, token: str) -> bool | None:
        self.made += 1
        await self.hold.wait()
        return self.accepted


async def test_a_call_begun_after_the_refused_one_is_proof():
    tests = FakeTest(None)
    check = TokenCheck(tests)
    check.accept("t", 5.0)
    assert await check.verdict("t", 4.0, lambda: 6.0) is True
    assert tests.made == 0


async def test_a_call_begun_before_it_is_none():
    tests = FakeTest(False)
    check = TokenCheck(tests)
    check.accept("t", 5.0)
    assert await check.verdict("t", 5.0, lambda: 6.0) is False
    assert tests.made == 1


async def test_another_token_is_no_proof():
    check = TokenCheck(FakeTest(None))
    check.accept("old", 5.0)
    assert await check.verdict("t", 4.0, lambda: 6.0) is None


@pytest.mark.parametrize("accepted", [True, False, None])
async def test_a_test_is_made_once_in_30_seconds_and_its_verdict_holds(accepted):
    tests = FakeTest(accepted)
    check = TokenCheck(tests)
    verdicts = [await check.verdict("t", 0.0, lambda: 1.0), await check.verdict("t", 0.0, lambda: 30.9)]
    assert (verdicts, tests.made) == ([accepted] * 2, 1)
    await check.verdict("t", 0.0, lambda: 31.1)
    assert tests.made == 2


async def test_a_verdict_on_another_token_does_not_hold():
    check = TokenCheck(FakeTest(True))
    await check.verdict("old", 0.0, lambda: 1.0)
    assert await check.verdict("new", 0.0, lambda: 2.0) is None


async def test_calls_refused_together_share_one_test():
    tests = FakeTest(True)
    tests.hold.clear()
    check = TokenCheck(tests)
    asking = [asyncio.ensure_future(check.verdict("t", 0.0, lambda: 1.0)) for _ in range(5)]
    await asyncio.sleep(0)
    tests.hold.set()
    assert (await asyncio.gather(*asking), tests.made) == ([True] * 5, 1)


@pytest.mark.parametrize(
    ("answer", "accepted", "label"),
    [
        (reply(200), True, "200"),
        (reply(403, "{}"), True, "403"),
        (reply(404), True, "404"),
        (reply(401), False, "401"),
        (reply(429), None, "429"),
        (reply(503), None, "503"),
        (reset, None, "unreachable"),
    ],
)
async def test_any_answer_but_401_429_and_5xx_accepts_the_token(script, clock, answer, accepted, label):
    metrics = Metrics()
    script.otherwise = answer
    async with connect(base_url=script.url, origin=None, max_concurrency=1, clock=clock) as transport:
        test = TokenTest(transport, 3.0, clock.monotonic, metrics)
        assert await test("developer") is accepted
    (seen,) = script.seen
    assert (seen.target, seen.headers["authorization"]) == ("/v1/test", "Bearer developer")
    assert "music-user-token" not in seen.headers
    labels = {"operation": "test", "status": label}
    assert metrics.registry.get_sample_value("gateway_upstream_requests_total", labels) == 1.0


async def test_the_test_is_made_on_a_new_connection_because_a_kept_one_may_break(script, clock):
    script.plays = [reply(200, "{}")]
    script.otherwise = reply(200)
    async with connect(base_url=script.url, origin=None, max_concurrency=1, clock=clock) as transport:
        await ask(transport)
        assert await TokenTest(transport, 3.0, clock.monotonic, Metrics())("developer") is True
    assert [seen.connection for seen in script.seen] == [1, 2]
