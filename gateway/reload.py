"""Key rotation without a restart: the files that the settings came from are watched, and read again.

Directories are watched, not files: Kubernetes swaps a symbolic link beside them. What counts is content, so a
touched file changes nothing; and a slow poll finds what no file system event told.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from gateway.apple.developer_token import TokenSource
from gateway.factories import signing_key
from gateway.settings import BadSettings, Settings
from gateway.telemetry.metrics import Metrics

POLL_SECONDS = 30.0
DEBOUNCE_MS = 200


class Reloader:
    """Puts a changed signing key into use. Other settings need a restart, but a fault in any counts."""

    def __init__(
        self,
        read: Callable[[], Settings],
        tokens: TokenSource,
        metrics: Metrics,
        log: FilteringBoundLogger,
    ) -> None:
        self._read = read
        self._tokens = tokens
        self._succeeded = metrics.config_last_reload_successful
        self._log = log

    async def reload(self, reason: str = "request") -> str | None:
        """Read the settings again. What is wrong with them, in which case everything stays as it was."""
        try:
            key = signing_key(self._read())
        except BadSettings as error:
            return self._failed(
                reason, "; ".join(f"{fault.setting}: {fault.problem}" for fault in error.faults)
            )
        except ValueError as error:
            return self._failed(reason, str(error))
        self._tokens.replace(key)
        self._succeeded.set(1)
        self._log.info("reload", ok=True, reason=reason, key_id=key.key_id)
        return None

    async def watch(self, files: Sequence[Path], known: bytes) -> None:
        """Reload whenever the content of `files` is not `known` any more, until cancelled."""
        async for _ in self._hints({file.parent.resolve() for file in files}):
            current = await asyncio.to_thread(digest, files)
            if current != known:
                known = current
                await self.reload("file")

    async def _hints(self, directories: Collection[Path]) -> AsyncIterator[None]:
        """When it is worth a look: at each event in `directories`, and every `POLL_SECONDS` without any."""
        from watchfiles import awatch  # noqa: PLC0415 - only a gateway with files to watch pays for it

        try:
            async for _ in awatch(
                *directories,
                recursive=False,
                debounce=DEBOUNCE_MS,
                rust_timeout=int(POLL_SECONDS * 1000),
                yield_on_timeout=True,
            ):
                yield
        except Exception as error:  # noqa: BLE001 - a node has few inotify instances, shared by uid; polling needs none
            self._log.warning("watch", error=str(error), poll_seconds=POLL_SECONDS)
        while True:
            await asyncio.sleep(POLL_SECONDS)
            yield

    def _failed(self, reason: str, fault: str) -> str:
        self._succeeded.set(0)
        self._log.error("reload", ok=False, reason=reason, error=fault)
        return fault


def digest(files: Sequence[Path]) -> bytes:
    """Stands for the content of `files`; a file that cannot be read has none."""
    parts = hashlib.sha256()
    for file in files:
        try:
            parts.update(hashlib.sha256(file.read_bytes()).digest())
        except OSError:
            parts.update(b"missing")
    return parts.digest()
