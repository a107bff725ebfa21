"""A real Sentinel that watches a master with one replica."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from tests.ports import free_port
from tests.redis_server import RedisServer

NAME = "main"


class Watched(NamedTuple):
    master: RedisServer
    replica: RedisServer
    sentinel: RedisServer

    @property
    def url(self) -> str:
        # The first of the two is not there.
        return f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{self.sentinel.port}/{NAME}"


@contextmanager
def watched_by_sentinel() -> Iterator[Watched]:
    with ExitStack() as stack:
        master = stack.enter_context(RedisServer("--repl-diskless-sync-delay", "0"))
        replica = stack.enter_context(
            RedisServer("--replicaof", f"127.0.0.1 {master.port}", "--repl-diskless-sync-delay", "0")
        )
        with replica.client() as client:
            while client.info("replication")["master_link_status"] != "up":
                pass
        sentinel = RedisServer(
            sentinel=(
                f"sentinel monitor {NAME} 127.0.0.1 {master.port} 1",
                f"sentinel down-after-milliseconds {NAME} 300",
                f"sentinel failover-timeout {NAME} 2000",
            )
        )
        stack.enter_context(sentinel)
        with sentinel.client() as client:
            client.execute_command("SENTINEL", "DEBUG", "INFO-PERIOD", "100")
        yield Watched(master, replica, sentinel)
