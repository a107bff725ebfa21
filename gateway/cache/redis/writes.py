"""Fills, writes and purges in Redis: each is one script, which also publishes its invalidation."""

from collections.abc import Mapping, Sequence

import msgspec

from gateway.cache.announcement import (
    Announcement,
    OnAnnouncement,
    Sampled,
    encode_announcement,
    value_digest,
)
from gateway.cache.invalidation import Drop, DropPaired, Invalidation, Purge, encode_message
from gateway.cache.redis import scripts
from gateway.cache.redis.codec import content, decode
from gateway.cache.redis.commands import Commands
from gateway.cache.redis.layout import TICKS, Keys, Limits, owner_tag, variant_name
from gateway.cache.redis.recent_writes import Replaced
from gateway.cache.redis.retry_queue import Undelivered
from gateway.cache.write_rule import Outcome, Unwritten
from gateway.clock import MICROSECONDS
from gateway.model import PLAIN, Id, Kind, Partition, Rating, UserKind


class Ended(msgspec.Struct, frozen=True):
    """What Redis did when a write ended."""

    stored: bool
    """Whether its rating is stored and held."""
    version: bytes
    """The stamp of the marker that it left otherwise, if it left one."""
    replaced: Replaced | None
    """The record before, if the write ended without a stamp."""


class Replayed(msgspec.Struct, frozen=True):
    """What Redis did when it received writes late."""

    stamp: bytes
    replaced: Mapping[Id, Replaced]
    """The records before, of ids that were pending or held."""


class Writes:
    """Writes to Redis; raises if Redis fails. `gateway_id` is the origin of what is published.

    A rating that was written is announced if `sampled()`: to the other gateways through Redis, and to
    `on_announcement` here, with `published` 0 if Redis failed.
    """

    def __init__(
        self, commands: Commands, keys: Keys, limits: Limits, gateway_id: str, sampled: Sampled
    ) -> None:
        self._commands = commands
        self._keys = keys
        self._limits = limits
        self._gateway_id = gateway_id
        self._sampled = sampled
        self.on_announcement: OnAnnouncement | None = None
        """Receives the announcements of this gateway; set by `Link.listen`."""
        self._sequence = 0
        self._hold = round(limits.hold_seconds * TICKS)

    async def fill(self, partition: Partition, version: bytes, ratings: Mapping[Id, Rating]) -> bool:
        """Store what a fetch returned; False: refused, by a write in between or for lack of a place."""
        user_key, kind = partition.user.key, partition.kind
        keys, of_variant = [self._keys.main(user_key, kind)], (b"", "")
        if partition.variant != PLAIN:
            name = variant_name(partition.variant)
            keys.append(f"{keys[0]}:{name}")
            of_variant = (owner_tag(user_key, kind, partition.variant), name)
        stored = await self._commands.run(
            scripts.FILL,
            keys,
            [
                owner_tag(user_key, kind),
                self._limits.key_milliseconds,
                version,
                self._limits.max_ratings_per_user,
                *of_variant,
                round(1000 * self._limits.freshness.fresh_seconds),
                *(part for id_, rating in ratings.items() for part in (id_, content(rating))),
            ],
        )
        return bool(stored == 1)

    async def begin(self, user_kind: UserKind, id_: Id, write_seconds: float) -> bytes:
        """Record that a write is about to be sent, and ends within `write_seconds`; return its stamp."""
        stamp: bytes = await self._commands.run(
            scripts.BEGIN,
            self._hashes(user_kind),
            [
                *self._common(user_kind),
                self._hold,
                round(write_seconds * TICKS),
                *self._message(*_written(user_kind, id_)),
                id_,
            ],
        )
        return stamp

    async def end(self, user_kind: UserKind, id_: Id, stamp: bytes | None, outcome: Outcome) -> Ended:
        """Record that a write has ended."""
        if isinstance(outcome, Unwritten):
            return await self._end(user_kind, id_, stamp, (outcome.value, b""))
        ending = ("value", content(outcome))
        if not self._sampled():
            return await self._end(user_kind, id_, stamp, ending)
        announcement = self._announcement(user_kind, id_, stamp, outcome)
        try:
            return await self._end(user_kind, id_, stamp, ending, announcement)
        except Exception:
            self._announce(announcement)
            raise

    async def _end(
        self,
        user_kind: UserKind,
        id_: Id,
        stamp: bytes | None,
        ending: tuple[str, bytes],
        announcement: Announcement | None = None,
    ) -> Ended:
        announced: tuple[str | bytes, ...] = ()
        if announcement is not None:
            announced = self._keys.announcements, encode_announcement(announcement)
        stored, version, published, record = await self._commands.run(
            scripts.END,
            self._hashes(user_kind),
            [
                *self._common(user_kind),
                self._hold,
                stamp or b"",
                *self._message(*_written(user_kind, id_)),
                id_,
                *ending,
                self._limits.max_ratings_per_user,
                *announced,
            ],
        )
        if stored and announcement is not None:
            self._announce(
                msgspec.structs.replace(announcement, version=int(version), published=int(published))
            )
        return Ended(bool(stored), version, _replaced(id_, record, published))

    def _announce(self, announcement: Announcement) -> None:
        if self.on_announcement is not None:
            self.on_announcement(announcement, age=0.0, own=True)

    async def purge(self, kinds: Sequence[Kind], purge: Purge) -> bool:
        """Drop ratings of `kinds`, as `purge` names them. Returns True."""
        ids = purge.ids or ()
        done = await self._commands.run(
            scripts.PURGE,
            [self._keys.main(purge.user, kind) for kind in kinds],
            [
                self._limits.key_milliseconds,
                *self._message(purge),
                len(ids),
                *ids,
                *(owner_tag(purge.user, kind) for kind in kinds),
            ],
        )
        return bool(done == 1)

    async def replay(self, user_kind: UserKind, undelivered: Undelivered) -> Replayed:
        """Replay the writes that Redis missed."""
        user_key, kind = user_kind
        dropped = Purge(user_key, kind) if undelivered.all else Drop(user_key, kind, tuple(undelivered.ids))
        named = [part for id_, ended in undelivered.ids.items() for part in (id_, ended)]
        stamp, micros, *fields = await self._commands.run(
            scripts.REPLAY,
            self._hashes(user_kind),
            [
                *self._common(user_kind),
                self._hold,
                *self._message(dropped, *_paired_invalidation(user_kind)),
                "all" if undelivered.all else "",
                self._limits.max_ratings_per_user,
                *named,
            ],
        )
        replaced = {
            (id_ := Id(name.decode())): _replaced(id_, record, micros)
            for name, record in zip(fields[::2], fields[1::2], strict=True)
        }
        return Replayed(stamp, {id_: each for id_, each in replaced.items() if each is not None})

    def _hashes(self, user_kind: UserKind) -> list[str]:
        user_key, kind = user_kind
        return [self._keys.main(user_key, each) for each in (kind, kind.paired) if each is not None]

    def _common(self, user_kind: UserKind) -> tuple[bytes, int, bytes]:
        user_key, kind = user_kind
        paired_tag = owner_tag(user_key, kind.paired) if kind.paired is not None else b""
        return owner_tag(user_key, kind), self._limits.key_milliseconds, paired_tag

    def _message(self, *invalidations: Invalidation) -> tuple[str, bytes]:
        # Numbered when it is about to be sent: numbers of one node's messages arrive in order, or are missed.
        self._sequence += 1
        return self._keys.channel, encode_message(self._gateway_id, *invalidations, sequence=self._sequence)

    def _announcement(
        self, user_kind: UserKind, id_: Id, stamp: bytes | None, rating: Rating
    ) -> Announcement:
        return Announcement(
            origin=self._gateway_id,
            user=user_kind[0],
            kind=user_kind[1],
            id=id_,
            digest=value_digest(*user_kind, id_, rating),
            hold_seconds=self._limits.hold_seconds,
            begun=int(stamp or 0),  # versions are derived from Redis' clock
        )


def _replaced(id_: Id, record: bytes, micros: bytes) -> Replaced | None:
    """Decode the record that a script replaced at that time; None if there was none, or an invalid one."""
    try:
        return Replaced(decode(id_, record), int(micros) / MICROSECONDS - 1 / TICKS) if record else None
    except (ValueError, LookupError):
        return None


def _written(user_kind: UserKind, id_: Id) -> tuple[Invalidation, ...]:
    user_key, kind = user_kind
    return (Drop(user_key, kind, (id_,)), *_paired_invalidation(user_kind))


def _paired_invalidation(user_kind: UserKind) -> tuple[Invalidation, ...]:
    user_key, kind = user_kind
    return () if kind.paired is None else (DropPaired(user_key, kind.paired),)
