"""The signing key and the files for TLS to Redis, as the settings name them."""

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.apple.developer_token import SigningKey
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.cache.redis.connect import Tls


def signing_key(settings: Settings, *, origin: str | None) -> SigningKey:
    """The MusicKit key, for tokens of this `origin`. Raises `ValueError`, without any of the key."""
    apple = settings.apple
    return SigningKey.parse(
        team_id=apple.team_id,
        key_id=apple.key_id,
        private_key=apple.private_key.get_secret_value(),
        lifetime_seconds=apple.token_lifetime_seconds,
        origin=origin,
    )


def redis_tls(settings: Settings) -> "Tls":
    """The files for TLS to Redis."""
    # redis-py costs a fifth of the start, and a gateway without Redis needs none of it.
    from gateway.cache.redis.connect import Tls  # noqa: PLC0415

    cache = settings.cache
    return Tls(
        ca_file=_text(cache.redis_ca_file),
        cert_file=_text(cache.redis_cert_file),
        key_file=_text(cache.redis_key_file),
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
