"""Which user tokens are valid."""

import pytest

from gateway.user_token import is_valid


@pytest.mark.parametrize("token", ["Ab0+/=", "two words", " ~"])
def test_printable_ascii_is_valid(token):
    assert is_valid(token)


@pytest.mark.parametrize("token", ["a\tb", "a\x7f", "a\x00", "a\n", "é", "a\u00a0", "a\udce9", "a\u2028"])
def test_anything_else_is_not(token):
    assert not is_valid(token)
