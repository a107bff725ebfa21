"""Which `Host` values are well-formed, and which name this machine."""

import pytest

from gateway.host_header import is_allowed, is_loopback, names_loopback


@pytest.mark.parametrize(
    "host",
    ["", "a", "a.example:80", "a:", "127.0.0.1:8081", "[::1]", "[::1]:8081", "a_b", "a%20b", "a,b", "xn--d"],
)
def test_values_of_the_grammar_are_allowed(host):
    assert is_allowed(host)


@pytest.mark.parametrize(
    "host",
    [
        "x/y",
        "a b",
        "a@b",
        "a:b",
        "a:80:81",
        "[::1",
        "::1",
        "[::g]",
        "[1.2.3.4]",
        "[::1]x",
        "a#b",
        "ä",
        "%zz",
        "a\tb",
    ],
)
def test_values_outside_the_grammar_are_refused(host):
    assert not is_allowed(host)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:8081", "127.8.8.8", "[::1]:1", "[::ffff:127.0.0.1]"]
)
def test_loopback_names_are_this_machine(host):
    assert names_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example", "10.0.0.1", "[fe80::1]", "127.0.0.1.nip.io"]
)
def test_other_names_are_not_this_machine(host):
    assert not names_loopback(host)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.6", "::1", "::ffff:127.0.0.1"])
def test_peers_with_a_loopback_address_are_this_machine(address):
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["", "localhost", "10.0.0.1", "::ffff:10.0.0.1", "0.0.0.0", "::"])
def test_peers_with_another_address_are_not_this_machine(address):
    assert not is_loopback(address)
