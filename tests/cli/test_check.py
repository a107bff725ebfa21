"""`check`: exit statuses, and the report about Redis and Apple."""

import pytest

pytestmark = pytest.mark.usefixtures("credentials")


def test_a_valid_configuration_is_0(run):
    ran = run("check")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("settings  ok  3 of ")


def test_without_connect_nothing_is_contacted(run, gateway, monkeypatch):
    monkeypatch.setenv("GATEWAY_APPLE__BASE_URL", gateway.url)
    assert run("check").status == 0
    assert gateway.asked == []


def test_a_credential_that_cannot_sign_is_78(run, monkeypatch):
    def broken(*_, **__):
        raise ValueError("the key is not right")

    monkeypatch.setattr("gateway.cli.check.signing_key", broken)
    ran = run("check")
    assert (ran.status, ran.out) == (78, "")
    assert "the key is not right" in ran.err


def test_an_answer_200_accepts_the_developer_token(run, gateway, monkeypatch):
    monkeypatch.setenv("GATEWAY_APPLE__BASE_URL", gateway.url)
    gateway.always(200)
    ran = run("check", "--connect")
    assert ran.status == 0
    assert "accepts the developer token (200)" in ran.out
    assert "redis     ok  not set" in ran.out


@pytest.mark.parametrize("status", [204, 302, 404, 421])
def test_an_answer_that_apple_does_not_give_is_1_and_names_the_address(run, gateway, monkeypatch, status):
    monkeypatch.setenv("GATEWAY_APPLE__BASE_URL", gateway.url)
    gateway.always(status)
    ran = run("check", "--connect")
    assert ran.status == 1
    assert "apple     failed" in ran.out
    assert f"{gateway.url}/v1/test answered {status}, which Apple's API does not" in ran.err
    assert "apple.base_url" in ran.err


def test_an_html_page_with_status_200_does_not_accept_the_developer_token(run, gateway, monkeypatch):
    monkeypatch.setenv("GATEWAY_APPLE__BASE_URL", gateway.url)
    gateway.always(200, "<html>sign in</html>", Content_Type="text/html")
    ran = run("check", "--connect")
    assert ran.status == 1
    assert f"{gateway.url}/v1/test answered 200 with an HTML page" in ran.err


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "refuses the developer token"),
        (403, "MusicKit"),
        (429, "could not be checked"),
        (503, "could not be checked"),
    ],
)
def test_a_refused_or_unchecked_developer_token_is_1_with_advice(run, gateway, monkeypatch, status, said):
    monkeypatch.setenv("GATEWAY_APPLE__BASE_URL", gateway.url)
    gateway.always(status)
    ran = run("check", "--connect")
    assert ran.status == 1
    assert "apple     failed" in ran.out
    assert said in ran.err


@pytest.mark.parametrize("command", ["check", "config"])
def test_a_name_with_a_single_underscore_is_named_in_a_warning(run, monkeypatch, command):
    monkeypatch.setenv("GATEWAY_CACHE_FRESH_SECONDS", "60")
    ran = run(command)
    assert ran.status == 0
    assert "warning: GATEWAY_CACHE_FRESH_SECONDS is ignored" in ran.err
    assert "GATEWAY_CACHE__FRESH_SECONDS" in ran.err


def test_apple_receives_a_developer_token_and_the_origin(run, gateway, monkeypatch):
    monkeypatch.setenv("GATEWAY_APPLE__BASE_URL", gateway.url)
    monkeypatch.setenv("GATEWAY_APPLE__ORIGIN", "https://example.com")
    run("check", "--connect")
    [asked] = gateway.asked
    assert (asked.method, asked.path) == ("GET", "/v1/test")
    assert asked.headers["Authorization"].startswith("Bearer ey")
    assert asked.headers["Origin"] == "https://example.com"
    assert "Music-User-Token" not in asked.headers


def test_every_failure_is_reported(run, monkeypatch):
    monkeypatch.setenv("GATEWAY_APPLE__BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("GATEWAY_CACHE__REDIS_URL", "redis://me:hunter2@127.0.0.1:1")
    ran = run("check", "--connect")
    assert ran.status == 1
    assert ran.out.splitlines()[1:] == ["redis     failed", "apple     failed"]
    assert "redis: " in ran.err
    assert "apple: no answer from http://127.0.0.1:1" in ran.err
    assert "hunter2" not in ran.err + ran.out


def test_the_request_to_apple_goes_through_the_proxy(run, gateway, monkeypatch):
    monkeypatch.setenv("GATEWAY_APPLE__BASE_URL", "https://api.music.example")
    monkeypatch.setenv("GATEWAY_APPLE__PROXY_URL", gateway.url)
    ran = run("check", "--connect")
    assert ran.status == 1
    assert [(asked.method, asked.path) for asked in gateway.asked] == [("CONNECT", "api.music.example:443")]


def test_a_proxy_from_the_environment_is_used_and_its_login_is_masked(run, gateway, monkeypatch):
    monkeypatch.setenv("GATEWAY_APPLE__BASE_URL", "https://api.music.example")
    monkeypatch.setenv("HTTPS_PROXY", gateway.url.replace("//", "//me:hunter2@"))
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    ran = run("check", "--connect")
    (asked,) = gateway.asked
    assert (asked.method, asked.headers["Proxy-Authorization"]) == ("CONNECT", "Basic bWU6aHVudGVyMg==")
    assert "hunter2" not in ran.out + ran.err


def test_a_proxy_that_was_used_is_named(run, gateway, monkeypatch):
    monkeypatch.setenv("GATEWAY_APPLE__BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("GATEWAY_APPLE__PROXY_URL", gateway.url.replace("//", "//me:hunter2@"))
    ran = run("check", "--connect")
    assert ran.status == 0
    assert gateway.url.removeprefix("http://") in ran.out
    assert "hunter2" not in ran.out + ran.err
