"""Users and their ratings, and when a write shows. Pure: time is an argument."""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from gateway.model import Kind, User

Ratings = Mapping[Kind, Mapping[str, int]]
"""1 (liked) or -1 (disliked) by kind and id."""

_ALWAYS = float("-inf")


class Standing(StrEnum):
    """State of a user token."""

    ACTIVE = "active"
    REVOKED = "revoked"
    """Answered 403 `40300`, like an unknown token."""
    UNSUBSCRIBED = "unsubscribed"
    """Answered 400 `40015`."""


class _Item(NamedTuple):
    """Rated content; of a catalog and library pair, the catalog id."""

    kind: Kind
    id: str


class _Write(NamedTuple):
    visible_at: float
    value: int | None


class Account:
    """One user: token, label (which the journal shows instead) and ratings."""

    def __init__(self, token: str, label: str, standing: Standing) -> None:
        self.token = token
        self.label = label
        self.standing = standing
        self.written: dict[_Item, list[_Write]] = {}

    def write(self, item: _Item, value: int | None, *, now: float, lag: float) -> None:
        """Add a value, and keep older ones that reads may still return."""
        kept = self.written.get(item, [])
        newest_seen = max((n for n, write in enumerate(kept) if write.visible_at <= now), default=0)
        self.written[item] = [*kept[newest_seen:], _Write(now + lag, value)]

    def read(self, item: _Item, now: float) -> int | None:
        """The newest write that is visible at `now`."""
        for write in reversed(self.written.get(item, ())):
            if write.visible_at <= now:
                return write.value
        return None


class RatingStore:
    """Every user, and which catalog and library ids are the same content.

    `now` is in seconds of one monotonic clock. Methods accept a user's token or label.
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
        """Add or replace a user. Raises ValueError if another user has the label."""
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
        """Remove users, ratings and pairs."""
        self._by_token.clear()
        self._by_label.clear()
        self._catalog.clear()

    def pair(self, kind: Kind, catalog_id: str, library_id: str) -> None:
        """Make a rating of one id the rating of the other. `kind` is the catalog's.

        Raises ValueError for a kind without a library side. Hides ratings that the library id had before.
        """
        library = kind.paired
        if library is None or not library.startswith("library-"):
            raise ValueError(f"{kind} has no library side")
        self._catalog[_Item(library, library_id)] = _Item(kind, catalog_id)

    def account(self, user: str) -> Account | None:
        return self._by_token.get(user) or self._by_label.get(user)

    def holder(self, token: str) -> Account | None:
        """The user with this token; labels do not count."""
        return self._by_token.get(token)

    def known_as(self, user: str) -> str:
        """The label of a known user, else the argument."""
        account = self.account(user)
        return account.label if account else user

    def label(self, user: str) -> str:
        """The user's name in the journal; for an unknown token, 8 hex digits of its digest."""
        account = self.account(user)
        return account.label if account else f"unknown-{User.of(user).label}"

    def read(self, user: str, kind: Kind, ids: Iterable[str], *, now: float) -> dict[str, int]:
        """Ratings visible at `now` of the rated ids, in the order asked, each once."""
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
        """Rate (1, -1) or unrate (None); reads return the old rating for `lag` seconds."""
        item = _Item(kind, id_)
        self._known(user).write(self._catalog.get(item, item), value, now=now, lag=lag)

    def ratings(self, user: str, *, now: float) -> dict[Kind, dict[str, int]]:
        """Every rating of a user, by catalog ids only."""
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
