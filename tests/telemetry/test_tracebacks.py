"""What a bug's line shows: where it happened, and none of the secrets that stood nearby."""

import io
import logging

import pytest
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.web import RequestPayloadError
from rich.pretty import pretty_repr

from gateway.model import User
from gateway.telemetry.logs import configure, logger

TOKEN = "a-user-token-that-nobody-may-read"


class Output(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), write_through=True)

    def said(self) -> str:
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode()


def fail(user: User) -> None:
    local = user.token
    raise KeyError(len(local))


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_names_the_place_and_no_local_variable(form, monkeypatch):
    output = Output()
    monkeypatch.setattr("sys.stdout", output)
    configure(level="info", format_=form, coloured=True)
    try:
        fail(User.of(TOKEN))
    except KeyError:
        logger().exception("bug")
    assert "KeyError" in output.said()
    assert "fail" in output.said()
    assert TOKEN not in output.said()


@pytest.mark.parametrize("coloured", [True, False])
def test_lines_for_people_are_coloured_where_they_may_be(coloured, monkeypatch):
    output = Output()
    monkeypatch.setattr("sys.stdout", output)
    configure(level="info", format_="console", coloured=coloured)
    logger().info("stopped")
    assert "stopped" in output.said()
    assert ("\x1b" in output.said()) is coloured


def test_a_user_shows_no_token_however_it_is_shown():
    user = User.of(TOKEN)
    for shown in (repr(user), str(user), f"{user}", pretty_repr(user), pretty_repr([user])):
        assert user.label in shown
        assert TOKEN not in shown


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("error", [BadHttpMessage, RequestPayloadError])
def test_what_a_library_could_not_parse_is_not_quoted(form, error, monkeypatch):
    output = Output()
    monkeypatch.setattr("sys.stdout", output)
    configure(level="info", format_=form, coloured=False)
    logging.getLogger("aiohttp.server").error("Error", exc_info=error(f"Music-User-Token: {TOKEN}"))
    assert error.__name__ in output.said()
    assert TOKEN not in output.said()
