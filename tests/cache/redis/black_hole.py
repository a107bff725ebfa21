"""An address that drops packets, as IPv6 does where it is configured but leads nowhere."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.resolver import AddressInfo


@contextmanager
def black_hole_at(port: int) -> Iterator[None]:
    """Have 127.0.0.2 neither accept nor refuse connections to `port`: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.2", port))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.2", port))
        yield
        for each in waiting:
            each.close()


def info(host: str) -> AddressInfo:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0))


def hole_first(_name: str) -> list[AddressInfo]:
    """Resolve every name to the black hole, then to the servers that tests start."""
    return [info("127.0.0.2"), info("127.0.0.1")]
