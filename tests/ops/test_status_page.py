"""The status page and its JSON, from snapshots."""

import json
import re

import pytest
from msgspec.structs import replace

from gateway.ops.status.render import as_json, render
from gateway.ops.status.snapshot import AccessView, Snapshot
from gateway.ops.status.tables import curl
from gateway.telemetry.recent import RecentError
from tests.ops import samples
from tests.ops.html import Document


def shown(snapshot):
    return Document(render(snapshot)).text


def test_what_is_wrong_stands_first_and_in_words():
    text = shown(samples.without_redis())
    wrong = text.index("Redis has not answered for 12 s (connection: 31, timeout: 2)")
    assert text.index("What is wrong") < wrong < text.index("Now")


def test_when_nothing_is_wrong_it_says_so():
    text = shown(samples.healthy())
    assert "Nothing is wrong" in text
    assert "Redis answers, and the invalidation subscription is up" in text


def test_without_redis_it_does_not_speak_of_it():
    text = shown(samples.just_started())
    assert "No Redis is set: the cache is in-process only." in text
    assert "Redis answers" not in text


@pytest.mark.parametrize(
    "expected",
    [
        "Version 0.1.0, Python 3.11.2, up 1 d 3 h",
        "Fresh in the cache93 %",
        "Duration, 99 % within34 ms",
        "estimated from histogram buckets",
        "closed, calls are made, for 1 d 3 h",
        "3, at most 64 of 64",
        "redis://cache.internal:6379/0",
        "up, for 2 h 32 min",
        "SANDBOXKEY",
        "in 8 h 20 min (2026-05-29 04:47:00 UTC)",
        "121,408, 61 % of 200,000",
        "40 MiB, 31 % of 128 MiB",
        "environment GATEWAY_APPLE__KEY_ID",
        "4 of 7 are set, the others at their defaults.",
    ],
)
def test_it_shows(expected):
    assert expected in shown(samples.healthy())


def test_a_finding_leads_to_its_section_of_the_runbook():
    assert "/runbook#ratingsgatewayrediserrors" in Document(render(samples.without_redis())).values("href")


def test_a_finding_without_a_section_leads_nowhere():
    full = replace(samples.healthy(), local=replace(samples.healthy().local, evictions=7))
    document = Document(render(full))
    assert "7 entries were evicted" in document.text
    assert not [href for href in document.values("href") if href.startswith("/runbook#")]


def test_an_expired_token_is_told_in_the_past():
    assert "expired 3 min 20 s ago (2026-05-28 20:23:20 UTC)" in shown(samples.with_expired_token())


def test_charts_are_told_in_words_too():
    (chart, *_) = [
        element for element in Document(render(samples.healthy())).all("svg") if "role" in element.attributes
    ]
    label = chart.attributes["aria-label"] or ""
    assert label.startswith("Fresh in the cache over the last hour. both tiers: now 91 %, lowest ")


def test_a_chart_without_data_says_so():
    text = shown(samples.just_started())
    assert text.count("Nothing to show yet") == 4
    assert not re.search(r"(requests|calls|failed) 0/s", text)


def test_a_line_without_data_is_told_from_one_that_has_some():
    deaf = tuple(replace(point, local_ratio=None) for point in samples.course())
    source = render(replace(samples.healthy(), course=deaf))
    assert "this process: -." in source


def test_a_gap_in_the_data_is_a_gap_in_the_line():
    holes = tuple(
        replace(point, cached_ratio=None) if number in (20, 22) else point
        for number, point in enumerate(samples.course())
    )
    document = Document(render(replace(samples.healthy(), course=holes)))
    line = next(element for element in document.all("path") if "solid" in (element.attributes["class"] or "")
                and len(element.attributes["d"] or "") > 99)  # fmt: skip
    assert (line.attributes["d"] or "").count("M") == 3


def test_a_failed_write_offers_a_read():
    text = shown(samples.without_apple())
    assert "read what is rated" in text
    assert (
        'curl -i -H "Music-User-Token: $MUSIC_USER_TOKEN" '
        "'http://127.0.0.1:8080/v1/me/ratings/songs?ids=900000001'" in text
    )


def test_the_command_knows_unix_sockets():
    assert curl("unix:///run/api.sock", "/v1/me/ratings/albums?ids=1", asks_caller_token=False) == (
        'curl -i --unix-socket /run/api.sock -H "Music-User-Token: $MUSIC_USER_TOKEN" '
        "'http://localhost/v1/me/ratings/albums?ids=1'"
    )


def test_the_command_presents_a_caller_token_where_one_is_asked_for():
    good = samples.without_apple()
    text = shown(replace(good, process=replace(good.process, asks_caller_token=True)))
    assert (
        'curl -i -H "X-Gateway-Token: $GATEWAY_CALLER_TOKEN" -H "Music-User-Token: $MUSIC_USER_TOKEN" '
        in text
    )


@pytest.mark.parametrize("field", ["request_id", "method", "route", "detail", "code", "cause", "again"])
def test_what_a_caller_sent_is_text_and_no_markup(field):
    error = RecentError("r", 1.0, "GET", "/v1", 500, "50000", "apple: 500", "d", "/v1?ids=1")
    snapshot = replace(
        samples.healthy(), recent_errors=(replace(error, **{field: "<script>alert(1)</script>"}),)
    )
    assert "<script" not in render(snapshot)


@pytest.mark.parametrize(
    ("access", "says"),
    [
        (AccessView(granted=False, token_set=True), "Settings are shown to requests with the ops token."),
        (
            AccessView(granted=False, token_set=False),
            "Settings are shown only to requests from this host",
        ),
        (AccessView(granted=False, token_set=True, refused=True), "This is not the ops token."),
    ],
)
def test_what_is_left_out_is_said(access, says):
    hidden = replace(samples.healthy(), access=access, settings=None, recent_errors=None)
    text = shown(hidden)
    assert says in text
    assert "checkout-2" not in text
    assert "GATEWAY_APPLE__KEY_ID" not in text


@pytest.mark.parametrize(
    ("access", "fields"),
    [
        (AccessView(granted=True, token_set=False), ["type", "id", "user_token"]),
        (AccessView(granted=True, token_set=True), ["type", "id", "user_token", "ops_token"]),
        (AccessView(granted=False, token_set=False), []),
    ],
)
def test_the_form_asks_for_what_a_browser_cannot_send_otherwise(access, fields):
    document = Document(render(replace(samples.healthy(), access=access)))
    named = [element.attributes["name"] for element in document.all("input", "select")]
    assert named == fields


def test_fields_for_tokens_are_hidden_and_not_remembered():
    document = Document(render(samples.just_started()))
    secrets = [element for element in document.all("input") if "token" in (element.attributes["name"] or "")]
    assert len(secrets) == 4
    for field in secrets:
        assert field.attributes["type"] == "password"
        assert field.attributes["autocomplete"] == "off"
        assert "value" not in field.attributes


def test_refreshing_can_be_begun_and_ended():
    assert "/status?refresh" in Document(render(samples.healthy())).values("href")
    refreshing = Document(render(samples.healthy(), refreshing=True))
    assert "stop refreshing" in refreshing.text


def test_json_has_every_block_and_the_findings():
    document = json.loads(as_json(samples.without_redis()))
    assert set(document) == {"findings", *Snapshot.__struct_fields__}
    assert document["findings"][0]["severity"] == "degraded"
    assert document["redis"]["undelivered_writes"] == 4
    assert document["course"][-1]["ago_seconds"] == 0
    assert document["recent_errors"][0]["request_id"] == "checkout-2"


def test_json_leaves_out_what_the_page_leaves_out():
    document = json.loads(as_json(samples.just_started()))
    assert document["settings"] is None
    assert document["recent_errors"] is None
    assert document["access"] == {"granted": False, "token_set": True, "refused": False}


def test_equal_errors_are_one_row_with_their_number():
    error = RecentError("r-new", 90.0, "GET", "/v1/x", 503, "50300", "apple: 503", "Stopped.", None)
    others = (replace(error, request_id="r-old", at=10.0), replace(error, request_id="r-id", cause="id: 503"))
    document = Document(render(replace(samples.healthy(), recent_errors=(error, *others))))
    assert "00:00:10 to 00:01:302apple: 503503" in document.text
    assert "00:01:301id: 503503" in document.text
    assert ("r-new" in document.text, "r-old" in document.text) == (True, False)


def test_the_breaker_of_redis_is_shown_with_redis():
    text = shown(samples.without_redis())
    redis = text.index("Writes waiting for Redis")
    assert (
        text.rindex("open, only probes are sent, for 12 s", 0, redis)
        > text.rindex("Invalidation", 0, redis) - 200
    )
    assert (
        "open, only probes" not in text[text.index("Calls in flight") - 100 : text.index("Calls in flight")]
    )


def test_a_note_alone_is_nothing_wrong():
    full = replace(samples.healthy(), local=replace(samples.healthy().local, evictions=7))
    text = shown(full)
    assert "Nothing is wrong" in text
    assert "What is wrong" not in text
