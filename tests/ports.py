"""Free loopback ports for servers that must be told their port before they start."""

import secrets
import socket

PORTS = range(11_000, 21_000)
"""Below the ports that Linux gives to connections (32768 and up): no connection takes one meanwhile."""

BUS = 10_000
"""The bus of a Redis cluster's node listens this far above the node's port: never in `PORTS`."""

_handed_out: set[int] = set()


def free_port() -> int:
    """A port of 127.0.0.1 that is free, as is its bus port. No port is handed out twice in a process."""
    while True:
        port = secrets.choice(PORTS)  # `random` is seeded alike in all test processes
        if port not in _handed_out and _is_free(port) and _is_free(port + BUS):
            _handed_out.add(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
