"""Logging set-up: readable lines on a terminal, JSON lines elsewhere."""

import logging
import sys
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import structlog
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import FilteringBoundLogger, Processor

from gateway.telemetry.log_writer import CLOSE_SECONDS, DirectOutlet, LogWriter, Outlet, stdout_writer
from gateway.telemetry.request_log import ConsoleRequestLog, JsonRequestLog

RequestLog = JsonRequestLog | ConsoleRequestLog

QUOTING = (HttpProcessingError, RequestPayloadError)
"""Errors of aiohttp's parser: their text quotes what was received, which may be a token."""


def configure(
    *, level: str, format_: Literal["auto", "json", "console"], coloured: bool, outlet: Outlet | None = None
) -> None:
    """Set up logging for the process, on stdout unless `outlet` is given.

    Records of libraries' own loggers (asyncio, aiohttp) are logged from WARNING up. `coloured` applies to
    readable lines only. Tracebacks never show local variables: user tokens and the key are among them.
    """
    _ProcessStdout.outlet = outlet or stdout_writer()
    console = _is_console(format_)
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if console:
        rendering: list[Processor] = [
            structlog.dev.ConsoleRenderer(colors=coloured, exception_formatter=structlog.dev.plain_traceback)
        ]
    else:
        rendering = [
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(serializer=_encode),
        ]
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_LineLogger,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_IntoStructlog()], level=logging.WARNING, force=True)


def close(seconds: float = CLOSE_SECONDS) -> None:
    """Write the queued lines, for `seconds` at most, and detach the outlet."""
    outlet, _ProcessStdout.outlet = _ProcessStdout.outlet, None
    if isinstance(outlet, LogWriter):
        outlet.close(seconds)


def count_drops(count: Callable[[int], None]) -> None:
    """Report the number of dropped lines to `count`, whenever lines are dropped."""
    if isinstance(_ProcessStdout.outlet, LogWriter):
        _ProcessStdout.outlet.count_drops(count)


def logger() -> FilteringBoundLogger:
    """The logger of the process."""
    made: FilteringBoundLogger = structlog.get_logger()
    return made


def request_log(*, level: str, format_: Literal["auto", "json", "console"]) -> RequestLog | None:
    """The writer of the canonical lines; None if the level excludes all of them."""
    least = logging.getLevelName(level.upper())
    if least > logging.WARNING:
        return None
    warnings_only = least > logging.INFO
    if _is_console(format_):
        return ConsoleRequestLog(logger(), warnings_only=warnings_only)
    return JsonRequestLog(_ProcessStdout.outlet or DirectOutlet(), warnings_only=warnings_only)


def _is_console(format_: Literal["auto", "json", "console"]) -> bool:
    """Whether lines are for people."""
    return format_ == "console" or (format_ == "auto" and sys.stdout.isatty())


class _ProcessStdout:
    """A process has one stdout, and so one outlet; none until logging is configured."""

    outlet: Outlet | None = None


class _LineLogger:
    """structlog's last step: takes a rendered line, under the name of its level."""

    def __init__(self, *_: object) -> None:
        self._outlet = _ProcessStdout.outlet or DirectOutlet()

    def info(self, line: str | bytes) -> None:
        self._outlet.write(_line(line))

    def warning(self, line: str | bytes) -> None:
        self._outlet.write(_line(line), urgent=True)

    debug = info
    error = critical = warning


def _line(rendered: str | bytes) -> bytes:
    if isinstance(rendered, str):
        rendered = rendered.encode(sys.stdout.encoding or "utf-8", "backslashreplace")
    return rendered + b"\n"


def _encode(event: dict[str, Any], **_: Any) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)


class _IntoStructlog(logging.Handler):
    """Logs records of libraries as lines of our own."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        fields = {} if error is None else {"error": _described(error)}
        logger().log(record.levelno, "library", logger=record.name, message=record.getMessage(), **fields)


def _described(error: BaseException) -> str:
    kind = type(error).__name__
    return kind if isinstance(error, QUOTING) else f"{kind}: {error}"
