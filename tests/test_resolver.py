"""Names are resolved in threads: a hung lookup does not delay others and is not repeated."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

import pytest

from gateway.resolver import AddressInfo, ResolutionError, ResolutionTimeout, Resolver
from tests.waiting import until

LONG = 30.0
"""Longer than a test takes: only a hung lookup would use it up."""
SHORT = 0.02


def address(host: str, port: int = 0) -> AddressInfo:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))


class FakeLookup:
    """Answers as `answers` says by name; a name in `held` waits until the test releases it."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[], Sequence[AddressInfo]]] = {}
        self.held: dict[str, threading.Event] = {}
        self.calls: list[str] = []

    def __call__(self, host: str) -> Sequence[AddressInfo]:
        self.calls.append(host)
        if host in self.held:
            self.held[host].wait(LONG)
        return self.answers[host]()

    def finds(self, host: str, *addresses: str) -> None:
        self.answers[host] = lambda: [address(each) for each in addresses]

    def fails(self, host: str) -> None:
        def fail() -> Sequence[AddressInfo]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        self.answers[host] = fail

    def hold(self, host: str) -> threading.Event:
        self.held[host] = threading.Event()
        return self.held[host]


@pytest.fixture
def lookup() -> FakeLookup:
    return FakeLookup()


@pytest.fixture
def resolver(lookup: FakeLookup) -> Resolver:
    return Resolver(lookup)


async def test_a_name_resolves_to_all_its_addresses_with_the_port(
    resolver: Resolver, lookup: FakeLookup
) -> None:
    lookup.finds("redis.test", "10.0.0.1", "10.0.0.2")
    found = await resolver.resolve("redis.test", 6379, LONG)
    assert found == [address("10.0.0.1", 6379), address("10.0.0.2", 6379)]


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", ("127.0.0.1", 80)), ("::1", ("::1", 80, 0, 0))])
async def test_an_ip_address_needs_no_lookup(
    resolver: Resolver, lookup: FakeLookup, host: str, expected: tuple[str, int]
) -> None:
    found = await resolver.resolve(host, 80, LONG)
    assert [each[4] for each in found] == [expected]
    assert not lookup.calls


async def test_concurrent_callers_share_one_lookup_of_a_name(resolver: Resolver, lookup: FakeLookup) -> None:
    lookup.finds("redis.test", "10.0.0.1")
    release = lookup.hold("redis.test")
    waiting = [asyncio.ensure_future(resolver.resolve("redis.test", port, LONG)) for port in (1, 2)]
    await asyncio.sleep(0)
    release.set()
    assert [found[0][4] for found in await asyncio.gather(*waiting)] == [("10.0.0.1", 1), ("10.0.0.1", 2)]
    assert lookup.calls == ["redis.test"]


async def test_a_lookup_that_timed_out_is_named_and_not_repeated_while_it_runs(
    resolver: Resolver, lookup: FakeLookup
) -> None:
    lookup.finds("redis.test", "10.0.0.1")
    release = lookup.hold("redis.test")
    for _ in range(2):
        with pytest.raises(ResolutionTimeout, match=r"redis\.test") as caught:
            await resolver.resolve("redis.test", 1, SHORT)
        assert caught.value.kind == "dns_timeout"
    assert lookup.calls == ["redis.test"]
    release.set()
    assert await resolver.resolve("redis.test", 1, LONG) == [address("10.0.0.1", 1)]


async def test_a_hung_lookup_does_not_delay_another_name(resolver: Resolver, lookup: FakeLookup) -> None:
    release = lookup.hold("redis.test")
    lookup.fails("redis.test")
    lookup.finds("apple.test", "10.0.0.9")
    hung = asyncio.ensure_future(resolver.resolve("redis.test", 1, LONG))
    assert await resolver.resolve("apple.test", 443, LONG) == [address("10.0.0.9", 443)]
    assert not hung.done()
    release.set()
    with pytest.raises(ResolutionError):
        await hung


async def test_a_caller_that_is_cancelled_leaves_the_lookup_to_the_others(
    resolver: Resolver, lookup: FakeLookup
) -> None:
    lookup.finds("redis.test", "10.0.0.1")
    release = lookup.hold("redis.test")
    first, second = (asyncio.ensure_future(resolver.resolve("redis.test", 1, LONG)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    release.set()
    assert await second == [address("10.0.0.1", 1)]


async def test_an_unknown_name_is_a_named_error(resolver: Resolver, lookup: FakeLookup) -> None:
    lookup.fails("redis.test")
    with pytest.raises(ResolutionError, match=r"^redis\.test cannot be resolved: Name or serv") as caught:
        await resolver.resolve("redis.test", 1, LONG)
    assert caught.value.kind == "dns_error"


async def test_a_name_without_addresses_is_an_error(resolver: Resolver, lookup: FakeLookup) -> None:
    lookup.finds("redis.test")
    with pytest.raises(ResolutionError, match="no address"):
        await resolver.resolve("redis.test", 1, LONG)


async def test_known_addresses_are_used_while_a_lookup_fails(resolver: Resolver, lookup: FakeLookup) -> None:
    lookup.finds("redis.test", "10.0.0.1")
    await resolver.resolve("redis.test", 1, LONG)
    lookup.fails("redis.test")
    assert await resolver.resolve("redis.test", 1, LONG) == [address("10.0.0.1", 1)]


async def test_known_addresses_are_used_while_a_lookup_hangs(resolver: Resolver, lookup: FakeLookup) -> None:
    lookup.finds("redis.test", "10.0.0.1")
    await resolver.resolve("redis.test", 1, LONG)
    lookup.finds("redis.test", "10.0.0.2")
    release = lookup.hold("redis.test")
    assert await resolver.resolve("redis.test", 1, SHORT) == [address("10.0.0.1", 1)]
    release.set()
    assert await resolver.resolve("redis.test", 1, LONG) == [address("10.0.0.2", 1)]


async def test_a_new_answer_replaces_known_addresses(resolver: Resolver, lookup: FakeLookup) -> None:
    lookup.finds("redis.test", "10.0.0.1")
    await resolver.resolve("redis.test", 1, LONG)
    lookup.finds("redis.test", "10.0.0.2")
    assert await resolver.resolve("redis.test", 1, LONG) == [address("10.0.0.2", 1)]


async def test_a_process_without_free_threads_gets_an_error(
    resolver: Resolver, lookup: FakeLookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(ResolutionError, match="thread"):
        await resolver.resolve("redis.test", 1, LONG)


async def test_remembered_names_are_bounded(
    resolver: Resolver, lookup: FakeLookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.resolver.MAX_NAMES", 1)
    for name in ("one.test", "two.test"):
        lookup.finds(name, "10.0.0.1")
        await resolver.resolve(name, 1, LONG)
        lookup.fails(name)
    assert await resolver.resolve("two.test", 1, LONG) == [address("10.0.0.1", 1)]
    with pytest.raises(ResolutionError):
        await resolver.resolve("one.test", 1, LONG)


def test_a_lookup_that_hung_in_an_earlier_event_loop_is_not_waited_for(
    resolver: Resolver, lookup: FakeLookup
) -> None:
    lookup.finds("redis.test", "10.0.0.1")
    release = lookup.hold("redis.test")

    async def give_up() -> None:
        with pytest.raises(ResolutionTimeout):
            await resolver.resolve("redis.test", 1, SHORT)

    async def succeed() -> None:
        del lookup.held["redis.test"]
        assert await resolver.resolve("redis.test", 1, LONG) == [address("10.0.0.1", 1)]
        release.set()
        await until(lambda: not any("redis.test" in thread.name for thread in threading.enumerate()))

    asyncio.run(give_up())
    asyncio.run(succeed())


def test_a_process_ends_while_a_lookup_hangs() -> None:
    program = (
        "import asyncio, time\n"
        "from gateway.resolver import ResolutionTimeout, Resolver\n"
        "async def main():\n"
        "    try:\n"
        "        await Resolver(lambda host: time.sleep(600)).resolve('redis.test', 1, 0.01)\n"
        "    except ResolutionTimeout:\n"
        "        print('timed out')\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=20
    )
    assert ended.stdout == "timed out\n"


async def test_the_system_resolves_localhost() -> None:
    found = await Resolver().resolve("localhost", 80, LONG)
    assert {each[4][0] for each in found} <= {"127.0.0.1", "::1"}
