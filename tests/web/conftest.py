import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import Mock

import pytest

from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics
from gateway.web.connection_limit import ConnectionLimit
from gateway.web.listener import ApiServer
from tests.web.connections import Caller, ScriptedApi


@pytest.fixture
async def api() -> ScriptedApi:
    return ScriptedApi()


@pytest.fixture
async def bugs() -> AsyncIterator[list[Any]]:
    """Errors that the event loop or a task reported; there may be none."""
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    yield reported
    gc.collect()
    assert reported == []


@pytest.fixture
def limit() -> ConnectionLimit:
    return ConnectionLimit(1000, Mock(), Metrics(), Mock())


@pytest.fixture
async def server(api, bugs, limit) -> ApiServer:
    return ApiServer(api, Tasks(lambda name, error: bugs.append((name, error))), limit)


@pytest.fixture
async def dial(server) -> AsyncIterator[Callable[[], Any]]:
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(server, "127.0.0.1", 0)
    opened: list[asyncio.StreamWriter] = []

    async def dial() -> Caller:
        caller = Caller(*await asyncio.open_connection(*listener.sockets[0].getsockname()[:2]))
        opened.append(caller.writer)
        return caller

    yield dial
    for writer in opened:
        writer.close()
    listener.close()
    await server.shutdown(1)


@pytest.fixture
async def caller(dial) -> Caller:
    made: Caller = await dial()
    return made
