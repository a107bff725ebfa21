import logging
from collections.abc import Iterator

import pytest
import structlog

from gateway.telemetry import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """What a test configures is configured for the process."""
    handlers = logging.getLogger().handlers[:]
    outlet = logs._Process.outlet
    yield
    logs._Process.outlet = outlet
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
