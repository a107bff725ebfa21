"""Reloads secrets without a restart: watches the files that the settings came from, and reads them again.

Directories are watched, not files: Kubernetes swaps a symbolic link beside them. Content decides, so a
touched file changes nothing. A slow poll finds what no file system event announced.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from gateway.app import Gateway
from gateway.apple.developer_token import SigningKey
from gateway.credentials import redis_tls, signing_key
from gateway.factories import caller_tokens
from gateway.ops.server import Reloaded
from gateway.settings import SETTINGS, BadSettings, Settings

POLL_SECONDS = 30.0
DEBOUNCE_MS = 200

KEY_SETTINGS: Final = frozenset(
    {"apple.team_id", "apple.key_id", "apple.private_key", "apple.token_lifetime_seconds"}
)


REDIS_SETTINGS: Final = frozenset(
    {"cache.redis_url", "cache.redis_ca_file", "cache.redis_cert_file", "cache.redis_key_file"}
)


class Reloader:
    """Applies the signing key, caller tokens, the ops token and the Redis URL; other changes need a restart.

    A fault in any setting leaves all old values in use. A token that is no longer set stays required until a
    restart: no reload loosens a check.
    """

    def __init__(
        self, read: Callable[[], Settings], settings: Settings, gateway: Gateway, log: FilteringBoundLogger
    ) -> None:
        self._read = read
        self._in_force = dict(_values(settings))
        self._origin = settings.apple.origin
        self._gateway = gateway
        self._log = log
        self._one_at_a_time = asyncio.Lock()
        gateway.metrics.config_last_reload_success.set_to_current_time()

    async def reload(self, reason: str = "request") -> Reloaded:
        """Read the settings again and apply what can be applied."""
        async with self._one_at_a_time:
            done = self._gateway.runtime.last_reload = await self._reload(reason)
            return done

    async def _reload(self, reason: str) -> Reloaded:
        try:
            # In a thread, because files may lie on a network.
            settings = await asyncio.to_thread(self._read)
            key = signing_key(settings, origin=self._origin)
        except BadSettings as error:
            return self._failed(
                reason, "; ".join(f"{fault.setting}: {fault.problem}" for fault in error.faults)
            )
        except ValueError as error:
            return self._failed(reason, str(error))
        return await self._apply(settings, key, reason)

    async def _apply(self, settings: Settings, key: SigningKey, reason: str) -> Reloaded:
        found = _values(settings)
        changed = {name for name, value in found.items() if value != self._in_force[name]}
        applied = {name for name in changed if await self._apply_one(name, settings, key)}
        shown = settings.masked()
        for name in applied:
            self._in_force[name] = found[name]
            self._gateway.runtime.settings[name] = shown[name]
        not_applied = tuple(name for name in found if name in changed - applied)
        metrics = self._gateway.metrics
        metrics.config_last_reload_successful.set(1)
        metrics.config_last_reload_success.set_to_current_time()
        log = self._log.warning if not_applied else self._log.info
        more = {"not_applied": not_applied} if not_applied else {}
        log("reload", ok=True, reason=reason, key_id=key.key_id, applied=sorted(applied), **more)
        return Reloaded(not_applied=not_applied)

    async def _apply_one(self, name: str, settings: Settings, key: SigningKey) -> bool:
        """Apply one changed setting; False if that needs a restart."""
        gateway, token = self._gateway, settings.ops.token
        if name in KEY_SETTINGS:
            gateway.tokens.replace(key)
        elif name == "server.caller_tokens" and settings.server.caller_tokens:
            gateway.callers.replace(caller_tokens(settings))
        elif name == "ops.token" and token is not None:
            gateway.ops.access.replace(token.get_secret_value())
        elif name in REDIS_SETTINGS and gateway.link is not None and settings.cache.redis_url is not None:
            await gateway.link.replace(settings.cache.redis_url.get_secret_value(), redis_tls(settings))
        else:
            return False
        return True

    async def watch(self, files: Sequence[Path], known: bytes) -> None:
        """Reload when the content of `files` no longer has the digest `known`, until cancelled."""
        async for _ in self._hints({file.parent.resolve() for file in files}):
            current = await asyncio.to_thread(digest, files)
            if current != known:
                known = current
                await self.reload("file")

    async def _hints(self, directories: Collection[Path]) -> AsyncIterator[None]:
        """Yield at each event in `directories`, and every `POLL_SECONDS` without any."""
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

    def _failed(self, reason: str, fault: str) -> Reloaded:
        self._gateway.metrics.config_last_reload_successful.set(0)
        self._log.error("reload", ok=False, reason=reason, error=fault)
        previous = self._gateway.runtime.last_reload
        return Reloaded(fault=fault, not_applied=() if previous is None else previous.not_applied)


def _values(settings: Settings) -> Mapping[str, Any]:
    return {setting.name: getattr(getattr(settings, setting.section), setting.key) for setting in SETTINGS}


def digest(files: Sequence[Path]) -> bytes:
    """Stands for the content of `files`; a file that cannot be read has none."""
    parts = hashlib.sha256()
    for file in files:
        try:
            parts.update(hashlib.sha256(file.read_bytes()).digest())
        except OSError:
            parts.update(b"missing")
    return parts.digest()
