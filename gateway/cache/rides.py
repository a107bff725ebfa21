"""Which ids of a partition were refreshed along with others since they were last asked for.

An id that is no longer asked for must not be refreshed indefinitely: it stops riding along some time after
its first ride. Only ids that rode are kept here, so that a hit on any other id costs nothing.
"""

from collections.abc import Collection, Iterable
from typing import Final

from gateway.model import Id

LONGEST_SECONDS: Final = 12 * 3600.0
"""Seconds for which an id rides along, from its first ride since it was last asked for."""


class Rides:
    """The rides of one partition; times are monotonic seconds."""

    __slots__ = ("_first",)

    def __init__(self) -> None:
        self._first: dict[Id, float | None] = {}

    def __bool__(self) -> bool:
        return bool(self._first)

    def __contains__(self, id_: Id) -> bool:
        return self._first.get(id_) is not None

    @property
    def ids(self) -> Collection[Id]:
        """Those that rode, or failed a call that they rode on, since they were last asked for."""
        return self._first.keys()

    def may_ride(self, id_: Id, now: float) -> bool:
        """Whether the id is still worth refreshing, and has not failed a call that it rode on."""
        first = self._first.get(id_, now)
        return first is not None and now - first < LONGEST_SECONDS

    def rode(self, ids: Iterable[Id], now: float) -> None:
        """These ids were refreshed along with others."""
        for id_ in ids:
            self._first.setdefault(id_, now)

    def failed(self, ids: Iterable[Id]) -> None:
        """A call failed that carried these ids: they do not ride again until they are asked for."""
        self._first.update(dict.fromkeys(ids))

    def answered(self, ids: Iterable[Id]) -> int:
        """These ids were asked for and answered; return how many of them had ridden."""
        asked = self._first.keys() & ids
        return sum([self._first.pop(id_) is not None for id_ in asked])

    def drop(self, ids: Iterable[Id]) -> None:
        """These ids are cached no more."""
        for id_ in ids:
            self._first.pop(id_, None)
