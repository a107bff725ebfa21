"""structlog set-up: JSON lines where stdout is no terminal, ones for people where it is."""

import contextlib
import logging
import sys
from typing import Any, Literal

import msgspec
import structlog
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import FilteringBoundLogger, Processor

from gateway.telemetry.request_log import ConsoleRequestLog, JsonRequestLog, RequestLine

RequestLog = JsonRequestLog | ConsoleRequestLog

QUOTING = (HttpProcessingError, RequestPayloadError)
"""What aiohttp's parser raises: the text quotes what it read, and that may be a token."""


def configure(*, level: str, format_: Literal["auto", "json", "console"], coloured: bool) -> None:
    """Set up the process' logging; libraries' own loggers (asyncio, aiohttp) join in from WARNING up.

    `coloured` is whether lines for people may be.
    A traceback never shows local variables: user tokens and the key are among them.
    """
    console = is_console(format_)
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
    stdout: Any = Unfailing(sys.stdout if console else sys.stdout.buffer)
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=(
            structlog.PrintLoggerFactory(stdout) if console else structlog.BytesLoggerFactory(stdout)
        ),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_IntoStructlog()], level=logging.WARNING, force=True)


class Unfailing:
    """A stream that loses what cannot be written: no request fails for a reader or a disk that is gone."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: Any, /) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def is_console(format_: Literal["auto", "json", "console"]) -> bool:
    """Whether lines are for people."""
    return format_ == "console" or (format_ == "auto" and sys.stdout.isatty())


def logger() -> FilteringBoundLogger:
    """The logger of the process."""
    made: FilteringBoundLogger = structlog.get_logger()
    return made


def request_log(*, level: str, format_: Literal["auto", "json", "console"]) -> RequestLog | None:
    """Where the canonical lines go; None where the level leaves them out."""
    if logging.getLevelName(level.upper()) > logging.INFO:
        return None
    if is_console(format_):
        return ConsoleRequestLog(logger())
    return JsonRequestLog(Unfailing(sys.stdout.buffer))


def _encode(event: dict[str, Any], **_: Any) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)


class _IntoStructlog(logging.Handler):
    """Libraries' log records as lines of our own."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        fields = {} if error is None else {"error": _described(error)}
        logger().log(record.levelno, "library", logger=record.name, message=record.getMessage(), **fields)


def _described(error: BaseException) -> str:
    kind = type(error).__name__
    return kind if isinstance(error, QUOTING) else f"{kind}: {error}"


__all__ = ["RequestLine", "RequestLog", "configure", "is_console", "logger", "request_log"]
