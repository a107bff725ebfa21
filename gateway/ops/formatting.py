"""Formats numbers for people. Pure."""

import math
from collections.abc import Mapping

NOTHING = "-"
"""Placeholder for a missing value."""

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def duration(seconds: float) -> str:
    """The two largest units: `12 s`, `4 min 30 s`, `3 h 20 min`, `2 d 4 h`; never negative."""
    left = max(0, int(seconds))
    parts = []
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def about(seconds: float) -> str:
    """The same in whole minutes, from one minute on."""
    return duration(seconds if seconds < 60 else 60 * round(seconds / 60))


def latency(seconds: float | None) -> str:
    """`0.8 ms`, `12 ms`, `1.2 s`."""
    if seconds is None:
        return NOTHING
    return f"{seconds:.2g} s" if seconds >= 1 else f"{significant(seconds * 1000)} ms"


def percent(share: float | None) -> str:
    """`94 %`, `0.3 %`, `< 0.1 %`; never a rounded 100 % or 0 %."""
    if share is None:
        return NOTHING
    if 0 < share < 0.001:
        return "< 0.1 %"
    if share < 0.1 or 0.99 < share < 1:
        return f"{min(share * 100, 99.9):.1f} %".replace(".0 %", " %")
    return f"{share * 100:.0f} %"


def by_frequency(counts: Mapping[str, int]) -> str:
    """The most frequent first: `500: 102, timeout: 80`."""
    most = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{name}: {count:,}" for name, count in most)


def rate(per_second: float) -> str:
    """`0`, `0.2/s`, `310/s`."""
    return "0/s" if per_second == 0 else f"{significant(per_second)}/s"


def significant(number: float) -> str:
    """Two significant digits, without an exponent: `0.031`, `4.2`, `42`, `1,234`."""
    if number == 0:
        return "0"
    if abs(number) >= 10:
        return f"{number:,.0f}"
    digits = f"{number:.2g}"
    return f"{number:.6f}".rstrip("0") if "e" in digits else digits


def size(count: int) -> str:
    """Bytes: `512 B`, `1.5 KiB`, `128 MiB`."""
    left = float(count)
    for unit in ("B", "KiB", "MiB"):
        if left < 1024:
            return f"{significant(left)} {unit}"
        left /= 1024
    return f"{significant(left)} GiB"


def plural(count: int, thing: str, things: str | None = None) -> str:
    """`1 call`, `1,234 calls`."""
    return f"{count:,} {thing if count == 1 else things or f'{thing}s'}"


def plural_were(count: int, thing: str, things: str | None = None) -> str:
    """`1 call was`, `1,234 calls were`."""
    return f"{plural(count, thing, things)} {'was' if count == 1 else 'were'}"


def users_of(users_and_types: int) -> str:
    """Pairs of a user and a type: `1 user and type`, `9 users and types`."""
    return plural(users_and_types, "user and type", "users and types")


def stale_bound(stale: int, checks: int) -> str:
    """Say how often a check was stale, and how often at most with 95 % confidence.

    For no stale check the bound is 3 in `checks`; `stale + 3 + 1.75 * sqrt(stale)` is never below the exact
    upper limit of a Poisson count.
    """
    if not checks:
        return "no checks yet"
    found = f"{stale:,} stale in {plural(checks, 'check')}"
    once_in = int(checks / (stale + 3 + 1.75 * math.sqrt(stale)))
    if once_in < 2:
        return f"{found}: too few for a bound"
    return f"{found}: at most 1 in {once_in:,} (95 % confidence)"
