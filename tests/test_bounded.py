from collections import OrderedDict

from gateway.bounded import keep_latest


def test_the_key_that_was_set_longest_ago_is_dropped():
    kept: OrderedDict[str, int] = OrderedDict()
    for value, key in enumerate("abac"):
        keep_latest(kept, key, value, 2)
    assert list(kept.items()) == [("a", 2), ("c", 3)]
