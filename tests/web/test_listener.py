"""The listener closes connections beyond its limit; over real sockets."""

from unittest.mock import Mock

import pytest
from structlog.testing import CapturingLogger

from gateway.telemetry.metrics import Metrics
from gateway.web.connection_limit import ConnectionLimit
from tests.waiting import until


@pytest.fixture
def limit() -> ConnectionLimit:
    return ConnectionLimit(2, CapturingLogger(), Metrics(), Mock())


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


async def test_connections_that_are_lost_before_a_request_make_room(dial, server):
    for _ in range(5):
        for caller in [await dial() for _ in range(2)]:
            caller.reset()
        await until(lambda: not server.connections)
    for caller in [await dial() for _ in range(2)]:
        caller.send("/hit")
        assert await caller.answer() == "hit"


async def test_connections_that_are_refused_take_no_room(dial, server):
    first, second, *others = [await dial() for _ in range(6)]
    for other in others:
        assert await other.closed()
    for caller in (first, second):
        caller.writer.close()
    await until(lambda: not server.connections)
    for caller in [await dial() for _ in range(2)]:
        caller.send("/hit")
        assert await caller.answer() == "hit"


async def test_a_connection_that_was_never_made_takes_no_room(dial, server):
    for _ in range(3):
        server()
    server().connection_lost(None)
    for caller in [await dial() for _ in range(2)]:
        caller.send("/hit")
        assert await caller.answer() == "hit"
    assert await (await dial()).closed()
