"""Ports for the servers that tests start."""

import socket

from tests.ports import BUS, PORTS, free_port


def bound(port: int) -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", port))
    return listener


def test_a_free_port_can_be_bound_and_so_can_its_bus():
    port = free_port()
    with bound(port), bound(port + BUS):
        pass


def test_no_port_is_handed_out_twice_or_is_the_bus_of_another():
    ports = {free_port() for _ in range(200)}
    assert len(ports) == 200
    assert not {port + BUS for port in PORTS} & ports
