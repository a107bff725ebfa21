"""The listener closes connections beyond its limit; over real sockets."""

import pytest
from structlog.testing import CapturingLogger

from gateway.web.connection_limit import ConnectionLimit
from tests.waiting import until


@pytest.fixture
def limit() -> ConnectionLimit:
    return ConnectionLimit(2, CapturingLogger())


async def test_a_connection_beyond_the_limit_is_closed_and_others_stay(dial, server):
    first, second, third = [await dial() for _ in range(3)]
    assert await third.closed()
    for caller in (first, second):
        caller.send("/hit")
        assert await caller.answer() == "hit"
    first.writer.close()
    await until(lambda: len(server.connections) == 1)
    fourth = await dial()
    fourth.send("/hit")
    assert await fourth.answer() == "hit"
