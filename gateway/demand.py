"""Who calls to Apple are made for, and how urgently.

Shared by the rooms that fetch (flights make a demand) and that wait for a slot (the queue hears it rise).
"""

from collections.abc import Callable

from gateway.model import Lane


class Party:
    """One request, as the upstream queue sees it, which shares out capacity by parties."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0
        """Calls to Apple begun for this request so far; a call shared by several counts for each."""


class Demand:
    """Everybody who wants one fetch. More may come while it waits for its turn: its lane can only rise."""

    __slots__ = ("_watchers", "lane", "parties")

    def __init__(self, lane: Lane, party: Party) -> None:
        self.lane = lane
        self.parties = [party]
        """Whoever wants it in `lane`; the first is who began it, or who raised it."""
        self._watchers: list[Callable[[], None]] = []

    def join(self, lane: Lane, party: Party) -> None:
        """Another request wants the same; somebody who waits raises a background fetch to the foreground."""
        if lane is self.lane:
            if party in self.parties:
                return
            self.parties.append(party)
        elif lane is Lane.FOREGROUND:
            self.lane = lane
            self.parties = [party]
        else:
            return
        for heard in tuple(self._watchers):
            heard()

    def watch(self, heard: Callable[[], None]) -> None:
        """Call `heard` after every change, until `unwatch`."""
        self._watchers.append(heard)

    def unwatch(self, heard: Callable[[], None]) -> None:
        self._watchers.remove(heard)

    def count_call(self) -> None:
        """A call to Apple goes out for this demand."""
        for party in self.parties:
            party.calls += 1
