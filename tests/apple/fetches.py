"""Apple's client over real sockets and a script, and what its fetches return."""

import random
from collections.abc import Callable, Sequence

from gateway.apple.batch_splitter import BatchSplitter
from gateway.apple.client import Apple, AppleSuccess, Outbound
from gateway.errors import GatewayError, UpstreamError
from gateway.model import Id, Kind, Partition, Rating
from gateway.riders import Riders
from gateway.waiters import Requester, Waiters
from tests.apple.builders import USER, Workshop
from tests.apple.scripted import Reply, Script, Seen, error, rated

ALBUMS = Partition(USER, Kind.ALBUMS)
BAD_IDS = error(400, "40005", parameter="ids")

Results = dict[Id, Rating | GatewayError]


class FakeRiders:
    """Ids that ride along, and those of them that a request has asked for since."""

    def __init__(self, *carried: str, wanted: Sequence[str] = ()) -> None:
        self.ids = [Id(id_) for id_ in carried]
        self.failed = False
        self._wanted = [Id(id_) for id_ in wanted]

    def asked(self) -> Sequence[Id]:
        return self._wanted


class Bench:
    """The client under test, and everything around it."""

    def __init__(self, script: Script, shop: Workshop) -> None:
        now = shop.clock.monotonic
        self.script = script
        self.shop = shop
        self.splitter = BatchSplitter(
            shop.caller,
            max_ids_per_call=100,
            failing=shop.failing,
            now=now,
            chance=random.Random(7).random,
            metrics=shop.metrics,
        )
        self.apple = Apple(shop.caller, self.splitter, shop.limiter, now)

    async def fetch(
        self,
        wanted: Sequence[Id],
        *,
        partition: Partition = ALBUMS,
        seconds: float = 10.0,
        requester: Requester | None = None,
        riders: Riders | None = None,
    ) -> Results:
        waiters = Waiters(requester or Requester())
        deadline = self.shop.clock.monotonic() + seconds
        return await self.apple.fetch(
            partition, wanted, riders=riders or FakeRiders(), waiters=waiters, deadline=deadline
        )

    async def send(
        self,
        method: str,
        *,
        query: str = "",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> AppleSuccess | UpstreamError:
        operation = {"PUT": "write", "DELETE": "delete", "GET": "bypass"}[method]
        path = "/v1/me/ratings/albums/1"
        call = Outbound(
            operation=operation,
            method=method,
            path=path,
            query=query,
            user=USER,
            body=body,
            headers=headers or {},
        )
        deadline = self.shop.clock.monotonic() + 10.0
        return await self.apple.send(call, deadline, Waiters(Requester()))


def ids(count: int, start: int = 0) -> list[Id]:
    return [Id(str(number)) for number in range(start, start + count)]


def liked(wanted: Sequence[Id]) -> Results:
    return dict.fromkeys(wanted, 1)


def errors(results: Results) -> dict[Id, GatewayError]:
    return {id_: result for id_, result in results.items() if isinstance(result, GatewayError)}


def at_most(size: int, refusal: Reply, poison: str | None = None) -> Callable[[Seen], Reply]:
    """Apple with a limit on the ids of one call, and perhaps an id that it refuses in any company."""

    def choose(seen: Seen) -> Reply:
        return refusal if len(seen.ids) > size or poison in seen.ids else rated()

    return choose
