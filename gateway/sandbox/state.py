"""All that a sandbox knows, and what its owner can do to it from Python; no listener yet."""

import asyncio
from collections.abc import Sequence
from random import Random

from gateway.clock import Clock, SystemClock
from gateway.model import Kind
from gateway.sandbox.api import Api
from gateway.sandbox.arming import Armed, Faults
from gateway.sandbox.credentials import Credentials, TrustedKey
from gateway.sandbox.faults import Hold, Moment, Where
from gateway.sandbox.journal import Journal
from gateway.sandbox.serving import Serving
from gateway.sandbox.shipped import stock
from gateway.sandbox.store import Ratings, Standing, Store
from gateway.sandbox.verify import TokenVerifier
from gateway.sandbox.wire import Sleep


class SandboxState:
    """`credentials` are made where none are given; tokens of `trusted` keys are taken too.

    `serve_credentials`: whether a control route hands out the private key; None: where it was made here.

    `max_ids` bounds the ids in one call, `seed` makes chance repeatable, `clock` is where lag and token
    times are read, `sleep` is how latency passes.
    """

    def __init__(
        self,
        *,
        credentials: Credentials | None = None,
        serve_credentials: bool | None = None,
        trusted: Sequence[TrustedKey] = (),
        max_ids: int = 100,
        seed: int = 0,
        clock: Clock | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        random = Random(seed)  # noqa: S311 - chance that can be repeated is the point
        self.clock = clock or SystemClock()
        self.serve_credentials = credentials is None if serve_credentials is None else serve_credentials
        self.credentials = credentials or Credentials.generate()
        self._trusted = (self.credentials.trusted(), *trusted)
        self.tokens = TokenVerifier(self._trusted)
        self.store = Store()
        stock(self.store)
        self.faults = Faults(random, known_as=self.store.known_as)
        self.calls = Journal(self.clock)
        self.api = Api(self.store, max_ids=max_ids, random=random)
        self.serving = Serving(
            api=self.api,
            store=self.store,
            tokens=self.tokens,
            faults=self.faults,
            journal=self.calls,
            clock=self.clock,
            sleep=sleep,
            random=random,
        )

    def add_user(
        self,
        token: str,
        *,
        label: str | None = None,
        standing: Standing = Standing.ACTIVE,
        ratings: Ratings | None = None,
    ) -> None:
        """Add a user, or replace the one with this token, whose label it is but for `sandbox-user-`."""
        self.store.add_user(token, label=label, standing=standing, ratings=ratings)

    def rate(self, user: str, kind: Kind, id_: str, value: int | None) -> None:
        """Set (1, -1) or remove (None) a rating behind the API's back; `user` is a token or a label."""
        self.store.write(user, kind, id_, value, now=self.clock.monotonic())

    def rating(self, user: str, kind: Kind, id_: str) -> int | None:
        """The rating that a read would show now."""
        return self.store.read(user, kind, (id_,), now=self.clock.monotonic()).get(id_)

    def users(self) -> list[dict[str, object]]:
        """Every user with token, label, standing and the ratings that show now."""
        now = self.clock.monotonic()
        return [
            {
                "token": account.token,
                "label": account.label,
                "standing": account.standing,
                "ratings": self.store.ratings(account.token, now=now),
            }
            for account in self.store
        ]

    def hold(self, where: Where | None = None, *, at: Moment = "arrival", times: int | None = None) -> Armed:
        """Make matching calls wait: `await held.reached(n)`, then `held.release()`."""
        return self.faults.add(Hold(at), where=where or Where(), times=times)

    def developer_token(self, *, lifetime_seconds: int = 3600, origin: Sequence[str] = ()) -> str:
        """A token that this sandbox takes, signed now."""
        return self.credentials.developer_token(
            now=self.clock.time(), lifetime_seconds=lifetime_seconds, origin=origin
        )

    def reset(self) -> None:
        """Users, ratings and pairs as shipped, the keys of the start, no faults, an empty journal."""
        self.tokens.reset(self._trusted)
        self.store.clear()
        stock(self.store)
        self.faults.clear()
        self.calls.clear()
