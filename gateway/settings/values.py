"""Validates single values and renders them as text.

No message repeats a value: it could be a secret in the wrong variable. Only file checks do I/O.
"""

import os
import re
import ssl
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin
from urllib.parse import urlsplit

from annotated_types import Ge, Gt, Le
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from gateway import host_header
from gateway.apple.signing_key import pem_of, read_private_key
from gateway.cache.redis.url import parse_url

MASK = "******"
_LONGEST_SOCKET_PATH = 107
_URLS = frozenset({"cache.redis_url", "apple.proxy_url"})
"""Secrets of which only user, password and query are masked."""


class Accepts(NamedTuple):
    """Describes what a setting accepts, if its type and bounds do not."""

    text: str


class Contradiction(ValueError):
    """A value that is valid by itself but conflicts with another; `setting` is the one to change."""

    def __init__(self, setting: str, problem: str, accepted: str) -> None:
        super().__init__(problem)
        self.setting = setting
        self.accepted = accepted


def accepted(field: FieldInfo) -> str:
    """Describe what the setting accepts."""
    marks = field.metadata
    for mark in marks:
        if isinstance(mark, Accepts):
            return mark.text
    kind = field.annotation
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if kind is bool:
        return "true or false"
    number = "a whole number" if kind is int else "a number"
    return ", ".join([number, *map(_bound, marks)])


def _bound(mark: object) -> str:
    match mark:
        case Gt(gt=bound):
            return f"above {bound}"
        case Ge(ge=bound):
            return f"at least {bound}"
        case Le(le=bound):
            return f"at most {bound}"
    raise AssertionError(mark)


def holds_secret(annotation: Any) -> bool:
    """Whether values of this type are, or hold, secrets."""
    return annotation is SecretStr or any(holds_secret(part) for part in get_args(annotation))


def display(name: str, value: Any) -> str:
    """A validated value as text: secrets masked, `-` if not set."""
    match value:
        case None | ():
            return "-"
        case SecretStr() if name in _URLS:
            return mask_url(value.get_secret_value())
        case SecretStr():
            return MASK
        case tuple():
            return ",".join(display(name, item) for item in value)
        case bool():
            return str(value).lower()
        case int() | float():
            return _plain(value)
        case _:
            return str(value)


def mask_url(url: str) -> str:
    """A URL with user, password and the values of its query masked."""
    url = re.sub(r"//.*@", f"//{MASK}@", url)
    return re.sub(r"([?&][^=&]*)=[^&]*", rf"\1={MASK}", url)


def is_loopback(host: str) -> bool:
    """Whether only this host can reach the address. Names are not resolved, except `localhost`."""
    return host.lower() == "localhost" or host_header.is_loopback(host)


def overlap(one: str, other: str) -> bool:
    """Whether two hosts share an address, so that one port cannot serve both. Resolves only `localhost`."""
    return any(
        a == b or "::" in (a, b) or ("0.0.0.0" in (a, b) and _is_ipv4(a) and _is_ipv4(b))  # noqa: S104 - compared, not bound
        for a in _addresses(one)
        for b in _addresses(other)
    )


def _addresses(host: str) -> tuple[str, ...]:
    name = host.lower()
    try:
        return (str(ip_address(name)),)
    except ValueError:
        return ("127.0.0.1", "::1") if name == "localhost" else (name,)


def _is_ipv4(address: str) -> bool:
    return re.fullmatch(r"[0-9.]+", address) is not None


def split(value: Any) -> Any:
    """Split text at commas and line ends; blanks and empty pieces are dropped, but something must be left."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str):
        return value
    pieces = [piece.strip() for piece in re.split(r"[,\r\n]", text) if piece.strip()]
    if not pieces:
        raise ValueError("it is empty")
    return pieces


def lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def host(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252})", text) is None:
        try:
            ip_address(text)
        except ValueError:
            raise ValueError("not an address or a host name") from None
    return text


def stripped(value: Any) -> Any:
    """Remove blanks and line ends around text: secret stores often add them."""
    if isinstance(value, SecretStr):
        return SecretStr(value.get_secret_value().strip())
    return value.strip() if isinstance(value, str) else value


def token(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value():
        raise ValueError("it is empty")
    if re.fullmatch(r"[!-~]+", secret.get_secret_value()) is None:
        raise ValueError("contains characters that a header cannot carry")
    return secret


def shown_path(text: str) -> str:
    """The path if it is one for certain; anything else may be the secret itself."""
    certain = re.fullmatch(r"\.{0,2}/[^\n]*|[\w./-]+\.(?i:crt|key|p8|pem|toml|txt)", text)
    return text if certain else "the file that it names"


def readable(path: Path | None) -> Path | None:
    if path is not None and not _can_be_read(path):
        raise ValueError(f"{shown_path(str(path))} cannot be read")
    return path


def _can_be_read(path: Path) -> bool:
    try:
        return path.is_file() and os.access(path, os.R_OK)
    except OSError:  # a key where its path belongs is too long for one, and the error would repeat it
        return False


def authorities(path: Path | None) -> Path | None:
    if path is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        except OSError:  # which ssl's own error is
            raise ValueError(f"{path} contains no PEM certificate") from None
    return path


def are_a_pair(certificate: Path, key: Path) -> bool:
    """Whether the files contain a certificate and its unencrypted key."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password="")
    except OSError:
        return False
    return True


def socket_path(path: Path) -> Path:
    """Reject paths that the kernel refuses for a socket; its own error is hard to understand."""
    if not path.name or len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise ValueError("not a valid socket path")
    return path


def base_url(text: str) -> str:
    """Validate a base URL and remove a trailing slash."""
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        raise ValueError("not a URL") from None
    if not url.hostname or url.scheme not in ("https", "http") or re.search(r"\s", text):
        raise ValueError("not an https URL")
    if url.username or url.password or url.query or url.fragment:
        raise ValueError("user, query and fragment are not accepted")
    if url.scheme == "http" and not is_loopback(url.hostname):
        raise ValueError("http would send tokens over the network in clear text")
    return text.rstrip("/")


def origin(text: str) -> str:
    if re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?", text) is None:
        raise ValueError("not an origin")
    return text


def private_key_pem(secret: SecretStr) -> SecretStr:
    """Validate the key, and return it as PEM from any shape that a secret store gave it."""
    return SecretStr(pem_of(read_private_key(secret.get_secret_value())))


def redis_url(secret: SecretStr) -> SecretStr:
    """Validate a Redis URL."""
    parse_url(secret.get_secret_value())
    return secret


def proxy_url(secret: SecretStr) -> SecretStr:
    """A forward proxy's URL. Its path and query would be ignored, so they are rejected."""
    try:
        url = urlsplit(secret.get_secret_value())
        complete = url.hostname and url.port
    except ValueError:
        complete = None
    if not complete or url.scheme not in ("http", "https"):
        raise ValueError("not a proxy URL with host and port")
    if url.path not in ("", "/") or url.query or url.fragment:
        raise ValueError("path, query and fragment are not accepted")
    return secret


def uses_tls(url: SecretStr | None) -> bool:
    return url is not None and parse_url(url.get_secret_value()).ssl


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)
