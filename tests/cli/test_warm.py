import io
import sys
import time
from email.message import Message

import pytest

from gateway.cli import warm
from gateway.cli.console import WrongUsage
from gateway.cli.http import HttpReply
from gateway.cli.warm import Progress, read_ids, warm_chunk
from gateway.model import Kind


@pytest.fixture(autouse=True)
def _user(monkeypatch):
    monkeypatch.setenv("MUSIC_USER_TOKEN", "user-hunter2")


@pytest.fixture(autouse=True)
def naps(monkeypatch) -> list[float]:
    """Seconds that would have been slept."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


@pytest.fixture
def ids_file(tmp_path):
    def write(text):
        file = tmp_path / "ids.txt"
        file.write_text(text)
        return str(file)

    return write


def serves_rated(gateway, rated, cached=0):
    """The gateway holds ratings for `rated`; `cached` ids a request come from its cache."""

    def answer(asked):
        [ids] = asked.document["ids"].values()
        data = [{"id": id_, "type": "ratings"} for id_ in ids if id_ in rated]
        detail = f"local={cached} shared=0 upstream={len(ids) - cached} stale=0"
        return 200, {"Cache-Status": f'ratings-gateway; fwd=partial; detail="{detail}"'}, {"data": data}

    gateway.answer = answer


def summary(out):
    return {line[:10].strip(): line[10:].strip() for line in out.splitlines()}


def test_ids_are_requested_and_summarised(run, gateway, ids_file):
    serves_rated(gateway, rated={"1", "2"}, cached=1)
    ran = run("warm", "--ids", ids_file("1\n2\n\n# none\n3 # three\n1\n"), "--url", gateway.url + "/")
    assert ran.status == 0
    [asked] = gateway.asked
    assert (asked.method, asked.path, asked.document) == (
        "POST",
        "/v1/me/ratings",
        {"ids": {"albums": ["1", "2", "3"]}},
    )
    assert asked.headers["Music-User-Token"] == "user-hunter2"
    assert asked.headers["Prefer"] == "handling=lenient"
    counts = summary(ran.out)
    del counts["seconds"]
    assert counts == {
        "ids": "3",
        "rated": "2",
        "unrated": "1",
        "from cache": "1",
        "fetched": "2",
        "failed": "0",
    }


def test_many_ids_are_requested_in_chunks_with_a_line_of_progress_each(run, gateway, ids_file):
    serves_rated(gateway, rated=set())
    ran = run("warm", "--ids", ids_file("\n".join(map(str, range(1100)))), "--url", gateway.url)
    assert [len(asked.document["ids"]["albums"]) for asked in gateway.asked] == [500, 500, 100]
    assert ran.err == "500 of 1100 ids\n1000 of 1100 ids\n1100 of 1100 ids\n"


def test_a_terminal_shows_a_progress_bar(run, gateway, ids_file, monkeypatch):
    serves_rated(gateway, rated=set())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    ran = run("warm", "--ids", ids_file("1\n2\n"), "--url", gateway.url)
    assert "2/2" in ran.err
    assert "of 2 ids" not in ran.err


def test_ids_are_read_from_stdin_with_any_type(run, gateway, monkeypatch):
    serves_rated(gateway, rated=set())
    monkeypatch.setattr(sys, "stdin", io.StringIO("l.a\nl.b\n"))
    assert run("warm", "--ids", "-", "--type", "library-albums", "--url", gateway.url).status == 0
    assert gateway.asked[0].document == {"ids": {"library-albums": ["l.a", "l.b"]}}


def test_invalid_ids_are_all_listed_by_line_before_any_request(run, gateway, ids_file):
    ran = run("warm", "--ids", ids_file("1\nl.x\n2\nabc\n"), "--url", gateway.url)
    assert ran.status == 2
    assert "  line 2: l.x\n  line 4: abc\n" in ran.err
    assert gateway.asked == []


@pytest.mark.parametrize("text", ["", "# nothing\n\n"])
def test_a_file_without_ids_is_wrong_usage(ids_file, text):
    with pytest.raises(WrongUsage, match="contains no ids"):
        read_ids(ids_file(text), Kind.ALBUMS)


def test_a_missing_file_is_wrong_usage():
    with pytest.raises(WrongUsage, match="/nowhere cannot be read: No such file"):
        read_ids("/nowhere", Kind.ALBUMS)


def test_a_caller_token_is_sent_if_there_is_one(run, gateway, ids_file, monkeypatch, tmp_path):
    serves_rated(gateway, rated=set())
    (tmp_path / "caller").write_text("from-file\n")
    monkeypatch.setenv("GATEWAY_CALLER_TOKEN", "from-variable")
    for more in ([], ["--caller-token-file", str(tmp_path / "caller")]):
        run("warm", "--ids", ids_file("1"), "--url", gateway.url, *more)
    assert [asked.headers["X-Gateway-Token"] for asked in gateway.asked] == ["from-variable", "from-file"]


def test_the_port_defaults_to_the_gateways_variable(run, gateway, ids_file, monkeypatch):
    serves_rated(gateway, rated=set())
    monkeypatch.setenv("GATEWAY_SERVER__PORT", gateway.url.rpartition(":")[2])
    assert run("warm", "--ids", ids_file("1")).status == 0


CALLER = {"WWW_Authenticate": "Bearer"}


@pytest.mark.parametrize(
    ("status", "headers", "hint"),
    [
        (401, CALLER, "--caller-token-file"),
        (401, {}, "refuses the gateway's developer token"),
        (403, {}, "must sign in again"),
        (404, {}, "port 8080"),
        (400, {}, "bad"),
    ],
)
def test_a_refusal_ends_the_run_with_a_hint(run, gateway, ids_file, status, headers, hint):
    gateway.always(status, {"errors": [{"title": "Bad", "detail": "bad"}]}, **headers)
    ran = run("warm", "--ids", ids_file("1\n"), "--url", gateway.url)
    assert (ran.status, ran.out) == (1, "")
    assert f"answered {status}: bad" in ran.err
    assert hint in ran.err
    assert len(gateway.asked) == 1


def error_of(id_, status="504", detail="too late"):
    return {"status": status, "detail": detail, "meta": {"type": "albums", "id": id_}}


def test_ids_with_transient_failures_are_retried(run, gateway, ids_file, naps):
    answers = iter(
        [
            (200, {"Retry-After": "7"}, {"data": [{"id": "1"}], "errors": [error_of("2"), error_of("3")]}),
            (200, {}, {"data": [{"id": "2"}], "errors": [error_of("3")]}),
            (200, {}, {"data": []}),
        ]
    )
    gateway.answer = lambda _: next(answers)
    ran = run("warm", "--ids", ids_file("1\n2\n3\n"), "--url", gateway.url)
    assert [asked.document["ids"]["albums"] for asked in gateway.asked] == [
        ["1", "2", "3"],
        ["2", "3"],
        ["3"],
    ]
    assert naps == [7.0, 1.0]
    assert ran.status == 0
    assert {name: summary(ran.out)[name] for name in ("ids", "rated", "unrated", "failed")} == {
        "ids": "3",
        "rated": "2",
        "unrated": "1",
        "failed": "0",
    }


def test_ids_that_keep_failing_are_counted_with_each_reason_once(run, gateway, ids_file, naps):
    gateway.always(200, {"data": [], "errors": [error_of("1"), error_of("2")]})
    ran = run("warm", "--ids", ids_file("1\n2\n3\n"), "--url", gateway.url)
    assert ran.status == 1
    assert len(naps) == warm.TRIES - 1
    assert (summary(ran.out)["failed"], summary(ran.out)["unrated"]) == ("2", "1")
    assert ran.err.count("failed: too late") == 1
    assert "Run it again" in ran.err


def test_ids_with_permanent_failures_are_not_retried(run, gateway, ids_file, naps):
    gateway.always(200, {"data": [], "errors": [error_of("1", "400", "not yours")]})
    assert "failed: not yours" in run("warm", "--ids", ids_file("1\n"), "--url", gateway.url).err
    assert naps == []


@pytest.mark.parametrize(
    ("status", "said"), [("401", "the gateway's developer token"), ("403", "the user token")]
)
def test_a_refusal_that_applies_to_every_id_ends_the_run(run, gateway, ids_file, status, said):
    gateway.always(200, {"data": [], "errors": [error_of("0", status)]})
    ran = run("warm", "--ids", ids_file("\n".join(map(str, range(600)))), "--url", gateway.url)
    assert (ran.status, ran.out) == (1, "")
    assert f"Apple refuses {said}" in ran.err
    assert len(gateway.asked) == 1


def test_a_chunk_with_a_transient_failure_is_retried(run, gateway, ids_file, naps):
    gateway.always(503, {"errors": [{"title": "Service Unavailable"}]}, Retry_After="3600")
    ran = run("warm", "--ids", ids_file("1\n2\n"), "--url", gateway.url)
    assert ran.status == 1
    assert naps == [30.0, 30.0]
    assert summary(ran.out)["failed"] == "2"
    assert "failed: Service Unavailable" in ran.err


def test_a_chunk_adds_to_the_progress(gateway):
    tally = warm_chunk(
        ["1"], lambda _: HttpReply(200, Message(), b'{"data": []}'), Progress(rated=5), lambda _: None
    )
    assert (tally.ids, tally.rated, tally.unrated) == (6, 5, 1)
