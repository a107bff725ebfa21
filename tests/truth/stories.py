"""Sequences of events that random runs rarely reach, each of which reveals a broken rule."""

from collections.abc import Callable

from gateway.model import PLAIN, Id, Variant
from gateway.ratings.query import NO_DIRECTIVES, Directives
from tests.truth.apple import Ending, Value
from tests.truth.gateways import HOLD_SECONDS
from tests.truth.machine import ADA, ALBUMS, GERMAN, LIBRARY, Thing, Truths
from tests.truth.promises import LONGEST_LAG

Story = Callable[[Truths], None]

ALBUM: Thing = (ALBUMS, Id("1"))
PAIRED: Thing = (LIBRARY, Id("l.1"))


def a_fetch_ends_after_a_write(truths: Truths) -> None:
    reads(truths, "one", seconds=3.0)
    writes(truths, "one", 1, pause=3.5, probe="one")


def a_read_after_a_purge_finds_an_old_fetch(truths: Truths) -> None:
    reads(truths, "one", seconds=3.0)
    truths.rates_at_apple(ADA, ALBUM, 1, pause=0.0)
    truths.purges("one", ADA, None, whole=False, pause=0.0, probe="one")
    truths.does(seconds=5.0)


def a_read_after_a_failed_write_finds_an_old_fetch(truths: Truths) -> None:
    reads(truths, "two", seconds=3.0)
    writes(truths, "one", 1, "failed after all", lag=0.0, probe="two")
    truths.does(seconds=5.0)


def a_fill_reaches_redis_after_the_paired_hold(truths: Truths) -> None:
    writes(truths, "one", 1, pause=8.8)
    reads(truths, "two", PAIRED, seconds=0.5)
    truths.something_fails("two", "requests", 1.3, pause=1.5, probe="one")


def a_write_is_lost_after_one_that_is_held(truths: Truths) -> None:
    writes(truths, "one", -1, pause=1.5)
    truths.rates_at_apple(ADA, ALBUM, 1, pause=0.0)
    writes(truths, "one", 1, "lost", probe="two")


def redis_loses_a_hold_and_is_filled_by_the_other(truths: Truths) -> None:
    writes(truths, "two", 1, pause=1.5)
    truths.something_fails("one", "Redis forgets", 0.3, pause=0.0, probe="one two")
    truths.something_fails("one", "invalidations are lost", 0.3, pause=0.0, probe="two")


def a_variant_is_read_in_the_hold_while_redis_is_slow(truths: Truths) -> None:
    writes(truths, "one", 1)
    truths.something_fails("one", "lookups", 0.3, pause=0.0, probe="")
    reads(truths, "one", form=GERMAN)


def another_gateway_writes_unnoticed(truths: Truths) -> None:
    reads(truths, "two")
    truths.something_fails("two", "invalidations are lost", 8.0, pause=0.0, probe="")
    writes(truths, "one", 1, pause=1.5, probe="two")


def a_favorite_is_added_in_the_hold_of_a_write(truths: Truths) -> None:
    writes(truths, "one", -1, lag=0.0)
    truths.adds_a_favorite("two", ADA, ALBUM, "done", 0.0, 0.0, probe="one two")


def a_write_fails_after_one_that_is_held(truths: Truths) -> None:
    writes(truths, "one", 1, pause=5.0)
    writes(truths, "one", -1, "failed after all", lag=0.0, pause=HOLD_SECONDS + 0.5, probe="two")


def a_read_follows_a_refused_repeat(truths: Truths) -> None:
    writes(truths, "one", 1, "repeat refused", probe="one")
    truths.does(seconds=HOLD_SECONDS + 0.5)
    reads(truths, "one")


def a_write_is_refused_after_one_of_unknown_outcome(truths: Truths) -> None:
    writes(truths, "one", 1, "failed after all")
    writes(truths, "two", -1, "refused", probe="one two")
    truths.does(seconds=HOLD_SECONDS + 0.5)
    reads(truths, "one")


def a_write_is_refused_after_two_that_overlapped(truths: Truths) -> None:
    for name in ("one", "two"):
        truths.writes(name, ADA, ALBUM, 1, "done", LONGEST_LAG, 1.0, pause=0.0, probe="", form=PLAIN)
    truths.does(seconds=1.0)
    writes(truths, "two", -1, "refused", probe="one two")
    truths.does(seconds=HOLD_SECONDS + 0.5)
    reads(truths, "one")


def a_write_fails_before_redis_receives_it(truths: Truths) -> None:
    reads(truths, "two")
    truths.something_fails("one", "Redis", 0.3, pause=0.0, probe="")
    writes(truths, "one", 1, "failed after all", lag=0.0, pause=0.35, probe="one")


def a_write_fails_that_redis_receives_late(truths: Truths) -> None:
    reads(truths, "two")
    truths.something_fails("one", "Redis", 0.3, pause=0.0, probe="")
    writes(truths, "one", 1, "failed after all", lag=0.0, pause=3.0, probe="two")


def redis_receives_a_hold_late(truths: Truths) -> None:
    truths.something_fails("one", "Redis", 0.3, pause=0.0, probe="")
    writes(truths, "one", 1, pause=2.0, probe="one")


def one_writes_out_of_reach_and_then_the_other(truths: Truths) -> None:
    truths.something_fails("one", "Redis", 1.3, pause=0.0, probe="")
    writes(truths, "one", 1, lag=0.0)
    writes(truths, "two", -1, lag=0.0, pause=3.0, probe="one two")


def a_begin_reaches_redis_after_its_time(truths: Truths) -> None:
    truths.something_fails("one", "requests", 1.3, pause=0.0, probe="")
    writes(truths, "one", 1, pause=1.5)
    truths.something_fails("one", "invalidations are lost", 0.3, pause=1.5, probe="one")


def the_other_writes_while_redis_is_slow(truths: Truths) -> None:
    truths.something_fails("two", "lookups", 0.3, pause=0.0, probe="")
    writes(truths, "one", 1, probe="two")
    truths.does(seconds=1.5)
    reads(truths, "two")


def a_held_rating_is_purged(truths: Truths) -> None:
    writes(truths, "one", 1, lag=0.0)
    truths.rates_at_apple(ADA, ALBUM, -1, pause=0.0)
    truths.purges("one", ADA, ALBUM, whole=False, pause=HOLD_SECONDS + 1.5, probe="one two")


def a_held_rating_is_purged_before_a_refusal(truths: Truths) -> None:
    writes(truths, "one", 1, lag=0.0)
    truths.rates_at_apple(ADA, ALBUM, -1, pause=0.0)
    truths.writes("one", ADA, ALBUM, None, "refused", 0.0, 3.0, pause=0.0, probe="", form=PLAIN)
    truths.purges("one", ADA, ALBUM, whole=False, pause=HOLD_SECONDS + 1.5, probe="one two")


def a_purge_fails_for_lack_of_redis(truths: Truths) -> None:
    reads(truths, "two")
    truths.rates_at_apple(ADA, ALBUM, 1, pause=0.0)
    truths.something_fails("one", "Redis", 0.3, pause=0.0, probe="")
    truths.purges("one", ADA, ALBUM, whole=False, pause=1.5, probe="one two")


def a_purge_is_repeated_after_a_write_began(truths: Truths) -> None:
    truths.something_fails("two", "requests", 2.8, pause=1.5, probe="")
    truths.purges("two", ADA, None, whole=False, pause=0.5, probe="")
    writes(truths, "two", 1, pause=1.5, probe="two one")


def a_cached_id_is_read_with_no_cache(truths: Truths) -> None:
    reads(truths, "one")
    truths.rates_at_apple(ADA, ALBUM, 1, pause=0.0)
    reads(truths, "one", how=Directives(no_cache=True))


def a_caller_leaves_a_fetch_that_another_waits_for(truths: Truths) -> None:
    reads(truths, "one", seconds=3.0)
    reads(truths, "one", seconds=3.0)
    truths.a_caller_leaves(0)
    truths.does(seconds=5.0)


def reads(
    truths: Truths,
    name: str,
    thing: Thing = ALBUM,
    *,
    form: Variant = PLAIN,
    how: Directives = NO_DIRECTIVES,
    seconds: float = 0.0,
) -> None:
    truths.reads(name, ADA, thing, form, how, callers=1, seconds=seconds, pause=0.0)


def writes(
    truths: Truths,
    name: str,
    value: Value,
    ending: Ending = "done",
    *,
    lag: float = LONGEST_LAG,
    pause: float = 0.0,
    probe: str = "",
) -> None:
    truths.writes(name, ADA, ALBUM, value, ending, lag, 0.0, pause=pause, probe=probe, form=PLAIN)
