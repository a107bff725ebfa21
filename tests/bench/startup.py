"""How long `serve` takes until it answers, and what it holds when idle."""

import http.client
import time

from tests.bench import contenders
from tests.bench.contenders import Checkout, Contender, Upstream
from tests.bench.results import Bound, Figure
from tests.bench.stage import Samples, Stage

IDLE_SECONDS = 0.5
GIVE_UP_SECONDS = 30.0
START, CPU, IDLE = "start until /startupz answers, s", "CPU time of a start, s", "idle memory, MB"
BOUNDS = {START: Bound("at most", 0.45), IDLE: Bound("at most", 75)}


def measure(stage: Stage) -> list[Figure]:
    """Start and stop it again and again; bytecode is compiled before, as in the image."""
    apple = contenders.upstream(stage.machine)
    samples = Samples("start and idle", stage.checkouts)
    for checkout in stage.checkouts:
        _start(stage, checkout, apple, Samples("", stage.checkouts))
    for _ in range(stage.rounds(5)):
        for checkout in stage.checkouts:
            _start(stage, checkout, apple, samples)
    return samples.figures(BOUNDS)


def _start(stage: Stage, checkout: Checkout, apple: Upstream, samples: Samples) -> None:
    began = time.monotonic()
    gateway = contenders.gateway(stage.machine, checkout, apple, await_ready=False)
    _await_started(gateway)
    took = time.monotonic() - began
    cpu = gateway.process.cpu_seconds()
    time.sleep(IDLE_SECONDS)
    samples.add(START, checkout.name, took)
    samples.add(CPU, checkout.name, cpu)
    samples.add(IDLE, checkout.name, gateway.process.rss_bytes() / 1e6)
    stage.progress(f"start, {checkout.name}: {took:.2f} s, {cpu:.2f} s CPU")
    gateway.process.stop()


def _await_started(gateway: Contender) -> None:
    give_up = time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < give_up and not gateway.process.ended:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.ops_port, timeout=5)
        try:
            connection.request("GET", "/startupz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.005)
    raise RuntimeError(f"serve did not come up: {gateway.process.complaints()}")
