"""`check --connect`: run what serving needs on Redis, and ask Apple to accept the developer token.

Each check returns a line of result or raises `CommandFailed` with the cure in words.
"""

import asyncio
import hashlib
import os
import re
import secrets
import ssl
import time
from collections.abc import Sequence

from redis.exceptions import (
    AuthenticationError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from gateway.apple.developer_token import mint
from gateway.cache.invalidation import encode_message
from gateway.cache.redis.cluster import slot_ranges
from gateway.cache.redis.connect import Opener
from gateway.cache.redis.connection import RedisConnection
from gateway.cache.redis.errors import NoMasterError, WritesRefused
from gateway.cache.redis.layout import Keys
from gateway.cache.redis.url import RedisUrl, parse_url
from gateway.cli.console import CommandFailed
from gateway.cli.http import HttpReply, ask
from gateway.credentials import redis_tls, signing_key
from gateway.resolver import Resolver
from gateway.settings import Settings
from gateway.settings.values import MASK

TIMEOUT_SECONDS = 5.0

RedisCommand = tuple[str | bytes | int, ...]


def redis(settings: Settings) -> str:
    """Run every kind of command that serving needs, on a key of the check's own that is deleted again."""
    cache = settings.cache
    if cache.redis_url is None:
        return "not set: the cache is in-process only"
    url = parse_url(cache.redis_url.get_secret_value())
    commands = serving_commands(cache.namespace, secrets.token_hex(8))
    began = time.monotonic()
    try:
        faults = asyncio.run(_try_everywhere(Opener(url, redis_tls(settings), Resolver()), commands))
    except NoPermissionError as error:
        raise CommandFailed(f"{_safe(error, url)}. {_cure([error], url, cache.namespace)}") from None
    except Exception as error:  # noqa: BLE001 - any exception of the client library means: no Redis
        raise CommandFailed(f"{_no_answer(error, url) or _safe(error, url)}. {_advice(error, url)}") from None
    if faults:
        listed = "\n".join(f"  {_safe(error, url)}" for error in faults)
        raise CommandFailed(
            f"Redis refuses commands that serving needs:\n{listed}\n{_cure(faults, url, cache.namespace)}"
        )
    shown = settings.masked()["cache.redis_url"]
    return f"{shown} answers {len(commands)} kinds of commands, {_ms(began)}"


def serving_commands(namespace: str, mark: str) -> list[RedisCommand]:
    """One of each command that serving sends, in an order that leaves nothing behind."""
    keys = Keys(namespace)
    key, beat = f"{namespace}:{{check-{mark}}}", keys.beat(f"check-{mark}")
    script = "return redis.call('HLEN', KEYS[1])"
    digest = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
    return [
        ("TIME",),
        ("HSET", key, "a", "1"),
        ("PEXPIRE", key, 60_000),
        ("HMGET", key, "a"),
        ("HGET", key, "a"),
        ("HGETALL", key),
        ("HLEN", key),
        ("EXISTS", key),
        ("EVAL", script, 1, key),
        ("EVALSHA", digest, 1, key),
        ("HDEL", key, "a"),
        ("DEL", key),
        ("PUBLISH", beat, "check"),
        ("PUBLISH", keys.channel, encode_message(f"check-{mark}")),
        ("SUBSCRIBE", keys.channel, keys.announcements, beat),
    ]


async def _try_everywhere(opener: Opener, commands: Sequence[RedisCommand]) -> list[ResponseError]:
    """Errors of the server, of Sentinel's master, or of every master of a cluster; each once."""
    if opener.url.scheme == "redis+cluster":
        connections = await _open_masters(opener)
    elif opener.url.service is not None:
        connections = [await opener.open_master()]
    else:
        connections = [await opener.open()]
    found: dict[str, ResponseError] = {}
    for connection in connections:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                found |= {str(error): error for error in await _try(connection, commands)}
        finally:
            connection.close(ConnectionError("checked"))
    return list(found.values())


async def _try(connection: RedisConnection, commands: Sequence[RedisCommand]) -> list[ResponseError]:
    faults = []
    for command in commands:
        try:
            await connection.execute(*command)
        except MovedError:
            pass  # the key belongs to another node of the cluster, which is asked too; rights come first
        except ResponseError as error:
            faults.append(error)
    return faults


async def _open_masters(opener: Opener) -> list[RedisConnection]:
    """A connection to every master, as the first address that answers lists them."""
    fault: Exception = ConnectionError("no address of the cluster answers")
    for address in opener.url.addresses:
        try:
            async with opener.visit(address) as connection:
                slots = await connection.execute("CLUSTER", "SLOTS")
        except Exception as error:  # noqa: BLE001 - the next address may answer
            fault = error
            continue
        masters = {master for _, _, master in slot_ranges(slots, address)}
        if not masters:
            raise ConnectionError("the cluster serves no slots")
        return [await opener.open(master) for master in sorted(masters)]
    raise fault


def apple(settings: Settings) -> str:
    """Request `GET /v1/test` with a developer token."""
    apple_ = settings.apple
    key = signing_key(settings, origin=apple_.origin)
    headers = {"Authorization": f"Bearer {mint(key, time.time()).text}"}
    if apple_.origin is not None:
        headers["Origin"] = apple_.origin
    proxy = None if apple_.proxy_url is None else apple_.proxy_url.get_secret_value()
    through = "" if apple_.proxy_url is None else f" through {settings.masked()['apple.proxy_url']}"
    began = time.monotonic()
    url = f"{apple_.base_url}/v1/test"
    answer = ask("GET", url, headers, timeout_seconds=TIMEOUT_SECONDS, proxy=proxy)
    fault = _apples_fault(answer, apple_.base_url, url)
    if fault is not None:
        raise CommandFailed(fault)
    return f"{apple_.base_url} accepts the developer token ({answer.status}){through}, {_ms(began)}"


def _apples_fault(answer: HttpReply, base_url: str, url: str) -> str | None:
    """Why an answer to `GET /v1/test` does not show that Apple accepts the token; None if it does."""
    if answer.status == 401:
        return (
            f"{base_url} refuses the developer token (401). Compare apple.team_id, apple.key_id and "
            "apple.private_key with Apple's developer site, and the clock of this machine with the time; "
            "if apple.origin is set, the key must allow it."
        )
    if answer.status == 403:
        return (
            f"{base_url} refuses the call (403). If it still does in a minute, the key has lost its MusicKit "
            "service, apple.origin is not one that it allows, or a proxy answers."
        )
    if answer.status == 429 or answer.status >= 500:
        return (
            f"{base_url} answered {answer.status}, so the developer token could not be checked. "
            "Try again in a minute; look at Apple's system status page."
        )
    page = answer.headers.get_content_type() == "text/html"
    if answer.status == 200 and not page:
        return None
    return (
        f"{url} answered {answer.status}{' with an HTML page' if page else ''}, which Apple's API does not: "
        "is apple.base_url right, or does a proxy answer?"
    )


def _no_answer(error: Exception, url: RedisUrl) -> str | None:
    """Which server did not answer, in the system's words; None if the error says enough."""
    single = url.scheme != "redis+cluster" and url.service is None
    where = url.path or ", ".join(map(str, url.addresses))
    if isinstance(error, TimeoutError):
        return f"no answer from {where} in time"
    if not isinstance(error, OSError) or isinstance(error, ssl.SSLError) or not error.errno:
        return None
    reason = os.strerror(error.errno)
    # Other addresses of a cluster, or of Sentinel's master, are only in the error's own text.
    return f"no answer from {where}: {reason}" if single else f"no answer: {reason} ({error.strerror})"


def _safe(error: Exception, url: RedisUrl) -> str:
    """The error's text without credentials, in case a library repeats them."""
    text = str(error) or type(error).__name__
    for part in (url.password, url.username, url.sentinel_password, url.sentinel_username):
        text = text.replace(part, MASK) if part else text
    # In protected mode Redis answers with a page of advice.
    return text.partition(". ")[0].rstrip(".")


def _advice(error: Exception, url: RedisUrl) -> str:
    text = str(error)
    cause = (error.__cause__ if isinstance(error, NoMasterError) else None) or error
    if isinstance(cause, AuthenticationError) or "NOAUTH" in text or "WRONGPASS" in text:
        if isinstance(error, NoMasterError):
            return (
                "Compare ?sentinel_username=…&sentinel_password=… in cache.redis_url with the users, or the "
                "`requirepass`, of the Sentinels."
            )
        return "Compare user and password in cache.redis_url: redis://user:password@host."
    if text.startswith("DENIED"):
        return (
            "Give its users passwords (README has the rights), or set `protected-mode no` where only "
            "gateways reach it."
        )
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "Does cache.redis_ca_file contain the CA of its certificate, and does that name this address?"
    if re.search(r"ALERT_(\w*CERTIFICATE|UNKNOWN_CA)", text):
        return f"It refuses the gateway's certificate, or the lack of one: {_CLIENT_CERTIFICATE}"
    if isinstance(cause, ssl.SSLError):
        return _tls_advice(url)
    advice = "Is the server running at that address, and can this machine reach it?"
    # A server that expects TLS closes the connection, or waits for more; so does one that was sent TLS.
    closed = isinstance(cause, ConnectionResetError) or "closed the connection" in str(cause)
    if url.path is None and (closed or isinstance(cause, TimeoutError)):
        return f"{advice} {_tls_advice(url)}"
    return advice


_CLIENT_CERTIFICATE = "set cache.redis_cert_file and cache.redis_key_file."


def _tls_advice(url: RedisUrl) -> str:
    listed = url.scheme == "redis+cluster" or url.service is not None
    tls, plain = ("?ssl=true", "no ?ssl=true") if listed else ("rediss://", "redis://")
    advice = f"Does it speak TLS ({tls}), or not ({plain})?"
    # If a server closes at once, its alert may be lost.
    return f"{advice} If it demands a client certificate, {_CLIENT_CERTIFICATE}" if url.ssl else advice


def _cure(faults: Sequence[ResponseError], url: RedisUrl, namespace: str) -> str:
    if any(isinstance(error, NoPermissionError) for error in faults):
        text = " ".join(map(str, faults))
        rights = [f"+{name}" for name in re.findall(r"'([a-z|]+)'", text)]
        rights += [f"{sign}{namespace}:*" for sign, what in (("~", "key"), ("&", "channel")) if what in text]
        return f"Grant them: ACL SETUSER {url.username or 'default'} {' '.join(rights)}"
    if any(isinstance(error, ReadOnlyError) for error in faults):
        return "This is a replica: point cache.redis_url to the master, or use redis+sentinel://."
    if any(isinstance(error, WritesRefused) for error in faults):
        return (
            "It refuses writes: too few replicas follow it, or its last snapshot failed (is its disk full?)."
        )
    if any(isinstance(error, OutOfMemoryError) for error in faults):
        return "It is full: raise maxmemory, and set maxmemory-policy allkeys-lru."
    return "Is this a Redis of version 7.0 or newer?"


def _ms(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.0f} ms"
