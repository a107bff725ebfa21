"""What is known of a request that passed its checks and waits for its answer."""

import msgspec

from gateway.model import User
from gateway.ratings.query import Query
from gateway.web.headers import Headers
from gateway.web.request_record import RequestRecord
from gateway.web.target import FavoritesTarget, ReadTarget, SeveralTarget, WriteTarget


class AcceptedRead(msgspec.Struct, frozen=True):
    """A read that its target describes: it may be answered from memory at once."""

    record: RequestRecord
    target: ReadTarget
    query: Query
    keep_alive: bool


class AcceptedOther(msgspec.Struct, frozen=True):
    """A write, favorites, or a read whose ids are in the body, with what its answer depends on."""

    record: RequestRecord
    target: WriteTarget | FavoritesTarget | SeveralTarget
    headers: Headers
    user: User
    deadline: float
    """Monotonic seconds."""
    keep_alive: bool


Accepted = AcceptedRead | AcceptedOther
"""A request that passed its checks."""
