"""Who calls to Apple are made for, and how urgently.

Shared by the rooms that fetch (flights make a waiters) and that wait for a slot (the queue hears it rise).
"""

import asyncio
from collections.abc import Callable
from typing import Final

from gateway.model import Priority

EXTRA_CALLS: Final = 32
"""Calls that splitting may add to a request's own, or as many as those are: one bad id among 100 costs 14."""


class Requester:
    """One request, as the upstream queue sees it, which shares out capacity by parties."""

    __slots__ = ("_splitting", "calls", "extra")

    def __init__(self) -> None:
        self.calls = 0
        """Calls to Apple begun for this request so far; a call shared by several counts for each."""
        self.extra = 0
        """Calls that took the place of refused ones, as far as they are more than were to be expected."""
        self._splitting: asyncio.Lock | None = None

    @property
    def splitting(self) -> asyncio.Lock:
        """Held while a refused call is split: what that finds out spares the request's others the same."""
        if self._splitting is None:
            self._splitting = asyncio.Lock()
        return self._splitting


class Waiters:
    """Everybody who wants one fetch. More may come while it waits for its turn: its lane can only rise."""

    __slots__ = ("_watchers", "priority", "requesters")

    def __init__(self, priority: Priority, requester: Requester) -> None:
        self.priority = priority
        self.requesters = [requester]
        """Whoever wants it in `priority`; the first is who began it, or who raised it."""
        self._watchers: list[Callable[[], None]] = []

    def join(self, priority: Priority, requester: Requester) -> None:
        """Another request wants the same; somebody who waits raises a background fetch to the foreground."""
        if priority is self.priority:
            if requester in self.requesters:
                return
            self.requesters.append(requester)
        elif priority is Priority.FOREGROUND:
            self.priority = priority
            self.requesters = [requester]
        else:
            return
        for heard in tuple(self._watchers):
            heard()

    def watch(self, heard: Callable[[], None]) -> None:
        """Call `heard` after every change, until `unwatch`."""
        self._watchers.append(heard)

    def unwatch(self, heard: Callable[[], None]) -> None:
        self._watchers.remove(heard)

    def take_extra(self, calls: int) -> bool:
        """Let refused calls be made as so many smaller ones; False where every party has spent its share."""
        if all(
            requester.extra + calls > max(EXTRA_CALLS, requester.calls // 2) for requester in self.requesters
        ):
            return False
        for requester in self.requesters:
            requester.extra += calls
        return True

    def count_call(self) -> None:
        """A call to Apple goes out for this waiters."""
        for requester in self.requesters:
            requester.calls += 1
