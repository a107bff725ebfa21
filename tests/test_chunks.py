import pytest

from gateway.chunks import chunks


@pytest.mark.parametrize(
    ("items", "cut"),
    [("", []), ("a", ["a"]), ("ab", ["ab"]), ("abc", ["ab", "c"]), ("abcd", ["ab", "cd"])],
)
def test_only_the_last_chunk_may_be_smaller(items, cut):
    assert chunks(items, 2) == cut
