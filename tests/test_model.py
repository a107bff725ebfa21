import pytest

from gateway.model import value_of


@pytest.mark.parametrize(
    ("rating", "value"),
    [(1, 1), (-1, -1), (None, None), (b'{"id":"1","attributes":{"value":1,"more":"x"}}', 1)],
)
def test_every_form_of_a_rating_has_its_value(rating, value):
    assert value_of(rating) == value
