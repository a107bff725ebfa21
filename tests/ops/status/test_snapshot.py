"""Snapshots as values: immutable, and the same after a trip through JSON."""

import msgspec
import pytest

from gateway.ops.status.snapshot import Severity, Snapshot
from tests.ops import samples


@pytest.mark.parametrize(
    "snapshot",
    [
        samples.healthy(),
        samples.without_apple(),
        samples.without_redis(),
        samples.with_expired_token(),
        samples.just_started(),
    ],
    ids=["healthy", "without Apple", "without Redis", "expired token", "just started"],
)
def test_a_snapshot_is_equal_after_a_round_trip_through_json(snapshot):
    assert msgspec.json.decode(msgspec.json.encode(snapshot), type=Snapshot) == snapshot


def test_a_snapshot_cannot_be_changed():
    snapshot = samples.healthy()
    for part, field in ((snapshot, "redis"), (snapshot.traffic, "requests"), (snapshot.course[0], "calls")):
        with pytest.raises(AttributeError):
            setattr(part, field, None)


def test_severities_are_ordered_from_worst_to_least():
    assert list(Severity) == ["failing", "degraded", "note"]
