"""`check --connect`: does Redis answer, can the upstream be reached? Each says so or raises `Failure`."""

import asyncio
import contextlib
import time
from pathlib import Path

from redis.exceptions import AuthenticationError, NoPermissionError

from gateway.apple.developer_token import mint
from gateway.cache.redis.connect import Opener, Tls
from gateway.cache.redis.url import Address, RedisUrl, parse_url
from gateway.cli.console import Failure
from gateway.cli.http import ask
from gateway.cli.token import signing_key
from gateway.settings import Settings
from gateway.settings.values import MASK

TIMEOUT_SECONDS = 5.0


def redis(settings: Settings) -> str:
    """Log in and see an answer, by way of whatever `cache.redis_url` names."""
    if settings.cache.redis_url is None:
        return "not set: the cache is in-process only"
    url = parse_url(settings.cache.redis_url.get_secret_value())
    cache = settings.cache
    tls = Tls(
        ca_file=_text(cache.redis_ca_file),
        cert_file=_text(cache.redis_cert_file),
        key_file=_text(cache.redis_key_file),
    )
    began = time.monotonic()
    try:
        asyncio.run(_prove(Opener(url, tls)))
    except Exception as error:  # noqa: BLE001  # whatever a client library lets out is a Redis that is not there
        raise Failure(f"{_safe(error, url)}. {_advice(error)}") from None
    return f"{url.scheme}:// answers, {_ms(began)}"


async def _prove(opener: Opener) -> None:
    """The master that Sentinel names, or the server; of a cluster any node that gives its slot map."""
    if opener.url.service is not None:
        await (await opener.open_master()).disconnect()
    elif opener.url.scheme != "redis+cluster":
        await (await opener.open()).disconnect()
    else:
        for address in opener.url.addresses[:-1]:
            with contextlib.suppress(Exception):
                await _see_slots(opener, address)
                return
        await _see_slots(opener, opener.url.addresses[-1])


async def _see_slots(opener: Opener, address: Address) -> None:
    async with opener.visit(address) as connection:
        await connection.send_command("CLUSTER", "SLOTS")
        await connection.read_response()


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


def _text(file: Path | None) -> str | None:
    return None if file is None else str(file)


def _safe(error: Exception, url: RedisUrl) -> str:
    """The error's words without credentials, should a library repeat them."""
    text = str(error) or type(error).__name__
    for part in (url.password, url.username, url.sentinel_password, url.sentinel_username):
        text = text.replace(part, MASK) if part else text
    return text.rstrip(".")


def _advice(error: Exception) -> str:
    text = str(error)
    if isinstance(error, AuthenticationError) or "NOAUTH" in text or "WRONGPASS" in text:
        return "Compare user and password in cache.redis_url: redis://user:password@host."
    if isinstance(error, NoPermissionError):
        return "Compare the user's ACL with the one in the README."
    if "CERTIFICATE" in text or "SSL" in text:
        return "Does cache.redis_ca_file vouch for its certificate, and is that made out for this address?"
    return "Is it running there, and may this machine reach it?"


def _ms(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.0f} ms"
