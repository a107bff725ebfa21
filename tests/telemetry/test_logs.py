"""Where lines go, and that nothing else suffers where they cannot."""

import io

import pytest

from gateway.telemetry.logs import configure, logger, request_log
from tests.telemetry.test_request_log import line


class Gone(io.RawIOBase):
    """A pipe that nobody reads any more."""

    def writable(self) -> bool:
        return True

    def write(self, _: object) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("form", ["json", "console"])
async def test_a_reader_that_went_away_is_nobodys_failure(form, monkeypatch):
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BufferedWriter(Gone())))
    configure(level="info", format_=form, coloured=False)
    write = request_log(level="info", format_=form)
    assert write is not None
    logger().warning("breaker", target="apple", state="open")
    write([(0.0, line())] * 256)
