"""structlog set-up: JSON lines where stdout is no terminal, coloured ones where it is."""

import logging
import sys
from typing import Any, Literal

import msgspec
import structlog
from structlog.typing import FilteringBoundLogger, Processor


def configure(*, level: str, format_: Literal["auto", "json", "console"]) -> None:
    """Set up the process' logging; libraries' own loggers (asyncio, aiohttp) join in from WARNING up."""
    console = format_ == "console" or (format_ == "auto" and sys.stdout.isatty())
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.dict_tracebacks if not console else structlog.processors.StackInfoRenderer(),
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer(serializer=_encode)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=(
            structlog.PrintLoggerFactory() if console else structlog.BytesLoggerFactory(sys.stdout.buffer)
        ),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_IntoStructlog()], level=logging.WARNING, force=True)


def logger() -> FilteringBoundLogger:
    """The logger of the process."""
    made: FilteringBoundLogger = structlog.get_logger()
    return made


def _encode(event: dict[str, Any], **_: Any) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)


class _IntoStructlog(logging.Handler):
    """Libraries' log records as lines of our own; their tracebacks carry no caller's data but may be long."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        fields = {} if error is None else {"error": f"{type(error).__name__}: {error}"}
        logger().log(record.levelno, "library", logger=record.name, message=record.getMessage(), **fields)
