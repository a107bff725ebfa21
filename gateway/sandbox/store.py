"""Users and their ratings, and how late a write shows. Pure: time is an argument; nothing is read or sent."""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from gateway.model import Kind, User

Ratings = Mapping[Kind, Mapping[str, int]]
"""1 (liked) or -1 (disliked) by kind and id."""

_ALWAYS = float("-inf")


class Standing(StrEnum):
    """What Apple makes of a user token."""

    ACTIVE = "active"
    REVOKED = "revoked"
    """Answered 403 `40300`, as an unknown token is."""
    UNSUBSCRIBED = "unsubscribed"
    """Answered 400 `40015`."""


class _Item(NamedTuple):
    """One thing that can be rated; of a catalog and library pair, the catalog's side."""

    kind: Kind
    id: str


class _Write(NamedTuple):
    visible_at: float
    value: int | None


class Account:
    """One user: the token, the label that the journal shows instead of it, and what was rated."""

    def __init__(self, token: str, label: str, standing: Standing) -> None:
        self.token = token
        self.label = label
        self.standing = standing
        self.written: dict[_Item, list[_Write]] = {}

    def write(self, item: _Item, value: int | None, *, now: float, lag: float) -> None:
        """Keep what reads may still show, and put the new value on top of it."""
        kept = self.written.get(item, [])
        newest_seen = max((n for n, write in enumerate(kept) if write.visible_at <= now), default=0)
        self.written[item] = [*kept[newest_seen:], _Write(now + lag, value)]

    def read(self, item: _Item, now: float) -> int | None:
        """The newest write that shows by now."""
        for write in reversed(self.written.get(item, ())):
            if write.visible_at <= now:
                return write.value
        return None


class Store:
    """Every user, and which catalog and library ids are the same content.

    `now` is in seconds of one monotonic clock. Where a user is asked for, the token and the label both do.
    """

    def __init__(self) -> None:
        self._by_token: dict[str, Account] = {}
        self._by_label: dict[str, Account] = {}
        self._catalog: dict[_Item, _Item] = {}

    def __iter__(self) -> Iterator[Account]:
        return iter(self._by_token.values())

    def add_user(
        self,
        token: str,
        *,
        label: str | None = None,
        standing: Standing = Standing.ACTIVE,
        ratings: Ratings | None = None,
    ) -> None:
        """Add a user, or replace the one with this token. Raises ValueError where another has the label."""
        label = label or token.removeprefix("sandbox-user-")
        known = self._by_label.get(label)
        if known and known.token != token:
            raise ValueError(f"label {label!r} is another user's")
        if replaced := self._by_token.get(token):
            del self._by_label[replaced.label]
        self._by_token[token] = self._by_label[label] = Account(token, label, standing)
        for kind, values in (ratings or {}).items():
            for id_, value in values.items():
                self.write(token, kind, id_, value, now=_ALWAYS)

    def clear(self) -> None:
        """Forget users, ratings and pairs."""
        self._by_token.clear()
        self._by_label.clear()
        self._catalog.clear()

    def pair(self, kind: Kind, catalog_id: str, library_id: str) -> None:
        """From now on a rating of one is the rating of the other. `kind` is the catalog's.

        Raises ValueError for a kind without a library side. Hides ratings that the library id had before.
        """
        library = kind.paired
        if library is None or not library.startswith("library-"):
            raise ValueError(f"{kind} has no library side")
        self._catalog[_Item(library, library_id)] = _Item(kind, catalog_id)

    def account(self, user: str) -> Account | None:
        return self._by_token.get(user) or self._by_label.get(user)

    def holder(self, token: str) -> Account | None:
        """Whose token it is; labels do not count."""
        return self._by_token.get(token)

    def known_as(self, user: str) -> str:
        """The label where the user is known, else what was given."""
        account = self.account(user)
        return account.label if account else user

    def label(self, user: str) -> str:
        """What the journal calls a user; for a stranger, 8 hex digits of the token's digest."""
        account = self.account(user)
        return account.label if account else f"unknown-{User.of(user).label}"

    def read(self, user: str, kind: Kind, ids: Iterable[str], *, now: float) -> dict[str, int]:
        """The ratings that show by now of those ids that are rated, in the order asked, each once."""
        account = self._known(user)
        catalog = self._catalog
        found = {}
        for id_ in ids:
            item = _Item(kind, id_)
            value = account.read(catalog.get(item, item), now)
            if value is not None:
                found[id_] = value
        return found

    def write(
        self, user: str, kind: Kind, id_: str, value: int | None, *, now: float, lag: float = 0.0
    ) -> None:
        """Rate (1, -1) or unrate (None); reads go on showing what they showed for `lag` seconds."""
        item = _Item(kind, id_)
        self._known(user).write(self._catalog.get(item, item), value, now=now, lag=lag)

    def ratings(self, user: str, *, now: float) -> dict[Kind, dict[str, int]]:
        """Everything that a user has rated, catalog sides only."""
        account = self._known(user)
        found: dict[Kind, dict[str, int]] = {}
        for item in account.written:
            value = account.read(item, now)
            if value is not None:
                found.setdefault(item.kind, {})[item.id] = value
        return found

    def _known(self, user: str) -> Account:
        account = self.account(user)
        if account is None:
            raise KeyError(f"no sandbox user {user!r}")
        return account
