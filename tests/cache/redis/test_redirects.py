"""A cluster that sends from node to node, as no sane one does."""

from collections.abc import AsyncIterator

import pytest

from gateway.breaker import State
from tests.cache.redis.harness import ALBUMS, ONE, side_of
from tests.cache.redis.scripted import TIME, Command, ScriptedRedis, bulk
from tests.waiting import until


class ScriptedNode(ScriptedRedis):
    """Says that it has every slot, and answers lookups as a test says."""

    says = b"*2\r\n$-1\r\n$-1\r\n"
    host = b"$-1\r\n"
    maps = 0

    async def answer(self, command: Command) -> bytes | None:
        match command[0]:
            case b"TIME":
                return TIME
            case b"CLUSTER":
                self.maps += 1
                return b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n%b:%d\r\n" % (self.host, self.port)
        return self.says


@pytest.fixture
async def node() -> AsyncIterator[ScriptedNode]:
    async with ScriptedNode() as node:
        node.respond = node.answer
        yield node


@pytest.mark.parametrize("host", [b"$-1\r\n", bulk(b""), bulk(b"127.0.0.1")])
async def test_a_node_that_does_not_name_itself_is_the_one_that_was_asked(
    node: ScriptedNode, host: bytes
) -> None:
    node.host = host
    async with side_of(f"redis+cluster://127.0.0.1:{node.port}") as side:
        assert (await side.look(ALBUMS, ONE)).version == b"0"


async def test_a_request_that_is_sent_round_and_round_is_given_up(node: ScriptedNode) -> None:
    node.says = b"-MOVED 1 127.0.0.1:%d\r\n" % node.port
    async with side_of(f"redis+cluster://127.0.0.1:{node.port}") as side:
        assert (await side.look(ALBUMS, ONE)).version is None
        assert side.errors("cluster") == 1


@pytest.mark.parametrize(
    "says", [b"-MOVED 1 127.0.0.1:1\r\n", b"-ASK 1 127.0.0.1:1\r\n", b"-CLUSTERDOWN Hash slot not served\r\n"]
)
async def test_a_node_that_nobody_knows_is_a_miss_and_the_map_is_fetched_anew(
    node: ScriptedNode, says: bytes
) -> None:
    node.says = says
    async with side_of(f"redis+cluster://127.0.0.1:{node.port}") as side:
        before = node.maps
        assert (await side.look(ALBUMS, ONE)).version is None
        assert side.errors("cluster") == 1
        await until(lambda: node.maps > before)


async def test_a_node_that_left_the_cluster_is_let_go(node: ScriptedNode) -> None:
    async with ScriptedNode() as other:
        other.respond = other.answer
        async with side_of(f"redis+cluster://127.0.0.1:{node.port}") as side:
            node.port, port = other.port, node.port  # from now on it says that the other has all
            node.says = b"-CLUSTERDOWN Hash slot not served\r\n"
            await side.look(ALBUMS, ONE)
            await until(lambda: [each.name for each in side.nodes] == [f"127.0.0.1:{other.port}"])
            assert (await side.look(ALBUMS, ONE)).version == b"0"
            assert side.link.state is State.CLOSED
            node.port = port
