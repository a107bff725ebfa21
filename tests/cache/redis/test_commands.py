"""Scripts and commands on scripted servers: missing scripts, redirections, metrics."""

from collections.abc import AsyncIterator

import pytest
from redis.exceptions import ResponseError

from gateway.cache.redis.commands import MAX_HOPS, Commands
from gateway.cache.redis.connection import pack
from gateway.cache.redis.errors import FailureKind, RedisFailed
from gateway.cache.redis.scripts import Script
from gateway.telemetry.metrics import Metrics
from tests.cache.redis.harness import commands_on
from tests.cache.redis.scripted import TIME, Command, ScriptedNode, ScriptedRedis, bulk

ECHO = Script("replay", "return ARGV[1]")
PING = [pack("ECHO", "ping")]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


class TestOnOneServer:
    @pytest.fixture
    async def redis(self) -> AsyncIterator[ScriptedRedis]:
        async with ScriptedRedis() as redis:
            yield redis

    @pytest.fixture
    async def commands(self, redis: ScriptedRedis, metrics: Metrics) -> AsyncIterator[Commands]:
        async with commands_on(f"redis://127.0.0.1:{redis.port}", metrics) as commands:
            yield commands

    async def test_a_script_is_called_by_its_digest(self, commands: Commands, redis: ScriptedRedis) -> None:
        assert await commands.run(ECHO, ["key"], ["argument"]) == b"argument"
        (_, digest, *arguments) = redis.commands[-1]
        assert (redis.commands[-1][0], arguments) == (b"EVALSHA", [b"1", b"key", b"argument"])
        assert ECHO.source.encode() not in digest

    async def test_a_script_that_redis_lost_is_sent_as_a_whole(
        self, commands: Commands, redis: ScriptedRedis
    ) -> None:
        async def without_scripts(command: Command) -> bytes:
            if command[0] == b"EVALSHA":
                return b"-NOSCRIPT No matching script.\r\n"
            return TIME if command == [b"TIME"] else bulk(command[-1])

        redis.respond = without_scripts
        assert await commands.run(ECHO, ["key"], ["argument"]) == b"argument"
        assert redis.commands[-1][:2] == [b"EVAL", ECHO.source.encode()]

    async def test_each_script_is_measured_under_its_name(self, commands: Commands, metrics: Metrics) -> None:
        await commands.run(ECHO, ["key"], [])
        name = "gateway_shared_cache_duration_seconds_count"
        measured = {
            operation: metrics.registry.get_sample_value(name, {"operation": operation})
            for operation in ("replay", "lookup")
        }
        assert measured == {"replay": 1, "lookup": 0}

    async def test_an_error_reply_is_raised(self, commands: Commands, redis: ScriptedRedis) -> None:
        async def refuse(command: Command) -> bytes:
            return TIME if command == [b"TIME"] else b"-ERR no\r\n"

        redis.respond = refuse
        with pytest.raises(ResponseError, match="no"):
            await commands.execute("key", PING)

    async def test_an_error_is_counted_by_its_kind(self, commands: Commands, metrics: Metrics) -> None:
        assert commands.count(TimeoutError()) is FailureKind.TIMEOUT
        name = "gateway_shared_cache_errors_total"
        assert metrics.registry.get_sample_value(name, {"kind": "timeout"}) == 1


class TestOnACluster:
    @pytest.fixture
    async def node(self) -> AsyncIterator[ScriptedNode]:
        async with ScriptedNode() as node:
            yield node

    @pytest.fixture
    async def commands(self, node: ScriptedNode, metrics: Metrics) -> AsyncIterator[Commands]:
        async with commands_on(node.url, metrics) as commands:
            yield commands

    async def test_a_request_that_is_redirected_in_circles_fails(
        self, commands: Commands, node: ScriptedNode
    ) -> None:
        node.reply = b"-MOVED 1 127.0.0.1:%d\r\n" % node.port
        with pytest.raises(RedisFailed, match="cluster"):
            await commands.execute("key", PING)
        assert node.commands.count([b"ECHO", b"ping"]) == 1 + MAX_HOPS

    async def test_a_redirection_to_an_unknown_node_is_raised(
        self, commands: Commands, node: ScriptedNode
    ) -> None:
        node.reply = b"-MOVED 1 127.0.0.1:1\r\n"
        with pytest.raises(ResponseError):
            await commands.execute("key", PING)

    async def test_a_slot_that_moves_is_asked_for_with_each_command(
        self, commands: Commands, node: ScriptedNode
    ) -> None:
        asked: list[Command] = []

        async def respond(command: Command) -> bytes | None:
            if command == [b"TIME"]:
                return TIME
            asked.append(command)
            if command == [b"ASKING"]:
                return b"+OK\r\n"
            return bulk(command[-1]) if asked[-2:-1] == [[b"ASKING"]] else redirection

        redirection = b"-ASK 1 127.0.0.1:%d\r\n" % node.port
        node.respond = respond
        answer = await commands.execute("key", [pack("ECHO", "a"), pack("ECHO", "b")])
        assert answer.replies == [b"a", b"b"]
        assert asked[2:] == [[b"ASKING"], [b"ECHO", b"a"], [b"ASKING"], [b"ECHO", b"b"]]
