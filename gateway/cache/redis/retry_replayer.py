"""Replays the writes and purges that Redis missed, and applies what a replay shows of other gateways."""

import asyncio
import contextlib
from collections.abc import Awaitable, Iterable, Mapping
from typing import TypeVar

from gateway.cache.invalidation import Drop, OnInvalidation, Purge
from gateway.cache.redis.commands import Commands
from gateway.cache.redis.errors import FailureKind, RedisFailed, may_be_done
from gateway.cache.redis.recent_writes import RecentWrites, Replaced
from gateway.cache.redis.retry_queue import RetryQueue, Undelivered
from gateway.cache.redis.writes import Writes
from gateway.chunks import chunks
from gateway.model import Id, UserKind

T = TypeVar("T")

RETRY_SECONDS = 0.25
"""Between two attempts to replay the retry queue, unless a node comes back."""
REPLAYED_TOGETHER = 100
"""Users and types whose writes are replayed side by side: other gateways read old ratings until then."""
MAX_FAULTS = 100
"""Failures that end one attempt: one node of a cluster that is down must not hold up the others."""


class RetryReplayer:
    """Replays `queue` with `writes`: all of it while `run` runs, and one user and type on request."""

    def __init__(self, commands: Commands, writes: Writes, queue: RetryQueue, recent: RecentWrites) -> None:
        self._commands = commands
        self._writes = writes
        self._queue = queue
        self._recent = recent
        self.on_invalidation: OnInvalidation = lambda _: None
        """Receives the writes of other gateways that a replay shows were missed."""
        self._queued = asyncio.Event()
        self._node_changed = asyncio.Event()
        self._attempted = asyncio.Event()
        """Set after each attempt to replay the queue."""

    def node_changed(self) -> None:
        """A node may have come back: replay the retry queue now."""
        if self._commands.connected:
            self._node_changed.set()

    def server_changed(self) -> None:
        """Requests go to another server from now on: it has missed the recent writes."""
        for user_kind, id_ in self._recent.ids(asyncio.get_running_loop().time()):
            self.keep(self._queue.add(user_kind, id_))
        self._node_changed.set()

    async def run(self) -> None:
        """Replay the queue for as long as the gateway runs."""
        roused = False
        while True:
            await self._queued.wait()
            self._node_changed.clear()
            faults = 0
            for group in chunks(self._queue.entries(), REPLAYED_TOGETHER):
                replayed = await asyncio.gather(
                    *[self._try_replay(user_kind, entry) for user_kind, entry in group]
                )
                faults += replayed.count(False)
                if faults >= MAX_FAULTS:
                    break
            self._attempted.set()
            if not self._queue:
                self._queued.clear()
            elif faults and roused:
                # Not twice in a row: an attempt may itself cost the connection, and so change the node.
                await asyncio.sleep(RETRY_SECONDS)
                roused = False
            elif faults:
                roused = await self._wait_for_change(RETRY_SECONDS)

    async def _wait_for_change(self, seconds: float) -> bool:
        """Wait until a node changes, for `seconds` at most; whether one did."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._node_changed.wait()
        return self._node_changed.is_set()

    async def flush(self, seconds: float) -> None:
        """Wait until the retry queue is replayed, for `seconds` at most; not without a connection."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._queue and self._commands.connected:
                    self._attempted.clear()
                    await self._attempted.wait()

    async def _try_replay(self, user_kind: UserKind, entry: Undelivered) -> bool:
        try:
            await self.replay(user_kind, entry)
        except Exception:  # noqa: BLE001 - it was counted when it was queued
            self._queue.postpone(user_kind)
            return False
        return True

    async def replay(self, user_kind: UserKind, entry: Undelivered | None) -> None:
        """Replay what Redis missed of a user and type, unless it was replayed or grew meanwhile."""
        if entry is None or self._queue.get(user_kind) is not entry:
            return
        if entry.purges:
            user_key, kind = user_kind
            ids = None if entry.purged is None else tuple(entry.purged)
            await self._writes.purge([kind], Purge(user_key, kind, ids))
        # Writes last: if either step fails both are sent again, and repeated writes decrement the writer
        # count twice.
        if not entry.writes:
            self._queue.replayed(user_kind, entry, None)
            return
        sent = asyncio.get_running_loop().time()
        replayed = await self._confirmed(self._writes.replay(user_kind, entry), user_kind, entry.ids)
        overtaken = self.report_overtaken(user_kind, replayed.replaced, entry.ids, sent)
        self._recent.note_replayed(user_kind, entry.ids)
        self._queue.replayed(user_kind, entry, replayed.stamp, overtaken)

    def report_overtaken(
        self, user_kind: UserKind, replaced: Mapping[Id, Replaced], ended: Mapping[Id, int], sent: float
    ) -> tuple[Id, ...]:
        """Apply the writes of other gateways that the `replaced` records show; return their ids.

        The script that replaced the records was sent at `sent` of the event loop's time.
        """
        may_have_marked, now = self._queue.may_have_marked, asyncio.get_running_loop().time()
        overtaken = self._recent.written_elsewhere_since(
            user_kind, replaced, ended, may_have_marked, sent=sent, now=now
        )
        if overtaken:
            self.on_invalidation(Drop(*user_kind, overtaken))
        return overtaken

    async def _confirmed(self, work: Awaitable[T], user_kind: UserKind, ids: Iterable[Id]) -> T:
        """Return the result of a replay; if it fails, note whether it may have left `ids` pending."""
        try:
            return await work
        except Exception as error:
            if may_be_done(error):
                self._queue.note_unconfirmed(user_kind, ids)
            raise

    def keep(self, kept: bool) -> None:
        """Replay what was just added to the queue; count it as lost unless the queue has `kept` it."""
        if not kept:
            self._commands.count(RedisFailed(FailureKind.BACKLOG))
        self._queued.set()
