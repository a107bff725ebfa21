"""`warm`: fill the cache of a running gateway with many ids of one user."""

import re
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.chunks import chunks
from gateway.cli.access import REFUSALS, api_url, caller_token, hint, user_token
from gateway.cli.console import CommandFailed, WrongUsage, report, say
from gateway.cli.http import HttpReply, ask
from gateway.cli.parser import KIND_LIST, kind, takes_caller_token, takes_user_token
from gateway.model import RATINGS_PATH, Kind

DESCRIPTION = (
    "The user token comes from MUSIC_USER_TOKEN or --user-token-file. Exit status 1 if any id cannot be had."
)
EXAMPLES = """
    MUSIC_USER_TOKEN=… ratings-gateway warm --ids albums.txt
    ratings-gateway warm --ids - --type songs --user-token-file token.txt < songs.txt
"""
CHUNK = 500
TRIES = 3
WAIT_MS = 30_000
"""Time limit of the gateway for one chunk."""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--ids", required=True, metavar="FILE", help="file with one id per line, # for comments; - is stdin"
    )
    parser.add_argument("--type", type=kind, default=Kind.ALBUMS, help=f"{KIND_LIST} (albums)")
    parser.add_argument(
        "--url",
        help="URL of the gateway's API, or unix:///path of its socket (default: from "
        "GATEWAY_SERVER__UNIX_SOCKET or GATEWAY_SERVER__PORT, else from the file that GATEWAY_CONFIG names, "
        "else http://127.0.0.1:8080)",
    )
    takes_caller_token(parser)
    takes_user_token(parser)


@dataclass(frozen=True, slots=True)
class Progress:
    """Result of the ids so far; `errors` contains each reason once."""

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
    token = caller_token(arguments.caller_token_file)
    if token is not None:
        headers["X-Gateway-Token"] = token

    def fetch(chunk: Sequence[str]) -> HttpReply:
        document = {"ids": {arguments.type: chunk}}
        url = base + RATINGS_PATH
        return ask("POST", url, headers, document=document, timeout_seconds=WAIT_MS / 1000 + 5)

    began = time.monotonic()
    progress = Progress()
    with _show_progress(len(ids)) as advance:
        for chunk in chunks(ids, CHUNK):
            progress = warm_chunk(chunk, fetch, progress, time.sleep)
            advance(progress.ids)
    _summarise(progress, time.monotonic() - began)
    return 1 if progress.failed else 0


def read_ids(source: str, type_: Kind) -> list[str]:
    """Distinct ids of a file (`-`: stdin), in its order. Raises `WrongUsage` with every bad line."""
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"{source} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    if bad := [
        f"  line {number}: {id_}" for number, id_ in enumerate(lines, 1) if id_ and not type_.admits(id_)
    ]:
        raise WrongUsage("\n".join([f"invalid {type_} ids (--type names another type):", *bad]))
    ids = list(dict.fromkeys(filter(None, lines)))
    if not ids:
        raise WrongUsage(f"{source} contains no ids: expected one per line")
    return ids


def warm_chunk(
    ids: Sequence[str],
    fetch: Callable[[Sequence[str]], HttpReply],
    progress: Progress,
    sleep: Callable[[float], None],
) -> Progress:
    """Add these ids to `progress`. Transient failures are retried, `TRIES` times in all."""
    attempt = 1
    while True:
        answer = fetch(ids)
        progress, errors = _count(progress, ids, answer)
        again = [
            id_ for id_, error in errors.items() if error.get("status") in _TRANSIENT and attempt < TRIES
        ]
        final = [errors[id_] for id_ in errors.keys() - again]
        reasons = frozenset(str(error.get("detail") or error.get("title")) for error in final)
        progress = replace(progress, failed=progress.failed + len(final), errors=progress.errors | reasons)
        if not again:
            return progress
        ids = again
        attempt += 1
        sleep(_pause(answer))


def _count(
    progress: Progress, ids: Sequence[str], answer: HttpReply
) -> tuple[Progress, dict[str, dict[str, Any]]]:
    """Add an answer to `progress`; also return the error of every id that it lacks."""
    document = answer.json()
    if answer.status != 200:
        if str(answer.status) not in _TRANSIENT:
            raise CommandFailed(f"the gateway answered {answer.status}: {answer.detail()}{hint(answer)}")
        return progress, {id_: {"status": str(answer.status), "detail": answer.detail()} for id_ in ids}
    errors = {error["meta"]["id"]: error for error in document.get("errors", ()) if "meta" in error}
    for error in errors.values():
        if error.get("status") in REFUSALS:
            raise CommandFailed(REFUSALS[error["status"]])
    rated = len(document.get("data", ()))
    tiers = {
        tier: int(number)
        for tier, number in re.findall(r"(\w+)=(\d+)", answer.headers.get("Cache-Status", ""))
    }
    progress = replace(
        progress,
        rated=progress.rated + rated,
        unrated=progress.unrated + len(ids) - len(errors) - rated,
        cached=progress.cached + tiers.get("local", 0) + tiers.get("shared", 0),
        fetched=progress.fetched + tiers.get("upstream", 0),
    )
    return progress, errors


def _pause(answer: HttpReply) -> float:
    """Seconds before the next try: the answer's Retry-After, at most 30, else 1."""
    asked = answer.headers.get("Retry-After", "")
    return min(float(asked), 30.0) if asked.isdigit() else 1.0


@contextmanager
def _show_progress(total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows how many ids are done: a bar on a terminal, else a line per call."""
    if not sys.stderr.isatty():
        yield lambda done: report(f"{done} of {total} ids")
        return
    from rich import progress as rich_progress  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415  # only a terminal needs it

    console = Console(stderr=True)
    columns = (
        "warming",
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)


def _summarise(progress: Progress, seconds: float) -> None:
    counts = {
        "ids": progress.ids,
        "rated": progress.rated,
        "unrated": progress.unrated,
        "from cache": progress.cached,
        "fetched": progress.fetched,
        "failed": progress.failed,
    }
    for name, count in counts.items():
        say(f"{name:<10}  {count}")
    say(f"{'seconds':<10}  {seconds:.1f}")
    for reason in sorted(progress.errors):
        report(f"failed: {reason}")
    if progress.failed:
        report("Run it again: cached ids cost no call.")


_TRANSIENT = frozenset({"429", "500", "502", "503", "504"})
"""Statuses that are worth a retry."""
