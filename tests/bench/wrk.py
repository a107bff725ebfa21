"""wrk as the load: a script with the requests, and what it printed as numbers. Pure but for `run`."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from tests.bench.client import Ask

CALLERS = 32


class Load(msgspec.Struct, frozen=True):
    """What came of a load. Rates in requests a second, times in seconds."""

    requests: int
    rate: float
    p50: float
    p99: float
    failed: int
    """Answers other than 2xx and 3xx, and connections that broke."""


def script(asks: Sequence[Ask], headers: Mapping[str, str]) -> str:
    """A wrk script that sends `asks` in turn, over and over, all rendered before the load begins."""
    calls = [
        f"  requests[#requests + 1] = wrk.format('GET', {_text(ask.target)}, "
        f"{_table({**headers, 'Music-User-Token': ask.user})})"
        for ask in asks
    ]
    return "\n".join(
        [
            "local requests = {}",
            "local at = 0",
            "function init()",
            *calls,
            "end",
            "function request()",
            "  at = at % #requests + 1",
            "  return requests[at]",
            "end",
            "",
        ]
    )


def run(file: Path, port: int, seconds: int) -> Load:
    """Load the port with the script in `file`."""
    command = ["wrk", "-t1", f"-c{CALLERS}", f"-d{seconds}s", "--latency", "-s", str(file)]
    done = subprocess.run([*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True)
    return parse(done.stdout)


def parse(printed: str) -> Load:
    """Read what wrk printed. Raises `ValueError` where it is not that."""
    requests = re.search(r"^ *(\d+) requests in", printed, re.MULTILINE)
    rate = re.search(r"^Requests/sec: *([\d.]+)", printed, re.MULTILINE)
    shares = dict(re.findall(r"^ *(50|99)% +([\d.]+(?:us|ms|s|m))$", printed, re.MULTILINE))
    if requests is None or rate is None or len(shares) != 2:
        raise ValueError(f"not wrk's report: {printed!r}")
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", printed)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", printed)
    failed = (int(wrong[1]) if wrong else 0) + (sum(map(int, broken.groups())) if broken else 0)
    return Load(int(requests[1]), float(rate[1]), seconds(shares["50"]), seconds(shares["99"]), failed)


def seconds(text: str) -> float:
    """`1.5ms` and the like as seconds."""
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]  # matched before
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[unit]


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _table(headers: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"[{_text(name)}] = {_text(value)}" for name, value in headers.items()) + "}"
