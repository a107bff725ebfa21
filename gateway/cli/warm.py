"""`warm`: asks a running gateway for many ids of one user, so that they are in its cache afterwards."""

import re
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.cli.console import Failure, WrongUsage, report, say
from gateway.cli.http import Answer, api_url, ask, secret, user_token
from gateway.model import Kind

CHUNK = 500
TRIES = 3
WAIT_MS = 30_000
"""How long the gateway may take for one chunk."""


@dataclass(frozen=True, slots=True)
class TierCounts:
    """What came of the ids so far; `errors` holds each reason once."""

    rated: int = 0
    unrated: int = 0
    cached: int = 0
    fetched: int = 0
    failed: int = 0
    errors: frozenset[str] = field(default=frozenset())

    @property
    def ids(self) -> int:
        return self.rated + self.unrated + self.failed


def run(arguments: Namespace) -> int:
    ids = read_ids(arguments.ids, arguments.type)
    base = api_url(arguments.url)
    headers = {
        "Music-User-Token": user_token(arguments.user_token_file),
        "Prefer": "handling=lenient",
        "X-Request-Timeout-Ms": str(WAIT_MS),
    }
    caller_token = secret(arguments.caller_token_file, "GATEWAY_CALLER_TOKEN")
    if caller_token is not None:
        headers["X-Gateway-Token"] = caller_token

    def fetch(chunk: Sequence[str]) -> Answer:
        document = {"ids": {arguments.type: chunk}}
        url = f"{base}/v1/me/ratings"
        return ask("POST", url, headers, document=document, timeout_seconds=WAIT_MS / 1000 + 5)

    began = time.monotonic()
    tally = TierCounts()
    with _progress(len(ids)) as advance:
        for start in range(0, len(ids), CHUNK):
            tally = warm_chunk(ids[start : start + CHUNK], fetch, tally, time.sleep)
            advance(tally.ids)
    _summarise(tally, time.monotonic() - began)
    return 1 if tally.failed else 0


def read_ids(source: str, kind: Kind) -> list[str]:
    """The distinct ids of a file (`-`: stdin), in its order. Raises `WrongUsage` with every bad line."""
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"{source} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    if bad := [
        f"  line {number}: {id_}" for number, id_ in enumerate(lines, 1) if id_ and not kind.admits(id_)
    ]:
        raise WrongUsage("\n".join([f"these cannot be ids of {kind} (--type names another type):", *bad]))
    ids = list(dict.fromkeys(filter(None, lines)))
    if not ids:
        raise WrongUsage(f"{source} holds no ids: one a line is expected")
    return ids


def warm_chunk(
    ids: Sequence[str],
    fetch: Callable[[Sequence[str]], Answer],
    tally: TierCounts,
    sleep: Callable[[float], None],
) -> TierCounts:
    """`tally` with these ids added; what fails in passing is asked for again, `TRIES` times in all."""
    attempt = 1
    while True:
        answer = fetch(ids)
        tally, errors = _count(tally, ids, answer)
        again = [id_ for id_, error in errors.items() if error.get("status") in _PASSING and attempt < TRIES]
        final = [error for id_, error in errors.items() if id_ not in set(again)]
        reasons = frozenset(str(error.get("detail") or error.get("title")) for error in final)
        tally = replace(tally, failed=tally.failed + len(final), errors=tally.errors | reasons)
        if not again:
            return tally
        ids = again
        attempt += 1
        sleep(_pause(answer))


def _count(
    tally: TierCounts, ids: Sequence[str], answer: Answer
) -> tuple[TierCounts, dict[str, dict[str, Any]]]:
    """`tally` with what this answer brought, and the error of every id that it did not bring."""
    document = answer.json()
    if answer.status != 200:
        if str(answer.status) not in _PASSING:
            raise Failure(
                f"the gateway answered {answer.status}: {answer.detail()}{_HINTS.get(answer.status, '')}"
            )
        return tally, {id_: {"status": str(answer.status), "detail": answer.detail()} for id_ in ids}
    errors = {error["meta"]["id"]: error for error in document.get("errors", ()) if "meta" in error}
    for error in errors.values():
        if error.get("status") in _REFUSALS:
            raise Failure(_REFUSALS[error["status"]])
    rated = len(document.get("data", ()))
    tiers = {
        tier: int(number)
        for tier, number in re.findall(r"(\w+)=(\d+)", answer.headers.get("Cache-Status", ""))
    }
    tally = replace(
        tally,
        rated=tally.rated + rated,
        unrated=tally.unrated + len(ids) - len(errors) - rated,
        cached=tally.cached + tiers.get("local", 0) + tiers.get("shared", 0),
        fetched=tally.fetched + tiers.get("upstream", 0),
    )
    return tally, errors


def _pause(answer: Answer) -> float:
    """Seconds before the next try: what the gateway asks for, at most half a minute, else one."""
    asked = answer.headers.get("Retry-After", "")
    return min(float(asked), 30.0) if asked.isdigit() else 1.0


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Takes the number of ids done: a bar where stderr is a terminal, else a line each time."""
    if not sys.stderr.isatty():
        yield lambda done: report(f"{done} of {total} ids")
        return
    from rich.console import Console  # noqa: PLC0415  # only a terminal needs it
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn  # noqa: PLC0415

    console = Console(stderr=True)
    with Progress(
        "warming", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    ) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)


def _summarise(tally: TierCounts, seconds: float) -> None:
    counts = {
        "ids": tally.ids,
        "rated": tally.rated,
        "unrated": tally.unrated,
        "from cache": tally.cached,
        "fetched": tally.fetched,
        "failed": tally.failed,
    }
    for name, count in counts.items():
        say(f"{name:<10}  {count}")
    say(f"{'seconds':<10}  {seconds:.1f}")
    for reason in sorted(tally.errors):
        report(f"failed: {reason}")
    if tally.failed:
        report("Run it again: what is cached by now costs nothing.")


_PASSING = frozenset({"429", "500", "502", "503", "504"})
"""Statuses that may be gone a moment later."""

_REFUSALS = {
    "401": "Apple refuses the gateway's developer token: see `ratings-gateway check --connect` there.",
    "403": "Apple refuses the user token: it is wrong or has expired; a new sign-in brings a new one.",
}
"""What Apple says of one id and means of all: there is no use in asking on."""

_HINTS = {
    401: "\nGive one of server.caller_tokens: --caller-token-file FILE, or GATEWAY_CALLER_TOKEN.",
    403: f"\n{_REFUSALS['403']}",
    404: "\nIs this the API (port 8080), and not the ops listener?",
}
