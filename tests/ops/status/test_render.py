"""The status page as a whole, and its JSON, from snapshots."""

import json

import pytest
from msgspec.structs import replace

from gateway.ops.status.render import as_json, render
from gateway.ops.status.snapshot import AccessView, Snapshot
from tests.ops import samples
from tests.ops.html import Document


def text_of(snapshot: Snapshot) -> str:
    return Document(render(snapshot)).text


def with_evictions() -> Snapshot:
    return replace(samples.healthy(), local=replace(samples.healthy().local, evictions=7))


def test_findings_precede_figures():
    text = text_of(samples.without_redis())
    finding = text.index("Redis has not been usable for 12 s (connection: 31, timeout: 2)")
    assert text.index("What is wrong") < finding < text.index("Now")


def test_a_healthy_gateway_says_what_works():
    text = text_of(samples.healthy())
    assert "Nothing is wrong" in text
    assert "Redis answers, and the invalidation subscription is up" in text


def test_without_redis_the_summary_does_not_mention_it():
    assert "Redis answers" not in text_of(samples.just_started())


def test_a_note_alone_leaves_nothing_wrong():
    text = text_of(with_evictions())
    assert "Nothing is wrong" in text
    assert "What is wrong" not in text


@pytest.mark.parametrize(
    "expected",
    [
        "Version 0.1.0, Python 3.11.2, up 1 d 3 h",
        "Fresh in the cache93 %",
        "Duration, 99 % within34 ms",
        "estimated from histogram buckets",
    ],
)
def test_the_page_shows_version_uptime_and_current_figures(expected):
    assert expected in text_of(samples.healthy())


def test_a_finding_links_to_its_runbook_section():
    assert "/runbook#ratingsgatewayrediserrors" in Document(render(samples.without_redis())).values("href")


def test_code_in_advice_is_rendered_as_code():
    page = render(samples.without_redis())
    assert "<code>check --connect</code> names the fault" in page
    assert "`" not in Document(page).text


def test_a_finding_without_an_alert_has_no_runbook_link():
    document = Document(render(with_evictions()))
    assert "7 entries were evicted" in document.text
    assert not [href for href in document.values("href") if href.startswith("/runbook#")]


def test_requests_that_failed_have_a_chart():
    assert "Failed requests over the last hour." in render(samples.without_apple())


def test_charts_without_data_say_so():
    assert text_of(samples.just_started()).count("Nothing to show yet") == 4


@pytest.mark.parametrize(
    ("access", "fields"),
    [
        (AccessView(granted=True, token_set=False), ["type", "id", "user_token"]),
        (AccessView(granted=True, token_set=True), ["type", "id", "user_token", "ops_token"]),
        (AccessView(granted=False, token_set=False), []),
    ],
)
def test_the_explain_form_asks_for_the_tokens_it_needs(access, fields):
    document = Document(render(replace(samples.healthy(), access=access)))
    named = [element.attributes["name"] for element in document.all("input", "select")]
    assert named == fields


def test_token_fields_are_masked_and_not_remembered_by_the_browser():
    document = Document(render(samples.just_started()))
    secrets = [element for element in document.all("input") if "token" in (element.attributes["name"] or "")]
    assert len(secrets) == 4
    for field in secrets:
        assert field.attributes["type"] == "password"
        assert field.attributes["autocomplete"] == "off"
        assert "value" not in field.attributes


def test_refreshing_can_be_started_and_stopped():
    assert "/status?refresh" in Document(render(samples.healthy())).values("href")
    refreshing = Document(render(samples.healthy(), refreshing=True))
    assert "stop refreshing" in refreshing.text


def test_json_has_every_part_of_the_snapshot_and_the_findings():
    document = json.loads(as_json(samples.without_redis()))
    assert set(document) == {"findings", *Snapshot.__struct_fields__}
    assert document["findings"][0]["severity"] == "degraded"
    assert document["redis"]["undelivered_writes"] == 4
    assert document["course"][-1]["ago_seconds"] == 0
    assert document["recent_errors"][0]["request_id"] == "checkout-2"


def test_json_omits_what_the_requester_may_not_see():
    document = json.loads(as_json(samples.just_started()))
    assert document["settings"] is None
    assert document["recent_errors"] is None
    assert document["access"] == {"granted": False, "token_set": True, "refused": False}
