"""The latest failures, for the status page: bounded, and without text that callers sent.

What may be shown of a failure is the same in the log.
"""

from collections import deque
from collections.abc import Sequence
from operator import attrgetter

import msgspec

from gateway.errors import GatewayError, Refused, UpstreamError
from gateway.model import Id, Kind, ratings_path

MAX_KEPT = 25
"""Of each sort: failures, and refusals."""
MAX_SHOWN_IDS = 5


class RecentError(msgspec.Struct, frozen=True):
    """One request that failed. No user token, no body, and of its path only what was checked."""

    request_id: str
    at: float
    """Epoch seconds."""
    method: str
    route: str
    """The route's template."""
    status: int
    code: str
    cause: str
    """What the failure is attributed to and what it was: `apple: 503`, `id: 500`; `request` for refusals."""
    detail: str
    again: str | None
    """Path and query of a read that shows whether it still fails; None without a valid id."""


class RecentErrors:
    """Keeps the latest failures and, apart from them, the latest requests that were refused as they stood.

    Thousands of invalid requests from one caller must not push the one failure that matters off the page.
    """

    def __init__(self) -> None:
        self._failures: deque[RecentError] = deque(maxlen=MAX_KEPT)
        self._refusals: deque[RecentError] = deque(maxlen=MAX_KEPT)

    def add(
        self,
        error: GatewayError,
        *,
        request_id: str,
        at: float,
        method: str,
        route: str,
        again: str | None = None,
    ) -> None:
        """Keep what may be shown of `error`; `at` in epoch seconds, `again` from `read_target`."""
        kept = self._refusals if isinstance(error, Refused) else self._failures
        kept.append(
            RecentError(
                request_id, at, method, route, error.status, error.code, _cause(error), shown(error), again
            )
        )

    def latest(self) -> tuple[RecentError, ...]:
        """The newest first."""
        return tuple(sorted((*self._failures, *self._refusals), key=attrgetter("at"), reverse=True))


def _cause(error: GatewayError) -> str:
    if isinstance(error, UpstreamError):
        return f"{error.cause}: {error.reason}"
    return "request" if isinstance(error, Refused) else "gateway"


def shown(error: GatewayError) -> str:
    """The detail, but for refusals: theirs quote the request, which may hold a token in the wrong place."""
    if not isinstance(error, Refused):
        return error.detail
    source = error.source
    part = None if source is None else source.parameter or source.pointer
    return error.title if part is None or part not in KNOWN_PARTS else f"{error.title}: {part}"


def read_target(kind: Kind, ids: Sequence[Id]) -> str:
    """Path and query that read up to five of `ids`, which were checked."""
    return f"{ratings_path(kind)}?ids={','.join(ids[:MAX_SHOWN_IDS])}"


KNOWN_PARTS = frozenset(
    {
        "ids", "id", "type", "Music-User-Token", "X-Request-Timeout-Ms",
        "/type", "/attributes", "/attributes/value", "/ids", "/include", "/extend", "/l",
    }
)  # fmt: skip
"""Parts of a request whose names are the gateway's own; other names are the caller's."""
