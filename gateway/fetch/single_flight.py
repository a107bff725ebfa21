"""Single flight: an id of a partition is fetched at most once at a time, for all requests that need it.

How a miss is fetched:
1. `join` waits for the fetch of an id that is in flight, if it is recent enough for the requester, and begins
   a fetch for every other id. Fetches of one partition gather in a batch (see `batcher`).
2. A batch is dispatched: a task of its own loads its ids, with its own deadline. A caller that leaves does
   not end it.
3. It completes in one synchronous step: the result is stored, the fetches leave the table, and the requests
   that wait get their ids. A request that looks in the cache and joins in one step therefore finds either the
   result or the fetch.
"""

import asyncio
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from gateway.clock import Clock
from gateway.errors import DeadlineExceeded, GatewayError, NoCapacity
from gateway.fetch.batcher import Batch, Batcher, Fetch
from gateway.fetch.wait import FetchResult, FetchWait
from gateway.fill_token import FillToken
from gateway.model import Id, Partition, Rating, UserKind, Variant
from gateway.riders import TOPPED_UP_IDS, Riders
from gateway.tasks import Tasks
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Requester, Waiters

GRACE_SECONDS: Final = 1.0
"""After its longest time, a load that does not end is cancelled: no id may be in flight for ever."""


class Load(Protocol):
    """Fetches ids of one partition: returns for each its rating or a failure.

    No call begins after `deadline` (monotonic seconds); one that began may take its own time.
    """

    async def __call__(
        self, partition: Partition, ids: Sequence[Id], /, *, riders: Riders, waiters: Waiters, deadline: float
    ) -> Mapping[Id, FetchResult]:
        """`riders` are loaded along if that costs no call; those without a result were not."""
        ...


class Store(Protocol):
    """Stores what was fetched with a token; must not block. `ridden`: no request waits for these ids."""

    def __call__(
        self, partition: Partition, token: FillToken, ratings: Mapping[Id, Rating], /, *, ridden: bool
    ) -> None: ...


class RidersFailed(Protocol):
    """Receives the riders of a call that failed with them."""

    def __call__(self, partition: Partition, ids: Collection[Id], /) -> None: ...


class SingleFlight:
    """The table of ids in flight.

    `size()` is the most ids of one call, `window_seconds` how long a batch gathers, `fetch_seconds` how long
    its load may begin calls, retries included, and `call_seconds` how long one of them may take.
    """

    def __init__(
        self,
        load: Load,
        store: Store,
        riders_failed: RidersFailed,
        *,
        size: Callable[[], int],
        window_seconds: float,
        fetch_seconds: float,
        call_seconds: float,
        tasks: Tasks,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._load = load
        self._store = store
        self._riders_failed = riders_failed
        self._size = size
        self._fetch_seconds = fetch_seconds
        self._longest_seconds = fetch_seconds + call_seconds + GRACE_SECONDS
        self._tasks = tasks
        self._now = clock.monotonic
        self._coalesced = metrics.coalesced_ids
        self._top_up = metrics.upstream_top_up_ids
        self._batcher = Batcher(self._dispatch, window_seconds=window_seconds, size=size)
        self._table: dict[UserKind, dict[Variant, dict[Id, Fetch]]] = {}
        self._closed = False

    def join(
        self,
        partition: Partition,
        ids: Sequence[Id],
        *,
        token: FillToken,
        keep: bool,
        requester: Requester,
        due: Sequence[Id] = (),
    ) -> FetchWait:
        """Have `ids` (distinct) fetched, sharing the fetches that are in flight.

        A fetch in flight is shared only if the id's pending write, by the token, is the one that it began
        with. Of several tokens the latest goes to `store`; `keep` is whether this requester allows that.
        `due` are cached ids of the partition that may fill the free seats of the call.
        """
        in_flight = self._in_flight(partition)
        wait = FetchWait(len(ids), self._now)
        joined: set[Batch] = set()
        begun: dict[Id, Fetch] = {}
        stamps = token.pending
        for id_ in ids:
            stamp = stamps.get(id_)
            fetch = in_flight.get(id_)
            if fetch is None or (fetch.stamp != stamp and fetch.batch.dispatched):
                in_flight[id_] = begun[id_] = Fetch([wait], stamp, token, keep=keep)
                continue
            joined.add(fetch.batch)
            _share(fetch, wait, stamp, token, keep=keep)
        for batch in joined:
            batch.waiters.join(requester)
        self._batcher.add(partition, begun, requester, dict.fromkeys(due, token) if begun else {})
        batches = joined.union(fetch.batch for fetch in begun.values())
        wait.batches = [batch.waiters for batch in batches]
        wait.collapsed = len(ids) - len(begun)
        self._coalesced.inc(wait.collapsed)
        return wait

    def __len__(self) -> int:
        """Users and types with fetches in flight."""
        return len(self._table)

    def in_flight(self, partition: Partition, id_: Id) -> bool:
        """Whether the id is being fetched, in a fetch that may still be joined."""
        return id_ in self._table.get((partition.user.key, partition.kind), {}).get(partition.variant, {})

    def detach(self, user_kind: UserKind, ids: Iterable[Id] | None) -> None:
        """Close fetches of these ids (None: all) that began before now to new requests, in any variant.

        Called when they are written or purged. The fetches go on for the requests that wait for them, and
        batches that only gather may still be joined.
        """
        listed = None if ids is None else set(ids)
        for in_flight in self._table.get(user_kind, {}).values():
            for id_ in list(in_flight if listed is None else listed & in_flight.keys()):
                if in_flight[id_].batch.dispatched:
                    del in_flight[id_]

    def close(self) -> None:
        """Fail the batches that were not dispatched. The others end with their tasks."""
        self._closed = True
        for batch in self._batcher.close():
            self._complete(batch, dict.fromkeys(batch.fetches, NoCapacity(_CLOSING)))

    def _dispatch(self, batch: Batch) -> None:
        self._fill_seats(batch)
        # Completion is a callback on the task, not a part of it: a task that is cancelled before its first
        # step runs none of its own code.
        self._tasks.spawn("fetch", self._run(batch)).add_done_callback(partial(self._ended, batch))

    async def _run(self, batch: Batch) -> Mapping[Id, FetchResult]:
        deadline = self._now() + self._fetch_seconds
        async with asyncio.timeout(self._longest_seconds):
            return await self._load(
                batch.partition,
                list(batch.fetches),
                riders=batch.riders,
                waiters=batch.waiters,
                deadline=deadline,
            )

    def _fill_seats(self, batch: Batch) -> None:
        """Let cached ids that are due ride along in the free seats, unless they are in flight."""
        partition, riders = batch.partition, batch.riders.fetches
        in_flight = self._table[partition.user.key, partition.kind][partition.variant]
        seats = min(self._size(), TOPPED_UP_IDS) - len(batch.fetches)
        for id_, token in batch.due.items():
            if len(riders) >= seats:
                break
            if id_ not in in_flight:
                fetch = in_flight[id_] = riders[id_] = Fetch([], token.pending.get(id_), token, keep=True)
                fetch.batch = batch
        self._top_up.inc(len(riders))

    def _ended(self, batch: Batch, task: asyncio.Task[Mapping[Id, FetchResult]]) -> None:
        if task.cancelled():
            failure: GatewayError = NoCapacity(_CLOSING)
        elif (error := task.exception()) is None:
            found, lost = task.result(), GatewayError("The fetch returned nothing for this id.")
            if self._closed:
                lost = NoCapacity(_CLOSING)
            self._fetch_late(batch, found)
            riders = {id_: found.get(id_, lost) for id_ in batch.riders.fetches}
            self._complete(batch, {id_: found.get(id_, lost) for id_ in batch.fetches} | riders)
            return
        elif isinstance(error, TimeoutError):
            failure = DeadlineExceeded("Apple Music did not answer in time.")
        else:
            failure = error if isinstance(error, GatewayError) else GatewayError("The fetch failed.")
        self._complete(batch, dict.fromkeys([*batch.fetches, *batch.riders.fetches], failure))

    def _fetch_late(self, batch: Batch, found: Mapping[Id, FetchResult]) -> None:
        """Fetch riders that were asked for when the call had already ended without them."""
        riders = batch.riders.fetches
        late = {id_: fetch for id_, fetch in riders.items() if fetch.waits and id_ not in found}
        if not late or self._closed:
            return
        in_flight = self._in_flight(batch.partition)
        for id_, fetch in list(late.items()):
            del riders[id_]
            newer = in_flight.setdefault(id_, fetch)
            if newer is not fetch:
                # It was written meanwhile, and asked for again: the newer fetch answers both.
                newer.waits += late.pop(id_).waits
        # A rider is joined after its call began: one of the last requesters asked for it.
        self._batcher.add(batch.partition, late, batch.waiters.requesters[-1], {})

    def _in_flight(self, partition: Partition) -> dict[Id, Fetch]:
        """The part of the table that is the partition's, made if there is none."""
        variants = self._table.setdefault((partition.user.key, partition.kind), {})
        return variants.setdefault(partition.variant, {})

    def _complete(self, batch: Batch, results: Mapping[Id, FetchResult]) -> None:
        fetches = batch.fetches | batch.riders.fetches
        try:
            for token, ratings, ridden in _kept(fetches, results):
                self._store(batch.partition, token, ratings, ridden=ridden)
            if batch.riders.failed:
                unasked = [id_ for id_, fetch in batch.riders.fetches.items() if not fetch.waits]
                self._riders_failed(batch.partition, unasked)
        finally:
            self._leave_table(batch.partition, fetches)
            for id_, fetch in fetches.items():
                for wait in fetch.waits:
                    wait.settle(id_, results[id_])
            # Fetches point back to their batch: otherwise only the garbage collector would free them.
            batch.fetches.clear()
            batch.riders.fetches.clear()

    def _leave_table(self, partition: Partition, fetches: Mapping[Id, Fetch]) -> None:
        variants = self._table.get((partition.user.key, partition.kind), {})
        in_flight = variants.get(partition.variant, {})
        for id_, fetch in fetches.items():
            if in_flight.get(id_) is fetch:
                del in_flight[id_]
        if not in_flight:
            variants.pop(partition.variant, None)
        if not variants:
            self._table.pop((partition.user.key, partition.kind), None)


def _share(fetch: Fetch, wait: FetchWait, stamp: Hashable, token: FillToken, *, keep: bool) -> None:
    fetch.waits.append(wait)
    if not fetch.batch.dispatched:
        # Its call will begin after the latest requester looked at the cache.
        fetch.stamp = stamp
        if keep or not fetch.keep:
            fetch.token = token
    fetch.keep |= keep


def _kept(
    fetches: Mapping[Id, Fetch], results: Mapping[Id, FetchResult]
) -> Iterable[tuple[FillToken, dict[Id, Rating], bool]]:
    """Group what is to be stored by token, by identity, and by whether a request waits for it."""
    groups: dict[tuple[int, bool], tuple[FillToken, dict[Id, Rating], bool]] = {}
    for id_, fetch in fetches.items():
        result, ridden = results[id_], not fetch.waits
        if fetch.keep and not isinstance(result, GatewayError):
            group = groups.setdefault((id(fetch.token), ridden), (fetch.token, {}, ridden))
            group[1][id_] = result
    return groups.values()


_CLOSING = "The gateway is shutting down."
