"""User tokens that Apple refused are kept from it for a moment."""

import pytest

from gateway.apple import quarantine as module
from gateway.apple.quarantine import Quarantine
from gateway.errors import Quarantined, Relayed
from gateway.telemetry.metrics import Metrics

ALICE, BOB = b"a" * 16, b"b" * 16
REFUSAL = Relayed(403, b'{"errors":[]}', code="40300")


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def quarantine(metrics):
    return Quarantine(seconds=10.0, metrics=metrics)


def test_a_refused_user_token_is_kept_away_for_the_time_set(quarantine):
    quarantine.hear(ALICE, REFUSAL, 100.0)
    assert quarantine.active(ALICE, 109.9)
    assert not quarantine.active(ALICE, 110.0)
    assert not quarantine.active(BOB, 100.0)


def test_a_refused_request_gets_what_apple_said_and_is_counted(quarantine, metrics):
    quarantine.hear(ALICE, REFUSAL, 100.0)
    with pytest.raises(Quarantined) as caught:
        quarantine.check(ALICE, 104.0)
    refusal = caught.value
    assert (refusal.status, refusal.code, refusal.body) == (403, "40300", REFUSAL.body)
    assert refusal.retry_after == 6.0
    assert refusal.received_status is None
    assert metrics.registry.get_sample_value("gateway_quarantined_requests_total") == 1.0


def test_a_refusal_of_unusual_length_is_not_kept(quarantine):
    quarantine.hear(ALICE, Relayed(403, b" " * (module.LONGEST_BODY + 1), code="40300"), 100.0)
    with pytest.raises(Quarantined) as caught:
        quarantine.check(ALICE, 104.0)
    assert (caught.value.status, caught.value.code, caught.value.body) == (403, "40300", b"")


def test_others_and_later_requests_pass(quarantine, metrics):
    quarantine.hear(ALICE, REFUSAL, 100.0)
    quarantine.check(BOB, 100.0)
    quarantine.check(ALICE, 110.0)
    assert metrics.registry.get_sample_value("gateway_quarantined_requests_total") == 0.0


@pytest.mark.parametrize(
    "failure", [Relayed(403, b"", code="40301"), Relayed(401, b"", code="40300"), Relayed(429, b"")]
)
def test_other_errors_quarantine_nobody(quarantine, failure):
    quarantine.hear(ALICE, failure, 100.0)
    assert not quarantine.active(ALICE, 100.0)


def test_zero_seconds_turn_it_off(metrics):
    quarantine = Quarantine(seconds=0.0, metrics=metrics)
    quarantine.hear(ALICE, REFUSAL, 100.0)
    assert not quarantine.active(ALICE, 100.0)


def test_a_second_refusal_renews_it(quarantine):
    quarantine.hear(ALICE, REFUSAL, 100.0)
    quarantine.hear(ALICE, REFUSAL, 105.0)
    assert quarantine.active(ALICE, 114.0)


def test_beyond_its_bound_the_longest_known_goes(quarantine, monkeypatch):
    monkeypatch.setattr(module, "MOST_USERS", 2)
    quarantine.hear(ALICE, REFUSAL, 100.0)
    quarantine.hear(BOB, REFUSAL, 100.0)
    quarantine.hear(ALICE, REFUSAL, 101.0)
    quarantine.hear(b"c" * 16, REFUSAL, 101.0)
    assert quarantine.active(ALICE, 101.0)
    assert not quarantine.active(BOB, 101.0)
