from gateway.model import Id, Kind, Partition, Variant
from gateway.ratings.query import Part, Query, TierCounts
from tests.fetch.fake_loads import USER


def test_each_part_of_a_query_reads_the_partition_of_its_user_type_and_variant():
    albums, songs = Part(Kind.ALBUMS, [Id("1")]), Part(Kind.SONGS, [Id("2")])
    german = Query(USER, (albums, songs), Variant("l=de"))
    assert [german.partition(part) for part in german.parts] == [
        Partition(USER, Kind.ALBUMS, Variant("l=de")),
        Partition(USER, Kind.SONGS, Variant("l=de")),
    ]


def test_counts_of_several_parts_add_up():
    counts = TierCounts(local=1, shared=2, upstream=3, stale=4, collapsed=5, calls=6)
    counts.add(TierCounts(local=10, shared=20, upstream=30, stale=40, collapsed=50, calls=60))
    assert counts == TierCounts(local=11, shared=22, upstream=33, stale=44, collapsed=55, calls=66)
