"""How many connections callers may have open, by the limit on file descriptors."""

import pytest

from gateway.descriptors import connections


@pytest.mark.parametrize(
    ("limit", "calls", "expected"),
    [
        (1024, 64, 832),
        (1024, 256, 640),
        (200, 64, 100),  # half of a limit that is too low for the reserve
        (1_048_576, 64, 10_000),
    ],
)
def test_a_reserve_is_kept_for_everything_but_callers(limit, calls, expected):
    assert connections(limit, calls) == expected
