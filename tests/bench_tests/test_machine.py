import os
import signal
import subprocess
import sys

import pytest

from tests.bench import accounting
from tests.bench.machine import Cores, Machine, await_listening, split
from tests.ports import free_port

WAITING = [sys.executable, "-c", "import signal; signal.pause()"]


def test_the_server_under_test_has_the_last_core_for_itself():
    cores = split({0, 1, 2, 3})
    assert cores == Cores(frozenset({3}), frozenset({0, 1, 2}))
    assert cores.apart


def test_one_core_is_shared_and_said_to_be():
    cores = split({5})
    assert cores == Cores(frozenset({5}), frozenset({5}))
    assert not cores.apart


def test_children_run_on_their_core_and_end_with_the_machine(tmp_path):
    before = os.sched_getaffinity(0)
    with Machine(tmp_path) as machine:
        tested = machine.start(WAITING, tested=True)
        other = machine.start(WAITING)
        assert os.sched_getaffinity(tested.pid) == machine.cores.server
        assert os.sched_getaffinity(other.pid) == machine.cores.others
        assert tested.pid in accounting.family(os.getpid())
    assert tested.ended
    assert other.ended
    assert os.sched_getaffinity(0) == before


def test_children_are_stopped_also_where_a_measurement_fails(tmp_path):
    children = []

    def measure() -> None:
        with Machine(tmp_path) as machine:
            children.append(machine.start(WAITING))
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        measure()
    assert children[0].ended


def test_a_child_that_ignores_the_request_to_stop_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.bench.machine.STOP_SECONDS", 0.05)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    with Machine(tmp_path) as machine:
        child = machine.start([sys.executable, "-c", deaf], out=subprocess.PIPE)
        assert child.child.stdout is not None
        with child.child.stdout as said:
            said.readline()
    assert child.child.returncode == -signal.SIGKILL


def test_settings_of_the_caller_do_not_reach_a_gateway(tmp_path, monkeypatch):
    monkeypatch.setenv("GATEWAY_CACHE__JITTER", "0.5")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    environment = Machine(tmp_path).environment({"GATEWAY_OPS__PORT": "0"})
    assert environment["GATEWAY_OPS__PORT"] == "0"
    assert environment["PYTHONPYCACHEPREFIX"].startswith(str(tmp_path))
    assert not {"GATEWAY_CACHE__JITTER", "PYTHONDONTWRITEBYTECODE"} & set(environment)


def test_a_child_that_ends_before_it_listens_is_an_error(tmp_path):
    with Machine(tmp_path) as machine:
        child = machine.start([sys.executable, "-c", "raise SystemExit('no such setting')"])
        with pytest.raises(RuntimeError, match=r"does not listen.*no such setting"):
            await_listening(child, free_port())
