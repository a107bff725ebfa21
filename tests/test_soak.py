"""The soak run on a small scale: tables and memory stop growing."""

from tests.soak import Soak


async def test_memory_levels_off_under_traffic_that_rarely_repeats():
    soak = Soak(users=500, max_entries=1000)
    found = [sizes async for sizes in soak.run(8_000)]
    half, last = found[4], found[-1]
    assert max(each.entries for each in found) <= 1000
    assert last.partitions <= half.partitions * 1.2
    assert last.write_log <= half.write_log * 1.5
    assert {each.flights for each in found} == {0}
    assert {each.tasks for each in found} == {0}
    assert last.resident_mib < half.resident_mib + 3
