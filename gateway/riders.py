"""Cached ids that fill the free seats of a call to Apple."""

from collections.abc import Sequence
from typing import Final, Protocol

from gateway.model import Id

TOPPED_UP_IDS: Final = 64
"""Riders fill a call up to so many ids: fuller calls take longer, and save hardly any more."""


class Riders(Protocol):
    """Cached ids that a call refreshes in its free seats, although no request asked for them."""

    failed: bool
    """Set if the call failed in a way that one of the riders may have caused."""

    @property
    def ids(self) -> Sequence[Id]:
        """All riders. Together with the ids that were asked for, they fit into one call."""
        ...

    def asked(self) -> Sequence[Id]:
        """Return the riders that a request has asked for since the call began: these are no longer riders."""
        ...
