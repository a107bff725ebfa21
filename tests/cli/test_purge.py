"""`purge`: requests to the ops listener, and what each answer means."""

import io

import pytest


@pytest.fixture(autouse=True)
def _user(monkeypatch):
    monkeypatch.setenv("MUSIC_USER_TOKEN", "user-hunter2")


def test_without_a_type_everything_of_the_user_is_purged(run, gateway):
    gateway.always(200, {"purged": True})
    assert run("purge", "--ops-url", gateway.url) == (0, "purged every type\n", "")
    [asked] = gateway.asked
    assert (asked.method, asked.path, asked.document) == ("POST", "/-/purge", {})
    assert asked.headers["Music-User-Token"] == "user-hunter2"
    assert "Authorization" not in asked.headers


@pytest.mark.parametrize(
    ("argv", "document", "printed"),
    [
        (["--type", "songs"], {"type": "songs"}, "purged all songs\n"),
        (["--type", "songs", "--id", "1"], {"type": "songs", "ids": ["1"]}, "purged 1 id of songs\n"),
        (
            ["--type", "albums", "--id", "1", "2", "--id", "3"],
            {"type": "albums", "ids": ["1", "2", "3"]},
            "purged 3 ids of albums\n",
        ),
    ],
)
def test_a_type_or_ids_alone_can_be_purged(run, gateway, argv, document, printed):
    gateway.always(200, {"purged": True})
    assert run("purge", "--ops-url", gateway.url, *argv).out == printed
    assert gateway.asked[0].document == document


def test_the_ops_token_comes_from_a_file_or_the_gateways_own_variables(run, gateway, monkeypatch, tmp_path):
    gateway.always(200, {"purged": True})
    for name in ("from-option", "from-file"):
        (tmp_path / name).write_text(f"{name}\n")
    monkeypatch.setenv("GATEWAY_OPS__TOKEN", "from-variable")
    run("purge", "--ops-url", gateway.url)
    monkeypatch.setenv("GATEWAY_OPS__TOKEN_FILE", str(tmp_path / "from-file"))
    run("purge", "--ops-url", gateway.url)
    run("purge", "--ops-url", gateway.url, "--ops-token-file", str(tmp_path / "from-option"))
    assert [asked.headers["Authorization"] for asked in gateway.asked] == [
        "Bearer from-variable",
        "Bearer from-file",
        "Bearer from-option",
    ]


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--id", "1"], "--id needs --type"),
        (["--type", "albums", "--id", "1", "l.x", "y"], "invalid albums ids: l.x, y"),
    ],
)
def test_invalid_ids_are_wrong_usage(run, gateway, argv, reason):
    ran = run("purge", "--ops-url", gateway.url, *argv)
    assert ran.status == 2
    assert reason in ran.err
    assert gateway.asked == []


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "--ops-token-file"), (403, "Set ops.token"), (404, "port 8081"), (500, "answered 500: oops")],
)
def test_a_refusal_says_what_to_do_next(run, gateway, status, hint):
    gateway.always(status, "oops")
    ran = run("purge", "--ops-url", gateway.url)
    assert (ran.status, ran.out) == (1, "")
    assert hint in ran.err


def test_a_purge_that_did_not_reach_redis_is_1(run, gateway):
    gateway.always(200, {"purged": False})
    ran = run("purge", "--ops-url", gateway.url)
    assert ran.status == 1
    assert "Redis did not answer. The purge is replayed when Redis is back, unless" in ran.err


def test_a_purge_without_a_user_token_is_wrong_usage(run, gateway, monkeypatch):
    monkeypatch.delenv("MUSIC_USER_TOKEN")
    ran = run("purge", "--ops-url", gateway.url)
    assert ran.status == 2
    assert "--user-token-file" in ran.err


@pytest.mark.parametrize("command", [["purge"], ["warm", "--ids", "-"]])
@pytest.mark.parametrize(
    "argument",
    [["--user-token", "user-hunter3"], ["--user-token=user-hunter3"], ["--user-token-file", "user-hunter3"]],
)
def test_a_token_given_as_an_argument_is_wrong_usage_and_not_printed(run, monkeypatch, command, argument):
    monkeypatch.setattr("sys.stdin", io.StringIO("1\n"))
    ran = run(*command, *argument)
    assert (ran.status, ran.out) == (2, "")
    assert "hunter3" not in ran.err
