"""Which calls are in flight, which wait, and which is next. Synchronous; nothing waits here.

A call asks for a slot, gets it at once or later, and gives it back. The rules:
- Foreground calls go before background calls. Background calls together hold at most a quarter of
  the limit, or one slot if that is more.
- Users take turns, and so do the requesters of one user. A user, or a requester, that holds a quarter of the
  limit yields while others wait.
- A call that several requesters need waits in the queue of each. It counts for the one whose turn came.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias, TypeVar

from gateway.apple.adaptive_limit import AdaptiveLimit
from gateway.errors import NoCapacity
from gateway.model import Priority
from gateway.waiters import Requester, Waiters

K = TypeVar("K", bytes, Requester)

SHARE: Final = 4
"""A user or requester that holds a quarter (1 / SHARE) of the limit yields to others. All background calls
together hold no more. A share is at least one slot."""

LONGEST_QUEUE: Final = 2048
"""The most calls that wait. Background calls may fill half of the queue. A request without a call in the
queue may still add one while fewer than twice as many wait: large requests cannot shut out small ones."""


class QueuedCall:
    """A call that waits for a slot, and then holds it: see `holder`."""

    __slots__ = ("background", "holder", "on_grant", "places", "user", "waiters")

    def __init__(self, user: bytes, waiters: Waiters, on_grant: Callable[[], None]) -> None:
        self.user = user
        self.waiters = waiters
        self.on_grant = on_grant
        self.holder: Requester | None = None
        """The requester that its slot counts for; None while it waits."""
        self.background = False
        """Whether it was granted its slot as a background call."""
        self.places: list[Requester] = []
        """The requesters in whose queues it waits."""


class SlotQueue:
    """The synchronous core: which calls are in flight, which wait, and which is next."""

    def __init__(self, limit: AdaptiveLimit, *, longest_queue: int = LONGEST_QUEUE) -> None:
        self._limit = limit
        self._longest = longest_queue
        self._waiting = 0
        self._taken: Counter[bytes | Requester] = Counter()
        """Slots taken by each user, and by each requester."""
        # Users, and the requesters of each, take turns in this order: who got a slot goes to the end.
        self._queues: dict[Priority, OrderedDict[bytes, _UserQueue]] = {
            priority: OrderedDict() for priority in (Priority.FOREGROUND, Priority.BACKGROUND)
        }
        self.in_flight = 0
        self._background = 0
        """Calls in flight that were granted a slot as background calls."""
        self.paused = False
        """While True, no call is granted a slot."""

    def ask(self, user: bytes, waiters: Waiters, on_grant: Callable[[], None]) -> QueuedCall:
        """Queue a call of a user (their key). `on_grant` is called when it gets its slot, perhaps at once.

        Raises `NoCapacity` if the queue is full.
        """
        if self._waiting >= self._room(user, waiters):
            raise NoCapacity("Too many calls are waiting for Apple Music.", retry_after=1.0)
        call = QueuedCall(user, waiters, on_grant)
        self._waiting += 1
        self.requeue(call)
        return call

    def requeue(self, call: QueuedCall) -> None:
        """Queue the call for every requester that needs it by now; it keeps the places that it has."""
        if call.holder is not None:
            return
        self._put(call, list(call.waiters.requesters))
        self.admit()

    def give_back(self, call: QueuedCall) -> None:
        """Release the slot of a call that ended, or remove a call that no longer waits from the queue."""
        if call.holder is None:
            self._put(call, [])
            self._waiting -= 1
        else:
            self.in_flight -= 1
            self._background -= call.background
            for each in (call.user, call.holder):
                self._taken[each] -= 1
                if not self._taken[each]:
                    del self._taken[each]
        self.admit()

    def admit(self) -> None:
        """Grant free slots to the calls whose turn it is."""
        while (
            not self.paused
            and self.in_flight < self._limit.current
            and (priority := self._next_priority()) is not None
        ):
            users = self._queues[priority]
            user = self._next(users)
            requesters = users[user]
            requester = self._next(requesters)
            call = next(iter(requesters[requester]))
            self._put(call, [])
            if requester in requesters:
                requesters.move_to_end(requester)
            if user in users:
                users.move_to_end(user)
            self._grant(call, requester)

    def _grant(self, call: QueuedCall, requester: Requester) -> None:
        call.holder = requester
        call.background = requester.priority is Priority.BACKGROUND
        self._background += call.background
        self._taken.update((call.user, requester))
        self._waiting -= 1
        self.in_flight += 1
        call.on_grant()

    def _next_priority(self) -> Priority | None:
        if self._queues[Priority.FOREGROUND]:
            return Priority.FOREGROUND
        background = self._queues[Priority.BACKGROUND] and self._background < self._share
        return Priority.BACKGROUND if background else None

    def _next(self, waiting: Iterable[K]) -> K:
        """The first that holds less than its share; if none does, the one that holds least."""
        taken, share = self._taken, self._share
        for each in waiting:
            if taken.get(each, 0) < share:
                return each
        return min(waiting, key=taken.__getitem__)

    @property
    def _share(self) -> int:
        return max(1, self._limit.current // SHARE)

    def _room(self, user: bytes, waiters: Waiters) -> int:
        """The number of waiting calls at which the queue is full for a call of these requests."""
        if waiters.priority is Priority.BACKGROUND:
            return self._longest // 2
        waiting = self._queues[waiters.priority].get(user, ())
        have_calls = all(requester in waiting for requester in waiters.requesters)
        return self._longest if have_calls else 2 * self._longest

    def _put(self, call: QueuedCall, places: list[Requester]) -> None:
        """Have the call wait in the queues of these requesters, and in no others."""
        for requester in places:
            requesters = self._queues[requester.priority].setdefault(call.user, OrderedDict())
            requesters.setdefault(requester, OrderedDict()).setdefault(call)
        kept = set(places)
        for requester in call.places:
            if requester not in kept:
                users = self._queues[requester.priority]
                requesters = users[call.user]
                del requesters[requester][call]
                if not requesters[requester]:
                    del requesters[requester]
                if not requesters:
                    del users[call.user]
        call.places = places


_UserQueue: TypeAlias = OrderedDict[Requester, OrderedDict[QueuedCall, None]]
"""The calls of one user that wait, by requester."""
