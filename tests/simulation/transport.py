"""Transport to simulated Apple: answers what the gateway's own client sends, in virtual time."""

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from gateway.apple.response import AppleResponse
from gateway.apple.transport import Transport
from gateway.errors import Unreachable
from gateway.model import Id, Kind, User
from tests.simulation.apple import Place, Ratings, half_a_call, rendered
from tests.simulation.failure_plan import FailurePlan

T = TypeVar("T")

BROKEN_KEPT = 0.03
"""Fraction of calls whose kept connection breaks before an answer."""


def error(status: int, code: str) -> AppleResponse:
    return AppleResponse(status, b'{"errors":[{"status":"%d","code":"%b"}]}' % (status, code.encode()))


UNRATED = error(404, "40400")
BAD_USER = {401: AppleResponse(401, b""), 403: error(403, "40300"), 500: error(500, "50000")}


class Exchange:
    """One exchange as Apple received it."""

    def __init__(self, method: str, user_key: bytes, places: list[Place], began: float) -> None:
        self.method = method
        self.user_key = user_key
        self.places = places
        self.began = began
        self.status: int | None = None
        self.ended = float("inf")


class SimulatedWire(Transport):
    """Answers from `ratings`, unless `plan` makes the call fail."""

    def __init__(self, chance: random.Random, ratings: Ratings, plan: FailurePlan) -> None:
        self._chance = chance
        self._ratings = ratings
        self._plan = plan
        self.exchanges: list[Exchange] = []

    async def read(self, how: Callable[[AppleResponse], T], answer: AppleResponse) -> T:
        return how(answer)

    async def exchange(
        self,
        method: str,
        target: str,
        *,
        developer_token: str,
        user_token: str | None,
        body: bytes | None,
        timeout: float,  # noqa: ASYNC109 - as in the class that this stands in for
        headers: Mapping[str, str],
        fresh: bool = False,
    ) -> AppleResponse:
        del developer_token, headers
        now = asyncio.get_running_loop().time
        if user_token is None:
            made = Exchange(method, b"", [], now())
        else:
            user_key = User.of(user_token).key
            made = Exchange(method, user_key, [(user_key, *each) for each in _ids(target)], now())
        self.exchanges.append(made)
        try:
            async with asyncio.timeout(timeout):
                answer = await self._answer(method, made, body, fresh=fresh)
        except TimeoutError:
            raise Unreachable("late", proxy_error="http_response_timeout", sent=True) from None
        finally:
            made.ended = now()
        made.status = answer.status
        return answer

    async def _answer(self, method: str, made: Exchange, body: bytes | None, *, fresh: bool) -> AppleResponse:
        await half_a_call(self._chance)
        now = asyncio.get_running_loop().time()
        if not fresh and self._chance.random() < BROKEN_KEPT:
            raise Unreachable("gone", proxy_error="connection_terminated", sent=True, kept=True)
        if (outage := self._plan.outage_at(now)) is not None:
            if outage.status is None:
                await asyncio.sleep(self._chance.choice((0.0, 60.0)))
                raise Unreachable("gone", proxy_error="connection_terminated", sent=True)
            return AppleResponse(outage.status, b"")
        if not made.places:
            return AppleResponse(200, b"{}")
        if (user := self._plan.bad_user(made.user_key, now)) is not None:
            return BAD_USER[user.status]
        for place in made.places:
            if (bad := self._plan.bad_id(place, now)) is not None:
                return error(bad.status, f"{bad.status}00")
        return await (self._rate(made.places[0], body) if method != "GET" else self._report(made.places))

    async def _report(self, places: list[Place]) -> AppleResponse:
        resources = [shown for place in places if (shown := self._ratings.shown(place)) is not None]
        await half_a_call(self._chance)
        return AppleResponse(200, b'{"data":[%b]}' % b",".join(resources)) if resources else UNRATED

    async def _rate(self, place: Place, body: bytes | None) -> AppleResponse:
        value = None if body is None else int(msgspec.json.decode(body)["attributes"]["value"])
        number = self._ratings.write(place, value)
        resource = rendered(place, number, value)
        await half_a_call(self._chance)
        return (
            AppleResponse(204, b"") if resource is None else AppleResponse(200, b'{"data":[%b]}' % resource)
        )


def _ids(target: str) -> list[tuple[Kind, Id]]:
    """Return the ids of `/v1/me/ratings/albums?ids=1,2`, or of `/v1/me/ratings/albums/1`."""
    path, _, query = target.partition("?")
    kind, _, id_ = path.removeprefix("/v1/me/ratings/").partition("/")
    ids = query.removeprefix("ids=").split(",") if query else [id_]
    return [(Kind(kind), Id(each)) for each in ids]
