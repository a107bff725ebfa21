"""`probe`: against two gateways on one Redis, and against gateways that fail."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from gateway.cli.probe import GIVE_UP_SECONDS, watch
from gateway.model import Kind
from gateway.sandbox import ADA, Sandbox
from gateway.server import serving
from gateway.settings import load
from tests.redis_server import RedisServer

ALBUM = "1138988512"
UNRATED = "111"


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


Start = Callable[..., Awaitable[list[str]]]


@pytest.fixture
async def start(sandbox: Sandbox) -> AsyncIterator[Start]:
    """Start two gateways in front of the sandbox; their API URLs."""
    async with AsyncExitStack() as running:

        async def start(**more: str) -> list[str]:
            environ = {
                "GATEWAY_APPLE__BASE_URL": sandbox.url,
                "GATEWAY_APPLE__TEAM_ID": sandbox.credentials.team_id,
                "GATEWAY_APPLE__KEY_ID": sandbox.credentials.key_id,
                "GATEWAY_APPLE__PRIVATE_KEY": sandbox.credentials.private_key_pem,
                "GATEWAY_SERVER__PORT": "0",
                "GATEWAY_OPS__PORT": "0",
                "GATEWAY_LOG__LEVEL": "warning",
                **more,
            }
            served = [await running.enter_async_context(serving(load(None, environ))) for _ in range(2)]
            return [each.api_url for each in served]

        yield start


@pytest.fixture
def probe(run, monkeypatch):
    monkeypatch.setenv("MUSIC_USER_TOKEN", ADA)

    async def through(urls: list[str], id_: str = ALBUM):
        options = [word for url in urls for word in ("--url", url)]
        return await asyncio.to_thread(run, "probe", "--type", "albums", "--id", id_, *options)

    return through


@pytest.fixture(autouse=True)
def _signals_from_any_thread(monkeypatch):
    """Commands of these tests run beside the event loop, where Python sets no signal handlers."""
    monkeypatch.setattr(signal, "signal", lambda *_: signal.SIG_DFL)


def rating(sandbox: Sandbox, id_: str) -> int | None:
    return sandbox.store.ratings(ADA, now=sandbox.clock.monotonic()).get(Kind.ALBUMS, {}).get(id_)


@pytest.mark.redis_server
@pytest.mark.parametrize("id_", [ALBUM, UNRATED])
async def test_gateways_on_one_redis_pass_and_the_old_rating_is_restored(start, probe, redis, sandbox, id_):
    before = rating(sandbox, id_)
    urls = await start(GATEWAY_CACHE__REDIS_URL=redis.url)
    ran = await probe(urls, id_)
    assert (ran.status, ran.err) == (0, "")
    assert f"{urls[1]}  lag " in ran.out
    assert "verdict: " in ran.out
    assert rating(sandbox, id_) == before
    assert [call.method for call in sandbox.calls if call.method != "GET"] == [
        "PUT",
        "PUT" if before else "DELETE",
    ]


async def test_gateways_that_share_nothing_fail_and_the_old_rating_is_restored(
    start, probe, sandbox, monkeypatch
):
    monkeypatch.setattr("gateway.cli.probe.GIVE_UP_SECONDS", 0.05)
    urls = await start()
    ran = await probe(urls)
    assert ran.status == 1
    assert f"{urls[1]}  returns the old rating" in ran.out
    assert "verdict: failed" in ran.out
    assert rating(sandbox, ALBUM) == 1


async def test_the_old_rating_is_restored_after_a_failure(start, probe, sandbox, gateway):
    rated = {"data": [{"attributes": {"value": 1}}]}
    gateway.answer = lambda _: (200, {}, rated) if len(gateway.asked) == 1 else (503, {}, {})
    urls = await start()
    ran = await probe([urls[0], gateway.url])
    assert ran.status == 1
    assert "reading through" in ran.err
    assert "restored 1" in ran.out
    assert rating(sandbox, ALBUM) == 1


def test_the_old_rating_is_printed_if_it_cannot_be_restored(run, gateway, monkeypatch):
    monkeypatch.setenv("MUSIC_USER_TOKEN", ADA)
    rated = {"data": [{"attributes": {"value": -1}}]}
    gateway.answer = lambda asked: (200, {}, rated) if asked.method == "GET" else (503, {}, {})
    ran = run("probe", "--type", "albums", "--id", "1", "--url", gateway.url, "--url", gateway.url)
    assert ran.status == 1
    said = f"writing through {gateway.url}: 503 {{}}\nThe rating may have changed. It was: -1\n"
    assert ran.err == f"ratings-gateway probe: {said}"


@pytest.mark.parametrize(
    ("status", "headers", "hint"),
    [
        (401, {"WWW-Authenticate": "Bearer"}, "--caller-token-file"),
        (401, {}, "Apple refuses the gateway's developer token"),
        (403, {}, "the user must sign in again"),
    ],
)
def test_a_refusal_says_what_to_do(run, gateway, monkeypatch, status, headers, hint):
    monkeypatch.setenv("MUSIC_USER_TOKEN", ADA)
    gateway.answer = lambda _: (status, headers, {"errors": [{"detail": "no"}]})
    ran = run("probe", "--type", "albums", "--id", "1", "--url", gateway.url, "--url", gateway.url)
    assert (ran.status, ran.out) == (1, "")
    assert f": {status} no\n" in ran.err
    assert hint in ran.err


def test_a_write_of_unknown_outcome_is_not_said_to_be_restored(run, gateway, monkeypatch):
    monkeypatch.setenv("MUSIC_USER_TOKEN", ADA)
    rated = {"data": [{"attributes": {"value": -1}}]}
    puts = iter([502, 200])
    gateway.answer = lambda asked: (200 if asked.method == "GET" else next(puts), {}, rated)
    ran = run("probe", "--type", "albums", "--id", "1", "--url", gateway.url, "--url", gateway.url)
    assert (ran.status, ran.out) == (1, "")
    assert "written back: -1. But the write before it was not answered" in ran.err


@pytest.fixture
def signals(monkeypatch) -> Iterator[None]:
    """Let the command set its handlers."""
    monkeypatch.undo()
    monkeypatch.setenv("MUSIC_USER_TOKEN", ADA)
    # A shell starts what it runs in the background with SIGINT ignored, these tests too.
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGHUP)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGHUP, before[1])


def interrupt(number: signal.Signals) -> None:
    """Send a signal to the command, which waits for an answer in the main thread."""
    thread = threading.main_thread().ident
    assert thread is not None
    signal.pthread_kill(thread, number)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize(
    ("numbers", "overlapped", "said"),
    [
        ([signal.SIGINT], False, "waiting for the answer to the write"),
        (
            [signal.SIGINT, signal.SIGTERM],
            True,
            "written back: -1. But the write before it was not answered",
        ),
    ],
    ids=["one signal", "a second one"],
)
def test_an_interrupted_write_is_answered_before_the_rating_is_restored_unless_there_is_a_second_signal(
    run, gateway, numbers, overlapped, said
):
    rated = {"data": [{"attributes": {"value": -1}}]}
    restoring, answered = threading.Event(), threading.Event()
    seen = []

    def answer(asked):
        if asked.method == "PUT":
            if asked.document["attributes"]["value"] == -1:
                restoring.set()
            else:
                for number in numbers:
                    interrupt(number)
                # Python notices a signal that comes just before it blocks only with the next one.
                for _ in range(10 * overlapped):
                    if restoring.wait(0.5):
                        break
                    interrupt(numbers[-1])
                seen.append(restoring.wait(0.3))
                answered.set()
        return 200, {}, rated

    gateway.answer = answer
    ran = run("probe", "--type", "albums", "--id", "1", "--url", gateway.url, "--url", gateway.url)
    assert answered.wait(10)
    assert (ran.status, seen) == (1, [overlapped])
    assert said in ran.err
    assert ("restored -1" in ran.out) is not overlapped


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_old_rating_is_restored_after_ctrl_c(run, gateway, number):
    rated = {"data": [{"attributes": {"value": -1}}]}
    written = []

    def answer(asked):
        if asked.method != "PUT":
            return 200, {}, rated
        written.append(asked.document["attributes"]["value"])
        if len(written) == 1:
            interrupt(number)
        return 200, {}, rated

    gateway.answer = answer
    ran = run("probe", "--type", "albums", "--id", "1", "--url", gateway.url, "--url", gateway.url)
    assert ran.status == 1
    assert "interrupted" in ran.err
    assert written == [1, -1]


def test_each_gateway_has_its_own_lag_or_none_if_it_never_shows_the_write():
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    checks = {"soon": lambda: True, "later": lambda: now >= 0.5, "never": lambda: False}
    lags = watch(checks, clock=lambda: now, sleep=sleep)
    assert (lags["soon"], lags["never"]) == (0.0, None)
    assert lags["later"] == pytest.approx(0.5, abs=0.01)
    assert now >= GIVE_UP_SECONDS


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--id", "1", "--url", "http://a"), "at least twice"),
        (("--id", "x", "--url", "http://a", "--url", "http://b"), "invalid albums id"),
    ],
)
def test_wrong_usage_is_2(run, monkeypatch, argv, said):
    monkeypatch.setenv("MUSIC_USER_TOKEN", ADA)
    ran = run("probe", "--type", "albums", *argv)
    assert ran.status == 2
    assert said in ran.err
