import logging
from collections.abc import Iterator

import pytest
import structlog

from gateway.telemetry import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Restore the process-wide configuration of logging."""
    handlers = logging.getLogger().handlers[:]
    yield
    logs.close()
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
