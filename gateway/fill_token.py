"""The token that a fetch is given after the lookup in the cache, and with which its result is stored."""

from collections.abc import Hashable, Mapping

import msgspec

from gateway.model import Id


class FillToken(msgspec.Struct, frozen=True):
    """A partition's writes as of before a fetch: if they change, its result is not stored."""

    version: int
    """Write version of this process."""
    taken_at: float
    """Monotonic seconds: writes from before that moment are included."""
    shared_version: bytes | None = None
    """Write version of Redis; None: Redis did not answer, so nothing is stored there."""
    cap_until: float | None = None
    """Until when its result may be served without asking: a write on the paired type is recent."""
    pending: Mapping[Id, Hashable] = {}
    """Fetches of an id are shared only between equal stamps: a write that has not settled makes another."""
    unsettled: frozenset[Id] = frozenset()
    """Ids whose result is not stored, because a write of theirs is under way or within its hold."""
