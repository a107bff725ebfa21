"""A state machine of two gateways, Redis and Apple: callers, failures and time in any order."""

import asyncio
from collections.abc import Coroutine
from itertools import count
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from gateway.apple.client import AppleSuccess
from gateway.cache.invalidation import Purge
from gateway.errors import UpstreamError
from gateway.model import PLAIN, Id, Kind, Partition, User, Variant
from gateway.ratings.query import NO_DIRECTIVES, Answer, CacheOutcome, Directives, Part, Query
from tests.simulation.loop import SimulatedLoop
from tests.truth.apple import READ_SECONDS, Apple, Ending, Value, WritePlan
from tests.truth.gateways import FRESHNESS, HOLD_SECONDS, WINDOW_SECONDS, Gateway, Written
from tests.truth.promises import LONGEST_LAG, History, Read
from tests.truth.redis import RuleRedis

ADA, BEN = User.of("ada"), User.of("ben")
ALBUMS, LIBRARY = Kind.ALBUMS, Kind.LIBRARY_ALBUMS
Thing = tuple[Kind, Id]
EVERYTHING: list[Thing] = [(ALBUMS, Id("1")), (ALBUMS, Id("2")), (LIBRARY, Id("l.1"))]
GERMAN = Variant("l=de")
DEADLINE_SECONDS = 10.0

names = st.sampled_from(["one", "two"])
users = st.sampled_from([ADA] * 7 + [BEN])
things = st.sampled_from([(ALBUMS, Id("1"))] * 3 + [(LIBRARY, Id("l.1"))] * 2 + [(ALBUMS, Id("2"))])
forms = st.sampled_from([PLAIN, GERMAN])
directives = st.sampled_from([NO_DIRECTIVES] * 5 + [Directives(no_cache=True)])
crowds = st.sampled_from([1, 3])
values: st.SearchStrategy[Value] = st.sampled_from([1, -1, None])
lags = st.sampled_from([LONGEST_LAG, LONGEST_LAG, 5.0, 0.0])
endings: st.SearchStrategy[Ending] = st.sampled_from(
    ["done"] * 4 + ["refused", "lost", "failed after all", "repeat refused"]
)
read_seconds = st.sampled_from([0.0, 0.0, 0.5, 3.0, 8.0])
write_seconds = st.sampled_from([0.0, 0.0, 1.0, 3.0])
faults = st.sampled_from(
    [
        "Apple",
        "invalidations are lost",
        "invalidations are lost",
        "invalidations are late",
        "lookups",
        "requests",
        "replies",
        "Redis",
        "Redis, late",
        "Redis forgets",
    ]
)
troubles = st.sampled_from([0.3, 1.3, 3.0, 8.0])
pauses = st.sampled_from([0.0, 0.0, 0.0, 0.2, 0.5, 1.5, 3.0, 8.0, HOLD_SECONDS + 0.5, 70.0, 320.0])
probes = st.sampled_from(["", "", "one", "two", "one two", "two one"])
"""The gateways from which all of Ada's ratings are read after a step."""


class PromiseBroken(AssertionError):
    """A read returned what it must not, or an id was fetched twice at once."""


class Truths(RuleBasedStateMachine):
    """Every answer to a read is judged by `History`."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = SimulatedLoop()
        asyncio.set_event_loop(self.loop)
        self.complaints: list[str] = []
        self.numbers = count()
        self.failed = False
        self.step_seconds = 0.01
        self.reading: list[asyncio.Task[Any]] = []
        self.does(self._open())

    async def _open(self) -> None:
        self.apple = Apple(self.loop)
        self.history = History(self.apple.truth)
        self.redis = self.redis_of()
        self.gateways = {
            name: Gateway(name, self.loop, self.redis, self.apple, self._purge_received, self._delivered_late)
            for name in ("one", "two")
        }
        for gateway in self.gateways.values():
            gateway.client.excused = self._excused

    @initialize(seconds=st.sampled_from([0.01, 0.06]))
    def begins(self, seconds: float) -> None:
        """Set the time between steps: below or above the window of a batch."""
        self.step_seconds = seconds

    def redis_of(self) -> Any:
        return RuleRedis(self.loop, hold=HOLD_SECONDS, freshness=FRESHNESS, publish=self.publish)

    def publish(self, origin: str, invalidation: Any) -> None:
        for name, gateway in self.gateways.items():
            if name != origin:
                self.loop.call_soon(gateway.subscription.take, invalidation)

    def does(self, work: Coroutine[Any, Any, None] | None = None, *, seconds: float | None = None) -> None:
        """Do `work`, let its effects happen, and check that nothing is wrong."""

        async def all_of_it() -> None:
            if work is not None:
                await work
            await asyncio.sleep(self.step_seconds if seconds is None else seconds)

        self.loop.run_until_complete(all_of_it())
        faults = [fault for gateway in self.gateways.values() for fault in gateway.faults]
        doubled = [id_ for gateway in self.gateways.values() for id_ in gateway.client.doubled]
        self.failed = bool(faults or doubled or self.complaints)
        assert not faults, faults
        if doubled:
            raise PromiseBroken(f"fetched twice at once: {doubled}")
        if self.complaints:
            raise PromiseBroken("\n".join(self.complaints))

    # Callers

    @rule(
        name=names,
        user=users,
        thing=st.none() | things,
        form=forms,
        how=directives,
        callers=crowds,
        seconds=read_seconds,
        pause=pauses,
    )
    def reads(
        self,
        name: str,
        user: User,
        thing: Thing | None,
        form: Variant,
        how: Directives,
        callers: int,
        seconds: float,
        pause: float,
    ) -> None:
        """Read one id or all of them; Apple answers after `seconds`."""
        READ_SECONDS.set(seconds)
        self.does(self._read(name, user, EVERYTHING if thing is None else [thing], form, how, callers))
        self.does(seconds=pause)

    @rule(
        name=names,
        user=users,
        thing=things,
        value=values,
        ending=endings,
        lag=lags,
        seconds=write_seconds,
        pause=pauses,
        probe=probes,
        form=forms,
    )
    def writes(
        self,
        name: str,
        user: User,
        thing: Thing,
        value: Value,
        ending: Ending,
        lag: float,
        seconds: float,
        pause: float,
        probe: str,
        form: Variant,
    ) -> None:
        self.does(self._write(name, user, thing, value, WritePlan(ending, lag, seconds)))
        self._wait_and_look(pause, probe, form)

    @rule(name=names, user=users, thing=things, ending=endings, lag=lags, seconds=write_seconds, probe=probes)
    def adds_a_favorite(
        self, name: str, user: User, thing: Thing, ending: Ending, lag: float, seconds: float, probe: str
    ) -> None:
        plan = WritePlan(ending, lag, seconds, favorite=thing)
        self.does(self._write(name, user, thing, 1, plan))
        self._wait_and_look(0.2, probe)

    @rule(name=names, user=users, thing=st.none() | things, whole=st.booleans(), pause=pauses, probe=probes)
    def purges(
        self, name: str, user: User, thing: Thing | None, whole: bool, pause: float, probe: str
    ) -> None:
        kind = None if thing is None else thing[0]
        ids = None if thing is None or whole else {thing[1]}
        self.does(self._purge(name, user, kind, ids))
        self._wait_and_look(pause, probe)

    @rule(number=st.integers(0, 3))
    def a_caller_leaves(self, number: int) -> None:
        pending = [task for task in self.reading if not task.done()]
        for task in pending[number : number + 1]:
            task.cancel()
        self.does()

    # Failures, and changes at Apple

    @rule(user=users, thing=things, value=values, pause=pauses)
    def rates_at_apple(self, user: User, thing: Thing, value: Value, pause: float) -> None:
        self.apple.truth.rate(user.token, *thing, value, self.loop.time())
        self.does(seconds=pause)

    @rule(name=names, what=faults, seconds=troubles, pause=pauses, probe=probes)
    def something_fails(self, name: str, what: str, seconds: float, pause: float, probe: str) -> None:
        gateway = self.gateways[name]
        match what:
            case "Apple":
                self.apple.failing = True
                self.loop.call_later(seconds, self._apple_recovers)
            case "invalidations are lost" | "invalidations are late":
                subscription = gateway.subscription
                if subscription.state == "flowing":
                    subscription.lose() if what == "invalidations are lost" else subscription.stall()
                    self.loop.call_later(seconds, self._subscription_recovers, gateway)
            case "Redis forgets":
                self._redis_restarts_empty()
            case _:
                if gateway.wire.sound:
                    self._redis_fails(gateway, what)
                    self.loop.call_later(seconds, self._redis_recovers, gateway)
        self.does()
        self._wait_and_look(pause, probe)

    def _wait_and_look(self, pause: float, probe: str, form: Variant = PLAIN) -> None:
        self.does(seconds=pause)
        READ_SECONDS.set(0.0)
        for name in probe.split():
            self.does(self._read(name, ADA, EVERYTHING, form))

    def _redis_fails(self, gateway: Gateway, how: str) -> None:
        match how:
            case "lookups":
                gateway.wire.slow = True
            case "requests" | "replies" as what:
                self.history.unsure.add(gateway.name)
                gateway.wire.stick(what)
            case _:
                gateway.wire.cut(reached=how == "Redis, late")
                gateway.subscription.lose()

    def _redis_restarts_empty(self) -> None:
        self.redis.restart_empty()
        self.history.emptied_at = self.loop.time()
        for gateway in self.gateways.values():
            if gateway.wire.sound:
                gateway.wire.cut(reached=False)
                gateway.wire.flow()
                gateway.subscription.lose()
                gateway.subscription.resume()

    def _apple_recovers(self) -> None:
        self.apple.failing = False

    def _redis_recovers(self, gateway: Gateway) -> None:
        gateway.wire.flow()
        if gateway.subscription.state == "lost":
            gateway.subscription.resume()

    def _subscription_recovers(self, gateway: Gateway) -> None:
        if not gateway.wire.away:
            gateway.subscription.resume()

    def teardown(self) -> None:
        """Check that after recovery every read is correct."""
        try:
            if not self.failed:
                self._recover()
        finally:
            self.loop.run_until_complete(self._close())
            self.loop.close()
            asyncio.set_event_loop(None)

    def _recover(self) -> None:
        READ_SECONDS.set(0.0)
        self.does(seconds=3 * HOLD_SECONDS)
        for name in self.gateways:
            for user in (ADA, BEN):
                for form in (PLAIN, GERMAN):
                    self.does(self._read(name, user, EVERYTHING, form))
        self.does(seconds=1)
        assert all(task.done() for task in self.reading)
        assert not any(gateway.undelivered for gateway in self.gateways.values())

    async def _close(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    # Steps

    async def _read(
        self,
        name: str,
        user: User,
        things: list[Thing],
        form: Variant,
        how: Directives = NO_DIRECTIVES,
        callers: int = 1,
    ) -> None:
        gateway, now = self.gateways[name], self.loop.time()
        kinds = {kind: tuple(id_ for each, id_ in things if each is kind) for kind, _ in things}
        parts = tuple(Part(kind, ids) for kind, ids in kinds.items())
        query = Query(user, parts, form, how, deadline=now + DEADLINE_SECONDS)
        wire, subscription = gateway.wire, gateway.subscription
        began = [
            Read(
                gateway=name,
                partition=Partition(user, kind, form),
                id=id_,
                began=now,
                ended=now,
                kept=gateway.keeps(Partition(user, kind, form), id_),
                in_flight_since=self._in_flight_since(name, Partition(user, kind, form), id_),
                sound_since=wire.fault_at if wire.sound and not gateway.undelivered else float("inf"),
                subscribed_since=subscription.sound_since
                if subscription.state == "flowing"
                else float("inf"),
                no_cache=how.no_cache,
                stale=False,
            )
            for kind, id_ in things
        ]
        for _ in range(callers):
            task = gateway.read(query)
            self.reading.append(task)
            task.add_done_callback(lambda task: self._answered(began, task))

    def _in_flight_since(self, name: str, partition: Partition, id_: Id) -> float:
        in_flight = [
            call.started
            for call in self.apple.calls
            if (call.gateway, call.partition) == (name, partition) and id_ in call.ids
        ]
        return min(in_flight, default=self.loop.time())

    def _answered(self, began: list[Read], task: "asyncio.Task[Answer]") -> None:
        if task.cancelled():
            return
        answer = task.result()
        if answer.failures:
            error = answer.failures[0].error
            waited = self.loop.time() >= began[0].began + DEADLINE_SECONDS
            excused = waited or self.apple.troubled_at >= began[0].began
            if not (isinstance(error, UpstreamError) and excused):
                self.complaints.append(f"{began[0]}: {error!r}")
            return
        found = {item["id"]: item for item in msgspec.json.decode(b"[%b]" % answer.resources)}
        wire = self.gateways[began[0].gateway].wire
        for read in began:
            judged = read._replace(
                ended=self.loop.time(),
                stale=answer.outcome is CacheOutcome.STALE,
                sound_since=read.sound_since if wire.sound and wire.fault_at < read.began else float("inf"),
            )
            self._judge(judged, found.get(read.id))

    def _judge(self, read: Read, resource: Any) -> None:
        value = None if resource is None else resource["attributes"]["value"]
        complaint = self.history.complaint(read, value)
        if resource is not None and resource["of"] != read.partition.user.token:
            complaint = "it is another user's"
        elif resource is not None and resource["form"] not in (read.partition.variant, PLAIN):
            complaint = "it is of another variant"
        if complaint is not None:
            self.complaints.append(f"{read} returned {value}: {complaint}")

    async def _write(self, name: str, user: User, thing: Thing, value: Value, plan: WritePlan) -> None:
        query = f"write={next(self.numbers)}"
        self.apple.plans[query] = plan
        now = self.loop.time()
        written = Written(
            name, user, *thing, value, now, refused=plan.ending == "refused", favorite=bool(plan.favorite)
        )
        self.history.writes.append(written)
        task = self.gateways[name].write(written, query, now + DEADLINE_SECONDS)

        def answered(task: "asyncio.Task[AppleSuccess | UpstreamError]") -> None:
            if task.cancelled():
                return
            written.answered = self.loop.time()
            answer = task.result()
            written.accepted = isinstance(answer, AppleSuccess)
            written.confirmed = written.accepted and not written.favorite
            # A write that ran out of time counts as unconfirmed, not as refused.
            written.refused &= answer.status == 400

        task.add_done_callback(answered)

    async def _purge(self, name: str, user: User, kind: Kind | None, ids: set[Id] | None) -> None:
        begun = self.loop.time()
        named = None if ids is None else sorted(ids)
        task = asyncio.get_running_loop().create_task(self.gateways[name].cache.purge(user.key, kind, named))
        task.add_done_callback(
            lambda task: self.history.purged(user, kind, ids, begun, self.loop.time(), name, task.result())
        )

    def _purge_received(self, origin: str, purge: Purge) -> None:
        ids = None if purge.ids is None else set(purge.ids)
        self.history.purge_received(origin, purge.user, purge.kind, ids, self.loop.time())

    def _delivered_late(self, origin: str, place: Any, ids: set[Id] | None) -> None:
        self.history.delivered_late(origin, place, ids, self.loop.time())

    def _excused(self, partition: Partition, since: float) -> bool:
        """Whether a write, a purge or a failure of Redis made a second fetch of the same ids necessary."""
        since -= WINDOW_SECONDS  # events while its batch gathered count, too
        return self.history.disturbed(partition.user, partition.kind, since, self.loop.time()) or any(
            not gateway.wire.sound or gateway.wire.fault_at >= since for gateway in self.gateways.values()
        )
