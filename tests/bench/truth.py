"""Whether answers agree with the writes that had been answered before they were asked for. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from tests.bench.client import Timed
from tests.bench.population import initial_value
from tests.bench.trace import Step


class _Attributes(msgspec.Struct):
    value: int


class _Resource(msgspec.Struct):
    id: str
    attributes: _Attributes


class _Ratings(msgspec.Struct):
    data: list[_Resource]


class _Write(msgspec.Struct, frozen=True):
    began: float
    ended: float
    value: int


def wrong_ratings(answered: Sequence[tuple[Step, Timed]], *, rated_percent: int, lag: float = 0.0) -> int:
    """How many ratings are none of the values that the reader may see.

    A read that begins `lag` seconds after the answer to a write must show it; one that overlaps a write may
    show the old value or the new one.
    """
    writes: defaultdict[tuple[str, str, str], list[_Write]] = defaultdict(list)
    for step, answer in answered:
        if step.value is not None:
            written = _Write(answer.began, answer.began + answer.seconds + lag, step.value)
            writes[step.user, step.kind, step.ids[0]].append(written)
    decode = msgspec.json.Decoder(_Ratings).decode
    wrong = 0
    for step, answer in answered:
        if step.value is not None or answer.status not in {200, 404}:
            continue
        data = decode(answer.body).data if answer.status == 200 else []
        values = {resource.id: resource.attributes.value for resource in data}
        for id_ in step.ids:
            allowed = {initial_value(step.user, step.kind, id_, rated_percent)}
            if found := writes.get((step.user, step.kind, id_)):
                allowed = _allowed(found, allowed, answer.began, answer.began + answer.seconds)
            wrong += values.get(id_, 0) not in allowed
    return wrong


def _allowed(writes: Iterable[_Write], initial: set[int], began: float, ended: float) -> set[int]:
    """The values that a read between these moments may show."""
    relevant = [write for write in writes if write.began < ended]
    done = max((write.began for write in relevant if write.ended <= began), default=None)
    if done is None:
        return initial | {write.value for write in relevant}
    # A write that was answered before another one began is overwritten by it.
    return {write.value for write in relevant if write.ended > done}
