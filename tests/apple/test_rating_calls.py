"""One call for several ids: what it asks, and what is recorded of its answer."""

import pytest

from gateway.apple.batch_size import AnsweredInFragments, BatchSize
from gateway.apple.call import Failed
from gateway.apple.division import Job
from gateway.apple.rating_calls import RatingCalls
from gateway.apple.trial import Trial
from gateway.model import Kind, Partition, Variant
from gateway.waiters import Requester, Waiters
from tests.apple.builders import USER
from tests.apple.fetches import ALBUMS, BAD_IDS, ids, liked

NOW = 1_000.0
REFUSED_PAIR = AnsweredInFragments(began=NOW, size=100, whole=2, ids=2, largest=1, refused=True)


@pytest.fixture
def sizes():
    return BatchSize(100)


@pytest.fixture
def calls(bench, sizes):
    shop = bench.shop
    return RatingCalls(
        shop.caller, sizes=sizes, failing=shop.failing, now=shop.clock.monotonic, metrics=shop.metrics
    )


def make(calls, bench, wanted, partition=ALBUMS):
    now = bench.shop.clock.monotonic()
    job = Job(partition, Waiters(Requester()), now + 10.0)
    return calls.make(job, wanted, Trial(USER.key, now))


async def test_it_asks_for_all_ids_in_the_variant(calls, bench):
    german = Partition(USER, Kind.ALBUMS, Variant("l=de"))
    assert await make(calls, bench, ids(3), german) == liked(ids(3))
    assert [seen.target for seen in bench.script.seen] == ["/v1/me/ratings/albums?ids=0,1,2&l=de"]
    assert bench.shop.sample("upstream_batch_ids_sum") == 3.0


@pytest.mark.parametrize(("refused", "size"), [(False, 100), (True, 50)])
async def test_an_answer_shows_that_so_many_ids_are_not_too_many(calls, bench, sizes, refused, size):
    bench.script.plays = [BAD_IDS] if refused else []
    assert isinstance(await make(calls, bench, ids(2)), Failed) is refused
    now = bench.shop.clock.monotonic()
    sizes.learn(REFUSED_PAIR, now)
    assert sizes.current(now) == size
