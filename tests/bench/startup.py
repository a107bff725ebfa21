"""How long `serve` takes until it answers, what its imports cost, and what it holds when idle."""

import http.client
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable

from tests.bench.machine import Machine, Process, free_port
from tests.bench.results import Startup
from tests.bench.stats import Spread
from tests.bench.upstream import Upstream

IDLE_SECONDS = 0.5
GIVE_UP_SECONDS = 30.0
TOP = 12
STANDARD_LIBRARY = "the standard library"


def measure(machine: Machine, upstream: Upstream, *, times: int, tell: Callable[[str], None]) -> Startup:
    """Start and stop it `times` times; bytecode is there already, as in the image."""
    _once(machine, upstream)
    runs = [_once(machine, upstream) for _ in range(times)]
    tell(f"start: {Spread.of(took for took, _, _ in runs).median:.2f} s")
    return Startup(
        seconds=Spread.of(took for took, _, _ in runs),
        cpu=Spread.of(cpu for _, cpu, _ in runs),
        rss=Spread.of(rss for _, _, rss in runs),
        imports=_imports(machine),
    )


def _once(machine: Machine, upstream: Upstream) -> tuple[float, float, int]:
    """Seconds until `/startupz` answers, CPU seconds by then, resident bytes a moment later."""
    ops_port = free_port()
    environment = {
        **upstream.environment,
        "GATEWAY_SERVER__PORT": str(free_port()),
        "GATEWAY_OPS__PORT": str(ops_port),
    }
    began = time.monotonic()
    process = machine.start([sys.executable, "-m", "gateway", "serve"], tested=True, environment=environment)
    _await_started(process, ops_port)
    took = time.monotonic() - began
    cpu = process.cpu_seconds()
    time.sleep(IDLE_SECONDS)
    rss = process.rss_bytes()
    process.stop()
    return took, cpu, rss


def _await_started(process: Process, ops_port: int) -> None:
    give_up = time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < give_up and not process.ended:
        connection = http.client.HTTPConnection("127.0.0.1", ops_port, timeout=5)
        try:
            connection.request("GET", "/startupz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.005)
    raise RuntimeError(f"serve did not come up: {process.complaints()}")


def _imports(machine: Machine) -> list[tuple[str, float]]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import gateway.cli.serve"],
        capture_output=True,
        text=True,
        check=True,
        env=machine.environment({}),
    )
    return by_package(done.stderr)[:TOP]


def by_package(printed: str) -> list[tuple[str, float]]:
    """What `-X importtime` printed as seconds by top package, slowest first; ours is `gateway`."""
    spent: dict[str, float] = defaultdict(float)
    for line in printed.splitlines():
        if not line.startswith("import time:") or "self [us]" in line:
            continue
        own, _, module = line.removeprefix("import time:").split("|")
        package = module.strip().partition(".")[0]
        known = package.lstrip("_") in sys.stdlib_module_names or package in sys.stdlib_module_names
        spent[STANDARD_LIBRARY if known else package] += int(own) / 1e6
    return sorted(spent.items(), key=lambda item: -item[1])
