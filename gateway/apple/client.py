"""Apple's ratings API as the gateway uses it: `fetch` for ratings, `send` for everything else."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from gateway.apple.batch_splitter import BatchSplitter
from gateway.apple.call import NO_HEADERS, Call, Failed, asked_of
from gateway.apple.caller import Caller
from gateway.apple.concurrency import ConcurrencyLimiter
from gateway.apple.division import Job
from gateway.apple.response import AppleResponse, check_json, failure_of, read_many
from gateway.apple.trial import Trial
from gateway.errors import GatewayError, UpstreamError
from gateway.model import Id, Kind, Partition, Rating, User
from gateway.riders import Riders
from gateway.waiters import Waiters


class Outbound(msgspec.Struct, frozen=True):
    """A request that goes to Apple as it came: a write, or a read that bypasses the cache."""

    operation: str
    """`write`, `delete`, `favorites` or `bypass`."""
    method: str
    path: str
    query: str
    """As it came, without the question mark; may be empty."""
    user: User
    body: bytes | None = None
    headers: Mapping[str, str] = NO_HEADERS
    """Preconditions, which go along as they came."""
    many: tuple[Kind, Sequence[Id]] | None = None
    """What a bypass asks for, in the form with many ids."""


class AppleSuccess(msgspec.Struct, frozen=True):
    """Apple's answer to what was sent as it came: a success (2xx), whose body is JSON or empty."""

    status: int
    body: bytes
    lists_ratings: bool = False
    """Whether a bypass of the form with many ids was answered with a list of ratings after all."""


class Apple:
    """The interface through which everything is asked of Apple."""

    def __init__(
        self, caller: Caller, splitter: BatchSplitter, limiter: ConcurrencyLimiter, now: Callable[[], float]
    ) -> None:
        self._caller = caller
        self._splitter = splitter
        self.limiter = limiter
        self._now = now

    def batch_size(self) -> int:
        """The most ids that one call should ask for now."""
        return self._splitter.batch_size()

    def refusal(self, partition: Partition, id_: Id, now: float) -> UpstreamError | None:
        """Return the error that answers for this id without a call to Apple, or None. Counts nothing."""
        return self._splitter.refusal(partition, id_, now)

    def write_refusal(self, user: User) -> UpstreamError | None:
        """Return, and count, the error with which `send` would answer a write without a call, or None."""
        try:
            self._caller.check(user.key, write=True)
        except UpstreamError as error:
            return error
        return None

    def throttled_elsewhere(self) -> None:
        """Another gateway of the same company was answered 429."""
        self.limiter.throttled_elsewhere()

    async def fetch(
        self,
        partition: Partition,
        ids: Sequence[Id],
        *,
        riders: Riders,
        waiters: Waiters,
        deadline: float,
    ) -> dict[Id, Rating | GatewayError]:
        """Ask for `ids` (distinct), in as many calls as it takes.

        No try begins after `deadline` (monotonic seconds); the first of a call has its whole time.

        Never raises for Apple's failures: each id gets its resource, None for unrated, or the error that is
        its own. One id that Apple refuses, or fails for, does not fail the others. `riders` get a
        result if they came along in a call that had free seats for them.
        """
        return await self._splitter.fetch(Job(partition, waiters, deadline), ids, riders)

    async def send(self, call: Outbound, deadline: float, waiters: Waiters) -> AppleSuccess | UpstreamError:
        """Send `call` until `deadline` (monotonic seconds) and return what Apple answers, or the failure.

        A POST and a conditional write are sent once. Another write is repeated if nothing of it was sent,
        if Apple refused it unread (429; 401 once, with a new developer token), and once if a kept connection
        broke before an answer; then the failure of the repeat is `maybe_done`. Every answer but a success is
        a failure.
        """
        deletes = call.method == "DELETE"
        subject = call.path if call.operation in ("write", "delete") else None
        trial = Trial(
            call.user.key,
            self._now(),
            topic=topic_of(call.path),
            subject=subject,
            write=call.method != "GET",
        )
        answer: AppleSuccess | Failed = await self._caller.run(
            Call(
                operation=call.operation,
                method=call.method,
                target=f"{call.path}?{call.query}" if call.query else call.path,
                user=call.user,
                waiters=waiters,
                trial=trial,
                asked=asked_of(call.method, call.headers),
                body=call.body,
                headers=call.headers,
            ),
            lambda answer: _success(answer, call.many, deletes=deletes),
            deadline,
        )
        if not isinstance(answer, Failed):
            return answer
        if answer.verdict.done:
            return AppleSuccess(204, b"")
        answer.error.maybe_done = trial.maybe_done
        return answer.error


def topic_of(path: str) -> str:
    """The path without an id: `/v1/me/ratings/albums`, `/v1/me/favorites`."""
    return "/".join(path.split("/")[:5])


def _success(answer: AppleResponse, many: tuple[Kind, Sequence[Id]] | None, *, deletes: bool) -> AppleSuccess:
    if not 200 <= answer.status < 300:
        raise failure_of(answer, deletes=deletes)
    check_json(answer)
    return AppleSuccess(answer.status, answer.body, many is not None and _lists_ratings(*many, answer))


def _lists_ratings(kind: Kind, asked: Sequence[Id], answer: AppleResponse) -> bool:
    try:
        read_many(kind, asked, answer)
    except UpstreamError:
        return False
    return True
