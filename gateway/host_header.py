"""The `Host` header: whether RFC 9112 allows it, and whether it names this machine."""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

_REG_NAME = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*(?::[0-9]*)?")
_LITERAL = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]*)?")


@lru_cache(maxsize=128)
def is_allowed(host: str) -> bool:
    """Whether `host` is a `Host` field value by RFC 9112 section 3.2; an empty one is."""
    if _REG_NAME.fullmatch(host):
        return True
    literal = _LITERAL.fullmatch(host)
    if literal is None:
        return False
    try:
        IPv6Address(literal[1])
    except ValueError:
        return False
    return True


def names_loopback(host: str) -> bool:
    """Whether `host`, with or without a port, is `localhost` or a loopback address."""
    if literal := _LITERAL.fullmatch(host):
        return is_loopback(literal[1])
    name = host.partition(":")[0]
    return name.lower() == "localhost" or is_loopback(name)


def is_loopback(address: str) -> bool:
    """Whether `address` is a loopback IP address; IPv4-mapped IPv6 addresses count as what they map."""
    parsed = unmapped(address)
    return parsed is not None and parsed.is_loopback


def unmapped(address: str) -> IPv4Address | IPv6Address | None:
    """Parse an IP address, an IPv4-mapped IPv6 address as what it maps; None if it is none."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return parsed if mapped is None else mapped
