"""Which requests wait for calls to Apple, and how urgent the calls are.

Requests join through `fetch`, also while a call is queued: `apple.concurrency` then reorders its queue.
"""

from collections.abc import Callable
from typing import Final

from gateway.errors import UpstreamError
from gateway.model import Priority

EXTRA_CALLS: Final = 32
"""Calls that dividing failed ones may add to a request's own: one bad id among 100 costs 14."""


class Requester:
    """One request that waits for calls, and what these cost."""

    __slots__ = ("__weakref__", "calls", "counted", "extra", "priority")

    def __init__(self, priority: Priority = Priority.FOREGROUND) -> None:
        self.priority = priority
        self.calls = 0
        """Tries sent to Apple for this request; one for several requests counts for each."""
        self.extra = 0
        """Calls added by dividing failed ones."""
        self.counted = False
        """Whether its ids were counted as hits and misses: once, however often they are looked up."""


class Waiters:
    """The requests that need one fetch, perhaps of several calls. More may join: its priority only rises."""

    __slots__ = ("_watchers", "failure", "requesters")

    def __init__(self, requester: Requester) -> None:
        self.requesters = [requester]
        """All of one priority. The first one began the fetch, or raised its priority."""
        self.failure: UpstreamError | None = None
        """That of the last try, while another is to come: requests that leave before report it."""
        self._watchers: list[Callable[[], None]] = []

    @property
    def priority(self) -> Priority:
        return self.requesters[0].priority

    def join(self, requester: Requester) -> None:
        """Add a request that needs this fetch; a foreground request raises its priority to the foreground."""
        if requester.priority is self.priority:
            if requester in self.requesters:
                return
            self.requesters.append(requester)
        elif requester.priority is Priority.FOREGROUND:
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
        """Reserve the calls of a division; False if each request would exceed `EXTRA_CALLS`."""
        if all(requester.extra + calls > EXTRA_CALLS for requester in self.requesters):
            return False
        for requester in self.requesters:
            requester.extra += calls
        return True

    def count_try(self) -> None:
        """Count a try that is sent to Apple for these requests."""
        for requester in self.requesters:
            requester.calls += 1
