"""A caller of Apple whose every part the test can see, move and script."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec.structs import replace

from gateway.apple.answer_reader import AnswerReader
from gateway.apple.call import Call, asked_of
from gateway.apple.caller import Caller
from gateway.apple.concurrency import ConcurrencyLimiter
from gateway.apple.developer_token import SigningKey, TokenSource
from gateway.apple.failing_ids import FailingIds
from gateway.apple.quarantine import Quarantine
from gateway.apple.reactions import Reactions
from gateway.apple.response import AppleResponse
from gateway.apple.retry import RetryBudget, RetryPolicy
from gateway.apple.token_check import TokenCheck, TokenTest
from gateway.apple.transport import Transport
from gateway.apple.trial import Trial
from gateway.breaker import Breaker
from gateway.model import User
from gateway.telemetry.metrics import Metrics
from gateway.waiters import Requester, Waiters
from tests.hand_clock import HandClock

USER = User.of("alice's token")

KEY = SigningKey.parse(
    team_id="TEAM123456",
    key_id="KEY1234567",
    private_key=ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode(),
    lifetime_seconds=43200,
)

Turn = AppleResponse | BaseException | Callable[[str], AppleResponse]
"""What comes back: an answer, a failure, or what the developer token that was sent decides."""


class FakeTransport(Transport):
    """Answers from memory: `turns` one after the other, then `otherwise` for ever."""

    def __init__(self) -> None:
        self.read = AnswerReader().read
        self.turns: list[Turn] = []
        self.otherwise: Turn = AppleResponse(200, b"{}")
        self.tokens: list[str] = []
        self.fresh: list[bool] = []
        self.tests = 0
        self.test_status = 401
        self.timeouts: list[float] = []
        self.before: Callable[[], None] = lambda: None
        self.hold: asyncio.Event | None = None

    @property
    def calls(self) -> int:
        return len(self.tokens)

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
        del method, user_token, body, headers
        if target == "/v1/test":
            self.tests += 1
            return AppleResponse(self.test_status, b"")
        self.fresh.append(fresh)
        self.tokens.append(developer_token)
        self.timeouts.append(timeout)
        self.before()
        if self.hold is not None:
            await self.hold.wait()
        turn = self.turns.pop(0) if self.turns else self.otherwise
        if isinstance(turn, BaseException):
            raise turn
        return turn if isinstance(turn, AppleResponse) else turn(developer_token)


class Workshop:
    """A `Caller` over `transport`; waits between attempts only move the clock."""

    def __init__(
        self,
        transport: Transport,
        clock: HandClock,
        *,
        attempts: int = 5,
        max_concurrency: int = 4,
        min_calls: int = 20,
        call_timeout: float = 3.0,
        floor: int = 30,
    ) -> None:
        self.clock = clock
        self.metrics = Metrics()
        self.token_changes: list[str] = []
        self.tokens = TokenSource(KEY, clock, self.metrics, lambda what, _: self.token_changes.append(what))
        self.news: list[float] = []
        self.limiter = ConcurrencyLimiter(
            max_concurrency=max_concurrency,
            clock=clock,
            metrics=self.metrics,
            on_throttled=self.news.append,
            later=lambda _, resume: resume(),
        )
        self.breaker = Breaker(error_rate=0.5, window_seconds=10.0, min_calls=min_calls, open_seconds=5.0)
        self.quarantine = Quarantine(seconds=10.0, metrics=self.metrics)
        self.failing = FailingIds()
        self.waits: list[float] = []
        self.during_wait: Callable[[], None] = lambda: None
        self.reactions = Reactions(
            tokens=self.tokens,
            token_check=TokenCheck(TokenTest(transport, call_timeout, clock.monotonic, self.metrics)),
            limiter=self.limiter,
            breaker=self.breaker,
            quarantine=self.quarantine,
            failing=self.failing,
            now=clock.monotonic,
            metrics=self.metrics,
        )
        self.caller = Caller(
            transport,
            tokens=self.tokens,
            limiter=self.limiter,
            breaker=self.breaker,
            quarantine=self.quarantine,
            reactions=self.reactions,
            policy=RetryPolicy(attempts),
            budget=RetryBudget(floor=floor),
            call_timeout_seconds=call_timeout,
            clock=clock,
            metrics=self.metrics,
            chance=lambda: 0.5,
            sleep=self._sleep,
        )

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"gateway_{name}", labels) or 0.0

    def statuses(self, operation: str = "read") -> dict[str, float]:
        """How many calls ended how."""
        found: Iterable[tuple[str, float]] = (
            (sample.labels["status"], sample.value)
            for metric in self.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "gateway_upstream_requests_total" and sample.labels["operation"] == operation
        )
        return dict(found)

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.move(seconds)
        self.during_wait()
        await asyncio.sleep(0)


def call(
    method: str = "GET",
    *,
    user: User = USER,
    requester: Requester | None = None,
    began: float = 0.0,
    ids: int = 0,
    divisible: bool = False,
    headers: Mapping[str, str] = {},
) -> Call:
    return Call(
        operation={"GET": "read", "PUT": "write", "DELETE": "delete", "POST": "favorites"}[method],
        method=method,
        target="/v1/x",
        user=user,
        waiters=Waiters(requester or Requester()),
        trial=Trial(user.key, began),
        asked=replace(asked_of(method, headers), ids=ids, divisible=divisible),
        headers=headers,
    )
