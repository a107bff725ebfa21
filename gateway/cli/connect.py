"""`check --connect`: does Redis answer, can the upstream be reached? Each says so or raises `Failure`."""

import time
from typing import Any
from urllib.parse import unquote

import redis as redis_py
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import AuthenticationError
from redis.retry import Retry
from redis.sentinel import Sentinel

from gateway.cli.console import Failure
from gateway.cli.http import ask
from gateway.cli.token import signing_key
from gateway.settings import Settings
from gateway.settings.values import MASK
from gateway.upstream.developer_token import mint

TIMEOUT_SECONDS = 5.0


def redis(settings: Settings) -> str:
    """PING by way of whatever `cache.redis_url` names."""
    if settings.cache.redis_url is None:
        return "not set: the cache is in-process only"
    began = time.monotonic()
    try:
        client = _client(settings)
        with client:
            client.ping()
    except Exception as error:  # noqa: BLE001  # redis-py lets more than RedisError out while it looks for nodes
        raise Failure(f"{_safe(error, settings)}. {_advice(error)}") from None
    return f"answers PING, {_ms(began)}"


def upstream(settings: Settings) -> str:
    """One request with a developer token and no user token; any answer counts as reached."""
    apple = settings.apple
    headers = {"Authorization": f"Bearer {mint(signing_key(settings), time.time()).text}"}
    if apple.origin is not None:
        headers["Origin"] = apple.origin
    began = time.monotonic()
    answer = ask(
        "GET", f"{apple.base_url}/v1/me/ratings/albums?ids=1", headers, timeout_seconds=TIMEOUT_SECONDS
    )
    said = _STATUSES.get(answer.status, "")
    return f"{apple.base_url} answered {answer.status}, {_ms(began)}{said}"


_STATUSES = {
    401: "\n              It refuses the developer token: compare apple.team_id, apple.key_id and "
    "apple.private_key with\n              Apple's developer site, and this machine's clock with the time.",
    403: "\n              As it should: the developer token was taken, and no user token was sent.",
}


def _client(settings: Settings) -> Any:
    """A client for each kind of URL; none tries twice, so that a dead address is told at once."""
    cache = settings.cache
    url = cache.redis_url.get_secret_value() if cache.redis_url is not None else ""
    scheme, _, rest = url.partition("://")
    options: dict[str, Any] = {
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    tls = {
        "ssl_ca_certs": cache.redis_ca_file,
        "ssl_certfile": cache.redis_cert_file,
        "ssl_keyfile": cache.redis_key_file,
    }
    files = {name: str(path) for name, path in tls.items() if path is not None}
    if not scheme.startswith("redis+"):
        return redis_py.Redis.from_url(url, **options, **files)
    if files:
        options |= {"ssl": True, **files}
    place, _, path = rest.partition("?")[0].partition("/")
    credentials, _, hosts = place.rpartition("@")
    user, _, password = credentials.partition(":")
    own: dict[str, Any] = {"username": unquote(user) or None, "password": unquote(password) or None}
    nodes = [_address(host, 6379 if scheme == "redis+cluster" else 26379) for host in hosts.split(",")]
    if scheme == "redis+cluster":
        return RedisCluster(startup_nodes=[ClusterNode(*node) for node in nodes], **options, **own)  # type: ignore[no-untyped-call]
    service, _, database = path.partition("/")
    sentinel = Sentinel(nodes, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
    return sentinel.master_for(service, db=int(database or 0), **options, **own)  # type: ignore[no-untyped-call]


def _address(place: str, default_port: int) -> tuple[str, int]:
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        return place.strip("[]"), default_port
    return host.strip("[]"), int(port)


def _safe(error: Exception, settings: Settings) -> str:
    """The error's words without the address's credentials, should a library repeat them."""
    text = str(error) or type(error).__name__
    url = settings.cache.redis_url.get_secret_value() if settings.cache.redis_url is not None else ""
    credentials = url.partition("://")[2].rpartition("@")[0]
    for part in (credentials, *credentials.split(":", 1)):
        text = text.replace(part, MASK) if part else text
    return text.rstrip(".")


def _advice(error: Exception) -> str:
    text = str(error)
    if isinstance(error, AuthenticationError) or "NOAUTH" in text or "WRONGPASS" in text:
        return "Put user and password into cache.redis_url: redis://user:password@host."
    if "CERTIFICATE" in text or "SSL" in text:
        return "Does cache.redis_ca_file vouch for its certificate, and is that made out for this address?"
    return "Is it running there, and may this machine reach it?"


def _ms(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.0f} ms"
