"""Logged tracebacks: they show the place of a bug, and no secrets."""

import logging

import pytest
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.web import RequestPayloadError
from rich.pretty import pretty_repr

from gateway.model import User
from gateway.telemetry.logs import configure, logger
from tests.telemetry.test_request_log import Outlet

TOKEN = "a-secret-user-token"


def said(outlet: Outlet) -> str:
    return b"".join([*outlet.ordinary, *outlet.urgent]).decode()


def fail(user: User) -> None:
    local = user.token
    raise KeyError(len(local))


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_names_the_place_and_no_local_variable(form):
    outlet = Outlet()
    configure(level="info", format_=form, coloured=True, outlet=outlet)
    try:
        fail(User.of(TOKEN))
    except KeyError:
        logger().exception("bug")
    assert "KeyError" in said(outlet)
    assert "fail" in said(outlet)
    assert TOKEN not in said(outlet)


@pytest.mark.parametrize("coloured", [True, False])
def test_readable_lines_are_coloured_if_allowed(coloured):
    outlet = Outlet()
    configure(level="info", format_="console", coloured=coloured, outlet=outlet)
    logger().info("stopped")
    assert "stopped" in said(outlet)
    assert ("\x1b" in said(outlet)) is coloured


def test_no_representation_of_a_user_contains_the_token():
    user = User.of(TOKEN)
    for shown in (repr(user), str(user), f"{user}", pretty_repr(user), pretty_repr([user])):
        assert user.label in shown
        assert TOKEN not in shown


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("error", [BadHttpMessage, RequestPayloadError])
def test_text_that_a_library_could_not_parse_is_not_quoted(form, error):
    outlet = Outlet()
    configure(level="info", format_=form, coloured=False, outlet=outlet)
    logging.getLogger("aiohttp.server").error("Error", exc_info=error(f"Music-User-Token: {TOKEN}"))
    assert error.__name__ in said(outlet)
    assert TOKEN not in said(outlet)
