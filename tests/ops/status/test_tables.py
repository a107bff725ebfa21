"""Lists and tables of the status page, each from a snapshot."""

import pytest
from msgspec.structs import replace

from gateway.ops.markup import Html
from gateway.ops.status import tables
from gateway.ops.status.snapshot import AccessView, Snapshot
from gateway.telemetry.recent import RecentError
from tests.ops import samples
from tests.ops.html import Document

ERROR = RecentError("r-new", 90.0, "GET", "/v1/x", 503, "50300", "apple: 503", "Stopped.", None)


def text_of(part: Html) -> str:
    return Document(part).text


def with_errors(*errors: RecentError) -> Snapshot:
    return replace(samples.healthy(), recent_errors=errors)


def test_apple_shows_its_breaker_and_the_calls_in_flight():
    text = text_of(tables.apple(samples.healthy()))
    assert "closed for 1 d 3 h" in text
    assert "3; limit 64, maximum 64" in text


def test_apple_shows_failed_and_refused_calls_apart():
    upstream = replace(
        samples.healthy().upstream,
        calls=100,
        rate=25.0,
        by_status={"200": 12, "401": 1, "403": 2, "429": 79, "500": 4, "timeout": 2},
        failed_share=0.06,
    )
    text = text_of(tables.apple(replace(samples.healthy(), upstream=upstream)))
    assert "Calls25/s: 6 % failed (5xx or no answer), 82 % refused (401, 403 or 429)" in text
    assert "Calls0/s" in text_of(tables.apple(samples.just_started()))


def test_redis_shows_its_address_and_the_subscription():
    text = text_of(tables.redis(samples.healthy()))
    assert "redis://cache.internal:6379/0" in text
    assert "up for 2 h 32 min" in text


def test_redis_shows_its_own_breaker():
    failing = samples.without_redis()
    assert "open for 12 s; only probes are sent" in text_of(tables.redis(failing))
    assert "no answer for 12 s" in text_of(tables.redis(failing))
    assert "open" not in text_of(tables.apple(failing))


def test_what_redis_missed_is_counted_by_user_and_type():
    assert "Waiting for Rediswrites or purges of 4 users and types" in text_of(
        tables.redis(samples.without_redis())
    )
    assert "Waiting for Redisnothing" in text_of(tables.redis(samples.healthy()))


def test_without_redis_the_cache_is_said_to_be_in_process():
    text = text_of(tables.redis(samples.just_started()))
    assert text == "No Redis is set: the cache is in-process only."


def test_the_token_shows_its_key_and_when_it_expires():
    text = text_of(tables.token(samples.healthy()))
    assert "SANDBOXKEY" in text
    assert "in 8 h 20 min (2026-05-29 04:47:00 UTC)" in text


def test_an_expired_token_shows_since_when():
    expected = "expired 3 min 20 s ago (2026-05-28 20:23:20 UTC)"
    assert expected in text_of(tables.token(samples.with_expired_token()))


@pytest.mark.parametrize(
    ("reloaded", "successful", "said"),
    [(False, True, "none yet"), (True, True, "succeeded"), (True, False, "failed")],
)
def test_the_last_reload_is_none_before_the_first(reloaded, successful, said):
    good = samples.healthy()
    process = replace(good.process, reloaded=reloaded, last_reload_successful=successful)
    assert f"Last reload{said}" in text_of(tables.token(replace(good, process=process)))


def test_the_cache_shows_how_full_it_is():
    text = text_of(tables.cache(samples.healthy()))
    assert "121,408, 61 % of 200,000" in text
    assert "40 MiB, 31 % of 128 MiB" in text


@pytest.mark.parametrize(("snapshot", "rows"), [(samples.healthy(), 2), (samples.just_started(), 1)])
def test_the_cache_has_a_row_for_each_tier_in_use(snapshot, rows):
    assert len(Document(tables.cache(snapshot)).all("tr")) == 1 + rows


def test_settings_show_their_source_and_how_many_are_set():
    text = text_of(tables.settings(samples.healthy()))
    assert "environment GATEWAY_APPLE__KEY_ID" in text
    assert "4 of 7 are set, the others at their defaults." in text


def test_equal_errors_share_a_row_with_their_count():
    older, other = replace(ERROR, request_id="r-old", at=10.0), replace(ERROR, cause="id: 503")
    text = text_of(tables.recent_errors(with_errors(ERROR, older, other)))
    assert "00:00:10 to 00:01:302apple: 503503" in text
    assert "00:01:301id: 503503" in text
    assert ("r-new" in text, "r-old" in text) == (True, False)


def test_without_errors_the_table_is_a_sentence():
    assert text_of(tables.recent_errors(with_errors())) == "None since the start."


def test_a_failed_write_offers_a_read_of_the_same_id():
    text = text_of(tables.recent_errors(samples.without_apple()))
    assert "read the current rating" in text
    assert (
        'curl -i -H "Music-User-Token: $MUSIC_USER_TOKEN" '
        "'http://127.0.0.1:8080/v1/me/ratings/songs?ids=900000001'" in text
    )


def test_the_command_sends_a_caller_token_if_one_is_required():
    failing = samples.without_apple()
    guarded = replace(failing, process=replace(failing.process, asks_caller_token=True))
    assert (
        'curl -i -H "X-Gateway-Token: $GATEWAY_CALLER_TOKEN" -H "Music-User-Token: $MUSIC_USER_TOKEN" '
        in text_of(tables.recent_errors(guarded))
    )


def test_the_command_supports_unix_sockets():
    assert tables.curl("unix:///run/api.sock", "/v1/me/ratings/albums?ids=1", asks_caller_token=False) == (
        'curl -i --unix-socket /run/api.sock -H "Music-User-Token: $MUSIC_USER_TOKEN" '
        "'http://localhost/v1/me/ratings/albums?ids=1'"
    )


@pytest.mark.parametrize("field", ["request_id", "method", "route", "detail", "code", "cause", "again"])
def test_no_field_of_an_error_can_add_markup(field):
    error = replace(ERROR, **{"again": "/v1?ids=1", field: "<script>alert(1)</script>"})
    assert "<script" not in tables.recent_errors(with_errors(error))


@pytest.mark.parametrize(
    ("access", "reason"),
    [
        (AccessView(granted=False, token_set=True), "are shown to requests with the ops token."),
        (AccessView(granted=False, token_set=False), "are shown only to requests from this host"),
        (AccessView(granted=False, token_set=True, refused=True), "This is not the ops token."),
    ],
)
@pytest.mark.parametrize("part", [tables.settings, tables.recent_errors])
def test_a_part_that_the_requester_may_not_see_says_why(part, access, reason):
    hidden = replace(samples.healthy(), access=access, settings=None, recent_errors=None)
    assert reason in text_of(part(hidden))
