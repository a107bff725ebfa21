"""The requests that calls to Apple are made for, and how urgently.

Shared by the modules that fetch and by the queue for slots, which reorders when the urgency rises.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from gateway.model import Id, Priority

EXTRA_CALLS: Final = 32
"""Calls that dividing failed ones may add to a request's own: one bad id among 100 costs 14."""


class Requester:
    """One request, as the queue for slots sees it: capacity is shared among requests."""

    __slots__ = ("_splitting", "calls", "extra")

    def __init__(self) -> None:
        self.calls = 0
        """Calls to Apple begun for this request so far; a call shared by several counts for each."""
        self.extra = 0
        """Calls added by dividing failed ones."""
        self._splitting: asyncio.Lock | None = None

    @property
    def splitting(self) -> asyncio.Lock:
        """Held while a failed call is divided, so that the request's other calls use what that teaches."""
        if self._splitting is None:
            self._splitting = asyncio.Lock()
        return self._splitting


class Waiters:
    """All requests that need one fetch. More may join while it waits: its priority can only rise."""

    __slots__ = ("_watchers", "priority", "received_status", "requesters")

    def __init__(self, priority: Priority, requester: Requester) -> None:
        self.priority = priority
        self.requesters = [requester]
        """The requests that wait with this `priority`; the first began the fetch, or raised its priority."""
        self.received_status: int | None = None
        """What Apple answered to the last try that failed, for requests that leave before the next one."""
        self._watchers: list[Callable[[], None]] = []

    def join(self, priority: Priority, requester: Requester) -> None:
        """Add a request that needs the same; one that waits raises a background fetch to the foreground."""
        if priority is self.priority:
            if requester in self.requesters:
                return
            self.requesters.append(requester)
        elif priority is Priority.FOREGROUND:
            self.priority = priority
            self.requesters = [requester]
        else:
            return
        for changed in tuple(self._watchers):
            changed()

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` after every change, until `unwatch`."""
        self._watchers.append(changed)

    def unwatch(self, changed: Callable[[], None]) -> None:
        self._watchers.remove(changed)

    def take_extra(self, calls: int) -> bool:
        """Reserve the calls of a division; False if every request has spent its share."""
        if all(requester.extra + calls > EXTRA_CALLS for requester in self.requesters):
            return False
        for requester in self.requesters:
            requester.extra += calls
        return True

    def count_call(self) -> None:
        """A call to Apple goes out for these requests."""
        for requester in self.requesters:
            requester.calls += 1


class Riders(Protocol):
    """Cached ids that a call refreshes in its free seats, although no request asked for them."""

    failed: bool
    """Set if the call fails in a way that one of them may have caused."""

    @property
    def ids(self) -> Sequence[Id]:
        """All riders; together with the ids asked for they fit into one call."""
        ...

    def asked(self) -> Sequence[Id]:
        """Return the riders that a request has asked for since the call was made: they no longer ride."""
        ...


class _NoRiders:
    failed = False
    ids: Sequence[Id] = ()

    def asked(self) -> Sequence[Id]:
        return ()


NO_RIDERS: Final[Riders] = _NoRiders()
