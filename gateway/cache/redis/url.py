"""Parses `cache.redis_url`: which servers, which credentials, whether over TLS. No I/O.

redis://[user:password@]host[:port][/db]              rediss:// the same over TLS
unix://[user:password@]/path[?db=N]
redis+cluster://[user:password@]host[:port],host[:port]…[?ssl=true]
redis+sentinel://[user:password@]host[:port],host[:port]…/service[/db][?ssl=true]
                 [&sentinel_username=…][&sentinel_password=…]
"""

from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec

REDIS_PORT = 6379
SENTINEL_PORT = 26379

_OPTIONS = {
    "redis": {"db"},
    "rediss": {"db"},
    "unix": {"db"},
    "redis+cluster": {"ssl"},
    "redis+sentinel": {"ssl", "sentinel_username", "sentinel_password"},
}

_UNENCODED = "not a valid URL; percent-encode special characters in user and password, such as # as %23"


class Address(msgspec.Struct, frozen=True, order=True):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class RedisUrl(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed URL. Its repr shows no secret."""

    scheme: str
    addresses: tuple[Address, ...] = ()
    path: str | None = None
    """The socket's path (`unix`)."""
    service: str | None = None
    """The master's name (`redis+sentinel`)."""
    db: int = 0
    ssl: bool = False
    username: str | None = None
    password: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None

    @property
    def server(self) -> tuple[object, ...]:
        """Identifies the data behind the URL: equal if only credentials or TLS differ."""
        cluster = self.scheme == "redis+cluster"
        return cluster, frozenset(self.addresses), self.path, self.service, self.db

    def __repr__(self) -> str:
        return f"RedisUrl({self.scheme}://{self.path or ','.join(map(str, self.addresses))})"


def parse_url(url: str) -> RedisUrl:
    """Parse; raises ValueError that says what is wrong and repeats no secret."""
    parts = _split(url)
    scheme = parts.scheme
    if scheme not in _OPTIONS:
        raise ValueError(f"the scheme must be one of {', '.join(f'{name}://' for name in _OPTIONS)}")
    login, _, netloc = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    common: dict[str, Any] = {
        "scheme": scheme,
        "username": unquote(username) or None,
        "password": unquote(password) or None,
        **_options(scheme, parts.query),
    }
    path = unquote(parts.path)
    if scheme == "unix":
        if netloc or not path.strip("/"):
            raise ValueError("unix:// needs the socket's path: unix:///run/redis.sock")
        return RedisUrl(path=path, **common)
    common["addresses"] = _addresses(netloc, SENTINEL_PORT if scheme == "redis+sentinel" else REDIS_PORT)
    match scheme:
        case "redis+sentinel":
            service, db = _service(path)
            return RedisUrl(service=service, **{"db": db} | common)
        case "redis+cluster":
            _reject_path(path, "a cluster has no databases")
            return RedisUrl(**common)
    if len(common["addresses"]) > 1:
        raise ValueError(
            f"{scheme}:// accepts one server; use redis+cluster:// or redis+sentinel:// for several"
        )
    if path.strip("/"):
        common["db"] = _number(path.strip("/"), "the database")
    return RedisUrl(**common | {"ssl": scheme == "rediss"})


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        # Its message repeats part of a password with brackets.
        raise ValueError(_UNENCODED) from None
    if "#" in url or ("@" in parts.path and parts.scheme != "unix"):
        # Otherwise the part of the password before a bare "#" or "/" would pass for a server and its port.
        raise ValueError(_UNENCODED)
    return parts


def _options(scheme: str, query: str) -> dict[str, Any]:
    options: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    if not options.keys() <= _OPTIONS[scheme]:
        # The options are not repeated: they may be part of a password with a bare "?".
        raise ValueError(f"after '?' {scheme}:// accepts {', '.join(sorted(_OPTIONS[scheme]))}")
    if "db" in options:
        options["db"] = _number(options["db"], "the database")
    if "ssl" in options:
        if options["ssl"] not in {"true", "false"}:
            raise ValueError("ssl must be true or false")
        options["ssl"] = options["ssl"] == "true"
    return options


def _addresses(netloc: str, default_port: int) -> tuple[Address, ...]:
    return tuple(_address(piece, default_port) for piece in netloc.split(","))


def _address(piece: str, default_port: int) -> Address:
    try:
        split = urlsplit(f"//{piece.strip()}")
        host, port = split.hostname, split.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ValueError("each server must be host or host:port, with a port of at most 65535")
    return Address(host, default_port if port is None else port)


def _service(path: str) -> tuple[str, int]:
    service, _, db = path.strip("/").partition("/")
    if not service:
        raise ValueError("redis+sentinel:// needs the master's name: redis+sentinel://host:26379/name")
    return service, _number(db, "the database") if db else 0


def _reject_path(path: str, why: str) -> None:
    if path.strip("/"):
        raise ValueError(f"unexpected text after the servers: {why}")


def _number(text: str, what: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{what} must be a number")
    return int(text)
