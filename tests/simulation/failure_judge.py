"""Checks the answers of a gateway in front of a failing Apple: only what fails there may fail here."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from gateway.apple.user_records import FAILS_AGAIN
from gateway.breaker import State
from gateway.errors import GatewayError, UpstreamError
from gateway.model import Id, Kind, User
from gateway.ratings.query import Answer, CacheOutcome
from gateway.telemetry.metrics import Metrics
from tests.simulation.apple import Place, Ratings
from tests.simulation.failure_plan import FailurePlan
from tests.simulation.loop import START
from tests.simulation.transport import Exchange

FRESH, REVALIDATE, IF_ERROR = 2.0, 1.0, 20.0
QUARANTINE = 10.0
CALL_SECONDS, FETCH_SECONDS = 3.0, 13.0
WINDOW: Final = 10.0
"""Seconds that the breaker looks back."""

IN_FLIGHT: Final = CALL_SECONDS + 1.0
"""Seconds after an outage in which calls that began in it may still fail."""
FROM_MEMORY: Final = QUARANTINE + IN_FLIGHT + 1.0
"""Seconds after an outage in which a failure may still be answered from memory."""
UNTESTED: Final = 30.0 + IN_FLIGHT + 1.0
"""Seconds after an outage in which a 401 has no verdict, because the test of the token got no answer."""
LONG_OUTAGE: Final = 8.0
MOST_CALLS: Final = 45
"""Calls of one run for an id that always fails, or for a user for whom Apple fails."""
MOST_WITH_OUTAGE: Final = 60
"""The same for such a user if there is an outage as well, which ends the isolation: it is found twice."""
IN_A_ROW: Final = FAILS_AGAIN + QUARANTINE
"""Seconds after an outage in which a failure may be answered from memory for a user who has a bad id: a call
that failed in the outage, and one that fails for the id, isolate the user."""
MISATTRIBUTED: Final = 4
"""Ids or users that may be isolated wrongly if an outage begins during a call: those of one call."""


class Wrote(NamedTuple):
    began: float
    ended: float
    number: int | None
    """Number of the state that it made; None if undetermined."""


UNWRITTEN: Final = Wrote(START, START, None)


class Judge:
    """`faults` lists every broken expectation."""

    def __init__(
        self, plan: FailurePlan, ratings: Ratings, exchanges: Sequence[Exchange], now: Callable[[], float]
    ) -> None:
        self.faults: list[str] = []
        self.wrote: dict[Place, list[Wrote]] = {}
        self._plan = plan
        self._ratings = ratings
        self._exchanges = exchanges
        self._now = now
        self._breaker: list[tuple[float, State]] = [(START, State.CLOSED)]

    def failure(self, place: Place, error: GatewayError, began: float) -> None:
        """Check a failure: only what fails at Apple may fail here, and with Apple's status."""
        now, plan = self._now(), self._plan
        if plan.outage_between(began - IN_FLIGHT, now):
            return
        bad = (plan.bad_user(place[0], now), plan.bad_id(place, now))
        not_asked = error.status >= 500 and plan.outage is not None and self._was_open(began, now)
        has_bad_id = any(each.place[0] == place[0] and each.status == 500 for each in plan.ids)
        remembered = (
            isinstance(error, UpstreamError)
            and error.remembered
            and plan.outage_between(began - (IN_A_ROW if has_bad_id else FROM_MEMORY), now)
        )
        due = any(each is not None and error.status == each.status for each in bad)
        if not (not_asked or remembered or due):
            self.faults.append(f"{place} at {began:.3f}: failed with {error.status}, {error!r}")

    def stale(self, user: User, kind: Kind, ids: Sequence[Id], answer: Answer, began: float) -> None:
        """Check stale ratings: they stand in for Apple's failures, never for its refusals."""
        now, plan = self._now(), self._plan
        if answer.counts.stale and self._is_refused(user, began):
            self.faults.append(f"{user.key.hex()} at {began:.3f}: stale, though Apple refuses the user")
        if answer.outcome is not CacheOutcome.STALE or plan.outage_between(began - IN_FLIGHT, now):
            return
        from_memory = answer.upstream_status is None and plan.outage is not None
        if from_memory and (plan.outage_between(began - FROM_MEMORY, now) or self._was_open(began, now)):
            return
        bad = [plan.bad_id((user.key, kind, id_), now) for id_ in ids]
        if not any(each is not None and each.status == 500 for each in (*bad, plan.bad_user(user.key, now))):
            self.faults.append(f"{user.key.hex()} {kind} {ids} at {began:.3f}: stale without a reason")

    def ratings(self, user: User, kind: Kind, ids: Sequence[Id], answer: Answer, began: float) -> None:
        """Check ratings: each is the user's own, and no older than promised."""
        rated = {item["id"]: item for item in msgspec.json.decode(b"[%b]" % answer.resources)}
        lasting = IF_ERROR if answer.outcome is CacheOutcome.STALE else REVALIDATE
        for id_ in ids:
            place = (user.key, kind, id_)
            oldest = began - FRESH - lasting - FETCH_SECONDS - self._ratings.lag
            least = self._ratings.number_at(place, oldest)
            *before, last = self.wrote.get(place) or [UNWRITTEN]
            if last.ended < began and all(wrote.ended < last.began for wrote in before):
                least = max(least, last.number or 0)
            if (item := rated.get(id_)) is None:
                self.faults.append(f"{place} at {began:.3f}: unrated, and it never was")
            elif (item["meta"]["user"], item["meta"]["kind"]) != (user.key.hex(), kind):
                self.faults.append(f"{place}: another's rating, {item['meta']}")
            elif item["meta"]["number"] < least:
                self.faults.append(f"{place} at {began:.3f}: state {item['meta']['number']}, wanted {least}")

    def breaker(self, state: State) -> None:
        """Check a change of the breaker: it opens in outages only; a failed probe may reopen it."""
        now, (_, was) = self._now(), self._breaker[-1]
        self._breaker.append((now, state))
        opened = state is State.OPEN and was is State.CLOSED
        if opened and not self._plan.outage_between(now - WINDOW - IN_FLIGHT, now):
            self.faults.append(f"the breaker opened at {now:.3f}, and Apple was well")

    def end(self, metrics: Metrics) -> None:
        """Check what was isolated, the number of calls for what fails, and the recovery."""
        outage = self._plan.outage
        if self._breaker[-1][1] is not State.CLOSED:
            self.faults.append("the breaker did not close again")
        long = outage is not None and outage.status is not None and outage.until - outage.since > LONG_OUTAGE
        if long and len(self._breaker) == 1:
            self.faults.append("the breaker stayed closed in an outage")
        if outage is None and _sample(metrics, "developer_token_mints_total", reason="refused"):
            self.faults.append("the developer token was renewed for nothing")
        # Nothing distinguishes a user's first failed call from a failure of its id.
        user = self._plan.user
        ids_may_fail = bool(self._plan.ids) or (user is not None and user.status == 500)
        for what, may_fail in (("id", ids_may_fail), ("user", user is not None)):
            isolated = _sample(metrics, "upstream_isolated_total", what=what)
            if isolated > (0 if outage is None else MISATTRIBUTED) and not may_fail:
                self.faults.append(f"{what}: isolated, and none failed")
        self._costs()

    def _costs(self) -> None:
        for bad in self._plan.ids:
            calls = sum(bad.place in made.places and made.method == "GET" for made in self._exchanges)
            if calls > MOST_CALLS:
                self.faults.append(f"{calls} calls for an id that always fails")
        user = self._plan.user
        if user is None:
            return
        made = [
            made for made in self._exchanges if made.user_key == user.user.key and made.began >= user.since
        ]
        most = MOST_CALLS if self._plan.outage is None else MOST_WITH_OUTAGE
        if user.status == 500 and len(made) > most:
            self.faults.append(f"{len(made)} calls for a user for whom Apple fails")
        refused_at = [each.ended for each in made if each.status == user.status != 500]
        for each in made:
            if self._is_quarantined(user.status, refused_at, each.began):
                self.faults.append(f"a call at {each.began:.3f} for a user whom Apple refuses")

    def _is_refused(self, user: User, moment: float) -> bool:
        """Whether the gateway has had an answer by which Apple refuses the user."""
        bad = self._plan.bad_user(user.key, moment)
        if bad is None or bad.status == 500:
            return False
        made = [made for made in self._exchanges if made.user_key == user.key and made.status == bad.status]
        return self._is_quarantined(bad.status, [each.ended for each in made], moment)

    def _is_quarantined(self, status: int, refused_at: Sequence[float], moment: float) -> bool:
        if status == 401 and self._plan.outage_between(moment - QUARANTINE - UNTESTED, moment):
            return False
        # A 401 is the user's only after a test of the developer token.
        return any(ended + 1.0 < moment < ended + QUARANTINE for ended in refused_at)

    def _was_open(self, since: float, until: float) -> bool:
        """Whether the breaker was not closed at any moment in between."""
        states = [state for moment, state in self._breaker if moment <= until]
        before = sum(moment <= since for moment, _ in self._breaker)
        return any(state is not State.CLOSED for state in states[before - 1 :])


def _sample(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"gateway_{name}", labels) or 0.0
