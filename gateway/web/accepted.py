"""A request between its checks and its answer."""

import msgspec

from gateway.model import User
from gateway.ratings.query import Query
from gateway.web.headers import Headers
from gateway.web.request_record import RequestRecord
from gateway.web.target import Target


class Accepted(msgspec.Struct, frozen=True):
    """A request that passed its checks, with what its answer depends on."""

    record: RequestRecord
    headers: Headers
    target: Target
    user: User
    deadline: float
    """Monotonic seconds."""
    keep_alive: bool
    query: Query | None
    """Set for reads that the target alone describes: these may be answered from memory at once."""
