"""Runs commands and scripts on the node that has their key, follows redirections, and measures both."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from prometheus_client import Counter
from redis.exceptions import NoScriptError

from gateway.cache.redis.connection import pack
from gateway.cache.redis.dispatcher import Dispatcher
from gateway.cache.redis.errors import FailureKind, RedisFailed, failure_kind
from gateway.cache.redis.requests import Replies
from gateway.cache.redis.scripts import SCRIPT_NAMES, Argument, Script
from gateway.cache.redis.topology import Topology
from gateway.telemetry.metrics import Metrics

COMMAND_SECONDS = 1.0
"""Timeout of everything but lookups."""
LOOKUP = "lookup"
"""Operation label of a round trip that runs no script."""
MAX_HOPS = 4
"""Redirections of one request that are followed."""

_ASKING = pack("ASKING")


class Commands:
    """Sends to the node that has the key. Methods raise if Redis fails; callers pass that to `count`."""

    topology: Topology
    """Where requests go from now on: set before the first one, may be replaced at any time."""

    def __init__(self, metrics: Metrics) -> None:
        self._durations = {
            operation: metrics.shared_cache_duration.labels(operation)
            for operation in (LOOKUP, *SCRIPT_NAMES)
        }
        self._errors: dict[FailureKind, Counter] = {
            kind: metrics.shared_cache_errors.labels(kind) for kind in FailureKind
        }

    def begin(
        self, key: str, commands: Sequence[bytes], *, seconds: float = COMMAND_SECONDS, guarded: bool = False
    ) -> "tuple[Dispatcher, asyncio.Future[Replies]]":
        """Send packed commands on one key together; the node they go to, and the replies to come.

        `seconds` bounds the wait. If there is an error among the replies, pass them to `follow`.
        """
        node = self.topology.route(key)
        return node, node.send(b"".join(commands), len(commands), timeout=seconds, guarded=guarded)

    async def execute(self, key: str, commands: Sequence[bytes]) -> Replies:
        """Send packed commands on one key together and return their replies, after redirections."""
        node, answer = self.begin(key, commands)
        _, found = await self.follow(node, await answer, commands, seconds=COMMAND_SECONDS)
        return found

    async def follow(
        self, node: Dispatcher, answer: Replies, commands: Sequence[bytes], *, seconds: float
    ) -> tuple[Dispatcher, Replies]:
        """Send `commands` where a cluster redirects them to; the node that answered, and its replies."""
        for _ in range(MAX_HOPS):
            if (error := answer.error) is None:
                return node, answer
            elsewhere = self.topology.redirected(error)
            if elsewhere is None:
                raise error
            node, asking = elsewhere
            if asking:
                packed = b"".join(_ASKING + command for command in commands)
                both = await node.send(packed, 2 * len(commands), timeout=seconds, guarded=False)
                answer = Replies(both.micros, both.replies[1::2])
            else:
                answer = await node.send(b"".join(commands), len(commands), timeout=seconds, guarded=False)
        raise RedisFailed(FailureKind.CLUSTER)

    @property
    def connected(self) -> bool:
        """Whether any node is up."""
        return any(node.up for node in self.topology.everywhere())

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Run a script and return its reply."""
        started = time.perf_counter()
        try:
            answer = await self.execute(keys[0], [pack(*script.call(keys, args))])
        except NoScriptError:
            answer = await self.execute(keys[0], [pack(*script.call_whole(keys, args))])
        self.observe(script.name, started)
        return answer.replies[0]

    async def run_at(self, node: Dispatcher, script: Script, args: Sequence[Argument]) -> Replies:
        """Run a script without keys at `node`, unmeasured. An error reply is returned, not raised."""
        for call in (script.call, script.call_whole):
            answer = await node.send(pack(*call((), args)), 1, timeout=COMMAND_SECONDS, guarded=False)
            if not isinstance(answer.error, NoScriptError):
                break
        return answer

    def observe(self, operation: str, started: float) -> None:
        """Measure a round trip that began at `started` (time.perf_counter)."""
        self._durations[operation].observe(time.perf_counter() - started)

    def count(self, error: BaseException) -> FailureKind:
        """Count a failure and return its kind."""
        kind = failure_kind(error)
        self._errors[kind].inc()
        return kind
