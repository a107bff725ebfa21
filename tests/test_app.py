"""The composition root: a gateway is built without listeners, and closed in every case."""

from collections.abc import AsyncIterator

import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from structlog.testing import capture_logs

from gateway.app import Gateway, wired
from gateway.sandbox import ADA, Sandbox
from gateway.settings import load
from gateway.web.accepted import Accepted
from gateway.web.request_record import RequestRecord
from gateway.web.response import Reply, WholeResponse
from tests.e2e.harness import environment, task_names
from tests.hand_clock import HandClock
from tests.ports import free_port

HEADERS = CIMultiDictProxy(CIMultiDict({"Host": "gateway", "Music-User-Token": ADA}))
READ = "/v1/me/ratings/albums?ids=1138988512"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


async def read(gateway: Gateway) -> WholeResponse:
    """Answer a read as a connection would."""
    begun = gateway.api.begin("GET", READ, HEADERS)
    return await gateway.api.run(begun, None) if isinstance(begun, Accepted) else begun


async def test_a_read_is_fetched_from_apple_and_then_a_hit(sandbox):
    async with wired(load(None, environment(sandbox))) as gateway:
        first, second = await read(gateway), await read(gateway)
    assert b"fwd=miss" in first.whole
    assert b"ratings-gateway; hit" in second.whole
    assert sandbox.calls.total == 1


async def test_requests_are_observed(sandbox):
    observed: list[tuple[RequestRecord, Reply]] = []
    settings = load(None, environment(sandbox))
    async with wired(settings, observe=lambda *request: observed.append(request)) as gateway:
        await read(gateway)
    assert [(record.route, reply.status) for record, reply in observed] == [("/v1/me/ratings/{type}", 200)]


async def test_every_part_uses_the_clock_that_is_given(sandbox):
    clock = HandClock()
    async with wired(load(None, environment(sandbox)), clock=clock) as gateway:
        assert gateway.tokens.current().issued_at <= clock.time() < gateway.tokens.current().expires_at
        await read(gateway)
        clock.move(200.0)
        assert b"Age: 200\r\n" in (await read(gateway)).whole


@pytest.mark.parametrize("with_redis", [False, True])
async def test_there_is_a_link_if_the_settings_name_a_redis(sandbox, with_redis):
    more = {"cache__redis_url": f"redis://127.0.0.1:{free_port()}"} if with_redis else {}
    async with wired(load(None, environment(sandbox, **more))) as gateway:
        assert (gateway.link is not None) is with_redis


async def test_no_task_is_left_at_the_end(sandbox):
    async with wired(load(None, environment(sandbox))):
        assert task_names()
    assert not task_names()


async def test_a_background_task_that_fails_is_logged_with_its_traceback(sandbox):
    async def fail() -> None:
        raise KeyError("bug")

    with capture_logs() as logged:
        async with wired(load(None, environment(sandbox))) as gateway:
            with pytest.raises(KeyError):
                await gateway.tasks.spawn("failing", fail())
    (line,) = (line for line in logged if line["event"] == "bug")
    assert (line["log_level"], line["where"]) == ("error", "task failing")
    assert isinstance(line["exc_info"], KeyError)


async def test_no_task_is_left_if_a_listener_cannot_be_opened(sandbox):
    with pytest.raises(OSError, match="address in use"):
        async with wired(load(None, environment(sandbox))):
            raise OSError("address in use")
    assert not task_names()
