"""Readiness from single checks, and how they are listed."""

from gateway.ops.health import Check, ready, verbose

OWN = Check("accepting", ok=True, detail="yes", required=True)
REPORTED = Check("apple", ok=False, detail="circuit breaker open", required=False)


def test_only_required_checks_decide_readiness():
    assert ready([OWN, REPORTED])
    assert not ready([Check("accepting", ok=False, detail="draining", required=True)])


def test_checks_are_listed_one_per_line_with_the_verdict_last():
    assert verbose([OWN, REPORTED]).splitlines() == [
        "[+] accepting: yes",
        "[-] apple: circuit breaker open (reported only)",
        "ready",
    ]
