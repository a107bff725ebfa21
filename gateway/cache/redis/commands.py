"""One question to Redis: where it goes, where it is sent on to, how scripts are run, and how faults count."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from prometheus_client import Counter
from redis.exceptions import NoScriptError, ResponseError

from gateway.cache.redis.connection import Dispatcher, Replies, pack
from gateway.cache.redis.errors import Failed, FailureKind, kind_of
from gateway.cache.redis.scripts import SCRIPT_NAMES, Part, Script
from gateway.cache.redis.topology import Topology
from gateway.telemetry.metrics import Metrics

WRITE_SECONDS = 1.0
"""How long anything but a lookup may take."""
LOOKUP = "lookup"
"""What a round trip counts as that runs no script."""
MAX_HOPS = 4
"""How often a cluster may send a request elsewhere."""

_ASKING = pack("ASKING")


class Asker:
    """Asks whichever node answers for a key. Everything here raises; `count` is for whoever catches."""

    def __init__(self, topology: Topology, metrics: Metrics) -> None:
        self._topology = topology
        self._durations = {
            operation: metrics.shared_cache_duration.labels(operation)
            for operation in (LOOKUP, *SCRIPT_NAMES)
        }
        self._errors: dict[FailureKind, Counter] = {
            kind: metrics.shared_cache_errors.labels(kind) for kind in FailureKind
        }

    def begin(
        self, key: str, commands: Sequence[bytes], *, seconds: float = WRITE_SECONDS, guarded: bool = False
    ) -> "tuple[Dispatcher, asyncio.Future[Replies]]":
        """Send packed commands on one key together; to whom, and what is to come. `seconds` bounds the wait.

        What comes is to be handed to `follow` where there is an error among it.
        """
        node = self._topology.route(key)
        return node, node.ask(b"".join(commands), len(commands), timeout=seconds, guarded=guarded)

    async def ask(self, key: str, commands: Sequence[bytes]) -> Replies:
        """Send packed commands on one key together, and elsewhere if told so; what whoever knows answered."""
        node, answer = self.begin(key, commands)
        _, found = await self.follow(node, await answer, commands, seconds=WRITE_SECONDS)
        return found

    async def follow(
        self, node: Dispatcher, answer: Replies, commands: Sequence[bytes], *, seconds: float
    ) -> tuple[Dispatcher, Replies]:
        """Go where a cluster says that `commands` are answered; who answered, and what."""
        for _ in range(MAX_HOPS):
            error = next((reply for reply in answer.replies if isinstance(reply, ResponseError)), None)
            if error is None:
                return node, answer
            elsewhere = self._topology.redirected(error)
            if elsewhere is None:
                raise error
            node, asking = elsewhere
            if asking:
                packed = b"".join(_ASKING + command for command in commands)
                both = await node.ask(packed, 2 * len(commands), timeout=seconds, guarded=False)
                answer = Replies(both.micros, both.replies[1::2])
            else:
                answer = await node.ask(b"".join(commands), len(commands), timeout=seconds, guarded=False)
        raise Failed(FailureKind.CLUSTER)

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Part]) -> Any:
        """Run a script; its reply."""
        started = time.perf_counter()
        try:
            answer = await self.ask(keys[0], [pack(*script.call(keys, args))])
        except NoScriptError:
            answer = await self.ask(keys[0], [pack(*script.call_whole(keys, args))])
        self.observe(script.name, started)
        return answer.replies[0]

    def observe(self, operation: str, started: float) -> None:
        """Measure a round trip that began at `started` (time.perf_counter)."""
        self._durations[operation].observe(time.perf_counter() - started)

    def count(self, error: BaseException) -> FailureKind:
        """Count a fault; its kind."""
        kind = kind_of(error)
        self._errors[kind].inc()
        return kind
