"""`check` and what it says of Redis and of the upstream."""

import pytest

pytestmark = pytest.mark.usefixtures("credentials")


def test_a_sound_configuration_is_0(run):
    ran = run("check")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("settings  ok  3 of ")


def test_without_connect_nothing_is_contacted(run, gateway, monkeypatch):
    monkeypatch.setenv("GATEWAY_APPLE__BASE_URL", gateway.url)
    assert run("check").status == 0
    assert gateway.asked == []


def test_a_credential_that_cannot_sign_is_78(run, monkeypatch):
    def broken(_):
        raise ValueError("the key is not right")

    monkeypatch.setattr("gateway.cli.check.signing_key", broken)
    ran = run("check")
    assert (ran.status, ran.out) == (78, "")
    assert "the key is not right" in ran.err


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (200, "answered 200"),
        (401, "refuses the developer token"),
        (403, "As it should"),
        (500, "answered 500"),
    ],
)
def test_any_answer_of_the_upstream_counts_as_reached(run, gateway, monkeypatch, status, said):
    monkeypatch.setenv("GATEWAY_APPLE__BASE_URL", gateway.url)
    gateway.always(status)
    ran = run("check", "--connect")
    assert ran.status == 0
    assert said in ran.out
    assert "redis     ok  not set" in ran.out


def test_the_upstream_is_asked_with_a_developer_token_and_the_origin(run, gateway, monkeypatch):
    monkeypatch.setenv("GATEWAY_APPLE__BASE_URL", gateway.url)
    monkeypatch.setenv("GATEWAY_APPLE__ORIGIN", "https://example.com")
    run("check", "--connect")
    [asked] = gateway.asked
    assert asked.headers["Authorization"].startswith("Bearer ey")
    assert asked.headers["Origin"] == "https://example.com"
    assert "Music-User-Token" not in asked.headers


def test_what_cannot_be_reached_is_1_and_all_is_tried(run, monkeypatch):
    monkeypatch.setenv("GATEWAY_APPLE__BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("GATEWAY_CACHE__REDIS_URL", "redis://me:hunter2@127.0.0.1:1")
    ran = run("check", "--connect")
    assert ran.status == 1
    assert ran.out.splitlines()[1:] == ["redis     failed", "upstream  failed"]
    assert "redis: " in ran.err
    assert "upstream: no answer from http://127.0.0.1:1" in ran.err
    assert "hunter2" not in ran.err + ran.out
