"""One of two gateways cannot reach Redis for a while, and both write the same id."""

from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from gateway.breaker import State
from gateway.sandbox import Lag, Where
from tests.e2e.harness import Caller, gateway_on, until
from tests.faultproxy import FaultProxy

pytestmark = pytest.mark.redis_server

ONE = "1138988512"


class Pair(NamedTuple):
    far: Caller
    """Reaches Redis through the proxy."""
    near: Caller
    proxy: FaultProxy

    async def lose_redis(self) -> None:
        await self.proxy.down()
        await until(lambda: self.far.sample("gateway_breaker_state", target="redis") == State.OPEN)
        await until(lambda: self.far.sample("gateway_subscription_up") == 0)

    async def reach_redis(self) -> None:
        await self.proxy.up()
        await until(lambda: self.far.sample("gateway_subscription_up") == 1)
        link = self.far.served.gateway.link
        assert link is not None
        await until(lambda: link.state is State.CLOSED and not link.store.undelivered)


@pytest.fixture
async def pair(sandbox, redis) -> AsyncIterator[Pair]:
    async with FaultProxy("127.0.0.1", redis.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with (
            gateway_on(sandbox, cache__redis_url=url) as far,
            gateway_on(sandbox, cache__redis_url=redis.url) as near,
        ):
            yield Pair(far, near, proxy)


async def test_a_gateway_that_was_cut_off_does_not_serve_its_own_write_past_one_that_redis_took(pair):
    await pair.lose_redis()
    await pair.far.rate("albums", ONE, 1)
    await pair.near.rate("albums", ONE, -1)
    await pair.reach_redis()
    for caller in (pair.far, pair.near):
        assert (await caller.get("albums", [ONE])).values == {ONE: -1}


async def test_a_gateway_that_was_cut_off_serves_its_own_write_if_that_was_the_later_one(pair, sandbox):
    await pair.near.rate("albums", ONE, -1)
    await pair.lose_redis()
    sandbox.faults.add(Lag(60.0), where=Where(method="PUT"))
    await pair.far.rate("albums", ONE, 1)
    await pair.reach_redis()
    assert (await pair.far.get("albums", [ONE])).values == {ONE: 1}
