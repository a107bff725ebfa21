from math import inf

import pytest

from gateway.cache.complete import complete
from gateway.cache.entry import Entry
from gateway.model import Id

ONE, TWO, THREE = Id("1"), Id("2"), Id("3")
LIKED = Entry(1, 90.0, 90.0, 150.0)
UNRATED = Entry(None, 80.0, 95.0, 140.0)
NOW = 100.0


def test_fresh_entries_of_all_ids_are_complete_in_the_order_asked():
    found = complete([THREE, ONE, TWO], {ONE: LIKED, TWO: UNRATED, THREE: UNRATED}, NOW, -inf)
    assert found is not None
    assert found.entries == [UNRATED, LIKED, UNRATED]
    assert (found.negative, found.oldest, found.soonest) == (2, 80.0, 140.0)


@pytest.mark.parametrize(
    ("known", "now", "trusted_since"),
    [
        ({ONE: LIKED}, NOW, -inf),
        ({ONE: LIKED, TWO: UNRATED}, 140.0, -inf),
        ({ONE: LIKED, TWO: UNRATED}, NOW, 91.0),
    ],
    ids=["an id is missing", "an entry is stale", "an entry was trusted too early"],
)
def test_it_is_not_complete_if(known, now, trusted_since):
    assert complete([ONE, TWO], known, now, trusted_since) is None
