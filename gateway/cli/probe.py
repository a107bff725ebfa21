"""`probe`: write a rating through one gateway and measure when the others return it."""

import math
import signal
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

from gateway.cli.access import caller_token, hint, user_token
from gateway.cli.console import CommandFailed, WrongUsage, report, say
from gateway.cli.http import HttpReply, ask
from gateway.cli.parser import KIND_LIST, kind, takes_caller_token, takes_user_token
from gateway.model import ratings_path

DESCRIPTION = (
    "Writes a rating through the first gateway, reads it through the others, and restores the old rating. "
    "The user token comes from MUSIC_USER_TOKEN or --user-token-file. Exit status 1 if a gateway still "
    "returns the old rating after a second."
)
EXAMPLES = """
    MUSIC_USER_TOKEN=… ratings-gateway probe --type albums --id 1138988512 \\
      --url http://10.0.0.1:8080 --url http://10.0.0.2:8080
"""
ON_TIME_SECONDS = 0.1
"""Within which other gateways return a write while Redis works."""
LATE_SECONDS = 1.0
"""Worst case: the default of `cache.local_trust_seconds`."""
GIVE_UP_SECONDS = 5.0
POLL_SECONDS = 0.005
TIMEOUT_SECONDS = 15.0


class Unsettled(CommandFailed):
    """A write whose outcome is unknown: it may take effect later."""


class Rated(NamedTuple):
    """One id of one user, and how to request it."""

    path: str
    headers: Mapping[str, str]

    def ask(self, method: str, base: str, *, value: int | None = None, no_cache: bool = False) -> HttpReply:
        """Send one request to the gateway at `base`."""
        document = None if value is None else {"type": "rating", "attributes": {"value": value}}
        headers = {**self.headers, **({"Cache-Control": "no-cache"} if no_cache else {})}
        return ask(method, base + self.path, headers, document=document, timeout_seconds=TIMEOUT_SECONDS)

    def read(self, base: str, *, no_cache: bool = False) -> int | None:
        """The rating, None if there is none. Raises `CommandFailed`."""
        answer = self.ask("GET", base, no_cache=no_cache)
        document = answer.json()
        if answer.status == 200 and document.get("data"):
            value: int | None = document["data"][0].get("attributes", {}).get("value")
            return value
        if answer.status == 404 and any(error.get("code") == "40400" for error in document.get("errors", ())):
            return None
        raise CommandFailed(f"reading through {base}: {answer.status} {answer.detail()}{hint(answer)}")

    def write(self, base: str, value: int | None) -> None:
        """Rate, or remove the rating. Raises `CommandFailed`, `Unsettled` if it may have taken effect."""
        try:
            answer = self.ask("DELETE" if value is None else "PUT", base, value=value)
        except CommandFailed as error:
            raise Unsettled(str(error)) from None
        if not (200 <= answer.status < 300 or (value is None and answer.status == 404)):
            failure = Unsettled if answer.status >= 500 else CommandFailed
            raise failure(f"writing through {base}: {answer.status} {answer.detail()}{hint(answer)}")


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--type", type=kind, required=True, help=KIND_LIST)
    parser.add_argument("--id", required=True, help="id whose rating is changed and restored")
    parser.add_argument(
        "--url",
        dest="urls",
        action="append",
        required=True,
        metavar="URL",
        help="URL of a gateway's API: the first writes, the others read; at least two",
    )
    takes_caller_token(parser)
    takes_user_token(parser)


def run(arguments: Namespace) -> int:
    first, *others = (url.rstrip("/") for url in arguments.urls)
    if not others:
        raise WrongUsage("--url must be given at least twice: one gateway writes, the others read")
    if not arguments.type.admits(arguments.id):
        raise WrongUsage(f"invalid {arguments.type} id: {arguments.id}")
    headers = {"Music-User-Token": user_token(arguments.user_token_file)}
    token = caller_token(arguments.caller_token_file)
    if token is not None:
        headers["X-Gateway-Token"] = token
    rated = Rated(ratings_path(arguments.type, arguments.id), headers)
    failed: BaseException | None = None
    with _Signals() as signals:
        old = rated.read(first, no_cache=True)
        new = -1 if old == 1 else 1
        for url in others:
            rated.read(url)  # so that each has the old rating in its memory
        try:
            lags = _measure(rated, first, others, new, signals)
        except BaseException as error:
            failed = error
            raise
        finally:
            _restore(rated, first, old, failed)
    return _verdict(lags)


class _Signals:
    """Turns Ctrl-C, SIGTERM and SIGHUP into `KeyboardInterrupt`, so that the rating is restored."""

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._deferring = self._received = False

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Ignored for what a shell runs in the background, or under nohup.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let a write be answered first: the gateway carries it out even if its caller leaves.

        A second signal does not wait; the write is `Unsettled` then.
        """
        self._deferring = True
        try:
            yield
        except KeyboardInterrupt:
            raise Unsettled("interrupted before the write was answered") from None
        finally:
            self._deferring = False
        if self._received:
            raise KeyboardInterrupt

    def _interrupt(self, *_: object) -> None:
        if self._deferring and not self._received:
            self._received = True
            report("waiting for the answer to the write; once more to stop at once")
        else:
            raise KeyboardInterrupt


def _measure(
    rated: Rated, first: str, others: Sequence[str], new: int, signals: _Signals
) -> dict[str, float | None]:
    """Seconds after the write's answer until each gateway returned `new`; None if it did not in time."""
    began = time.monotonic()
    with signals.deferred():
        rated.write(first, new)
    written = time.monotonic()
    say(f"wrote {_shown(new)} through {first} in {_ms(written - began)}")
    lags = watch(
        {url: lambda url=url: rated.read(url) == new for url in others},  # type: ignore[misc]
        clock=time.monotonic,
        sleep=time.sleep,
    )
    if rated.read(first) != new:
        lags[first] = None
    return lags


def watch(
    returns_new: Mapping[str, Callable[[], bool]],
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> dict[str, float | None]:
    """Poll until each check is true; seconds that each took, None after `GIVE_UP_SECONDS`."""
    began = clock()
    lags: dict[str, float | None] = {}
    while waiting := [name for name in returns_new if name not in lags]:
        for name in waiting:
            if returns_new[name]():
                lags[name] = clock() - began
        if clock() - began > GIVE_UP_SECONDS:
            return lags | {name: None for name in returns_new if name not in lags}
        sleep(POLL_SECONDS)
    return lags


def _restore(rated: Rated, first: str, old: int | None, failed: BaseException | None) -> None:
    """Write the old rating back, also after the measurement `failed`."""
    may_have_changed = f"The rating may have changed. It was: {_shown(old)}"
    try:
        rated.write(first, old)
    except CommandFailed as error:
        causes = [str(each) for each in (failed, error) if isinstance(each, CommandFailed)]
        raise CommandFailed("\n".join([*dict.fromkeys(causes), may_have_changed])) from None
    except BaseException:
        report(may_have_changed)
        raise
    if not isinstance(failed, Unsettled):
        say(f"restored {_shown(old)}")
    else:
        report(
            f"The old rating was written back: {_shown(old)}. But the write before it was not answered, and "
            "may take effect later: check the rating."
        )


def _verdict(lags: Mapping[str, float | None]) -> int:
    for url, lag in lags.items():
        say(f"{url}  {'returns the old rating' if lag is None else f'lag {_ms(lag)}'}")
    worst = max(math.inf if lag is None else lag for lag in lags.values())
    if worst <= ON_TIME_SECONDS:
        say("verdict: ok, every gateway returned the new rating within 100 ms")
    elif worst <= LATE_SECONDS:
        say("verdict: late, over 100 ms: is the invalidation subscription of that gateway up (/status)?")
    else:
        say("verdict: failed. Do these gateways share one Redis, and does it answer (/status)?")
        return 1
    return 0


def _shown(value: int | None) -> str:
    return "none (unrated)" if value is None else str(value)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
