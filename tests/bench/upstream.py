"""The stand-in for Apple as a process, and its control routes as methods."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Mapping

from tests.bench.machine import Machine, Process, await_listening, free_port

LATENCY_SECONDS = 0.040
"""What a call to Apple costs in every measurement that says so."""


class Upstream:
    """A running sandbox."""

    def __init__(self, process: Process, port: int, environment: Mapping[str, str]) -> None:
        self.process = process
        self.port = port
        self.environment = environment
        """What points a gateway at it."""

    @classmethod
    def start(cls, machine: Machine) -> "Upstream":
        port = free_port()
        process = machine.start(
            [sys.executable, "-m", "gateway", "sandbox", "--port", str(port)], out=subprocess.PIPE
        )
        await_listening(process, port)
        assert process.child.stdout is not None
        lines = [process.child.stdout.readline().decode().strip() for _ in range(4)]
        return cls(process, port, dict(line.split("=", 1) for line in lines))

    def add_user(self, token: str, **rated: Iterable[str]) -> None:
        """Add a user who likes these ids: `albums=[…], songs=[…]`."""
        ratings = {kind: dict.fromkeys(ids, 1) for kind, ids in rated.items()}
        self._ask("POST", "users", {"token": token, "ratings": ratings})

    def be_late(self) -> None:
        """From now on every call takes `LATENCY_SECONDS`."""
        self.be_prompt()
        self._ask("POST", "faults", {"effect": {"name": "latency", "seconds": LATENCY_SECONDS}})

    def be_prompt(self) -> None:
        """From now on calls are answered at once."""
        self._ask("DELETE", "faults")

    def calls(self) -> int:
        """Calls received so far."""
        total: int = json.loads(self._ask("GET", "calls?limit=0"))["total"]
        return total

    def settle(self) -> None:
        """Wait until no call is under way: what a load left behind must not trouble the next one."""
        while json.loads(self._ask("GET", "calls?limit=0"))["in_flight"]:
            time.sleep(0.02)

    def developer_token(self) -> str:
        """A developer token for the next hour."""
        return self._ask("GET", "developer-token").decode()

    def _ask(self, method: str, path: str, document: object = None) -> bytes:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/_sandbox/{path}",
            method=method,
            data=None if document is None else json.dumps(document).encode(),
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            body: bytes = response.read()
            return body
