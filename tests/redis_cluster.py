"""A real cluster of three masters on loopback, with a replica of each if requested."""

from contextlib import ExitStack
from typing import Self

from redis.crc import key_slot
from redis.exceptions import ResponseError

from gateway.cache.redis.layout import Keys
from gateway.model import Partition
from tests.redis_server import RedisServer

MASTERS = 3
SLOTS = 16384
BOUNDS = [SLOTS * number // MASTERS for number in range(MASTERS + 1)]


class RedisCluster:
    """A context manager; `agrees` is true once it is complete; with replicas, check `follows` first."""

    def __init__(self, *, node_timeout_ms: int, replicas: bool = False) -> None:
        options = (
            *("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"),
            *("--cluster-node-timeout", str(node_timeout_ms), "--cluster-replica-validity-factor", "0"),
            *("--repl-diskless-sync-delay", "0"),
        )
        self.nodes = [RedisServer(*options) for _ in range(MASTERS)]
        """The nodes that serve slots."""
        self.replicas = [RedisServer(*options) for _ in self.nodes if replicas]
        """One of each, in the same order."""
        self._running = ExitStack()

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def __enter__(self) -> Self:
        for node in (*self.nodes, *self.replicas):
            self._running.enter_context(node)
        self._join()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def _join(self) -> None:
        """Introduce the nodes to each other, and assign the slots."""
        first = self.nodes[0]
        for number, node in enumerate((*self.nodes, *self.replicas)):
            with node.client() as client:
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                if node in self.nodes:
                    client.execute_command("CLUSTER", "ADDSLOTSRANGE", BOUNDS[number], BOUNDS[number + 1] - 1)
                if node is not first:
                    client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port)

    def follows(self) -> bool:
        """Have each replica follow its master; False while one has not found or copied it."""
        return all(map(_follows, self.replicas, self.nodes))

    def agrees(self) -> bool:
        """Whether each node is linked to all others."""
        nodes = (*self.nodes, *self.replicas)
        for node in nodes:
            with node.client() as client:
                if b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
                    return False
                links = client.execute_command("CLUSTER", "LINKS")
                if len(links) != 2 * (len(nodes) - 1):
                    return False
        return True

    def owner(self, partition: Partition) -> RedisServer:
        """The node that serves the slots."""
        slot = slot_of(partition)
        return next(node for number, node in enumerate(self.nodes) if slot < BOUNDS[number + 1])


def slot_of(partition: Partition) -> int:
    return key_slot(Keys("ratings").main(partition.user.key, partition.kind).encode())


def name_of(node: RedisServer) -> str:
    with node.client() as client:
        return str(client.execute_command("CLUSTER", "MYID").decode())


def _follows(replica: RedisServer, master: RedisServer) -> bool:
    with replica.client() as client:
        if client.info("replication")["role"] == "master":
            try:
                client.execute_command("CLUSTER", "REPLICATE", name_of(master))
            except ResponseError:
                return False
        return is_in_step(replica)


def is_in_step(replica: RedisServer) -> bool:
    """Whether it is a replica, and has all that its master had when it connected."""
    with replica.client() as client:
        return bool(client.info("replication").get("master_link_status") == "up")
