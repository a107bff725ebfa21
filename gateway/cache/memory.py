"""The in-process tier: entries by user, kind, variant and id, bounded by their number and by their bytes.

A *book* is one user's ratings of one kind; its partitions are the variants. Books are kept in order of use,
so what makes room is first the user who was away longest, then the oldest entries of whoever is left.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice

from gateway.cache.entry import Entry
from gateway.model import PLAIN, Id, Kind, Partition, Variant

MAX_VARIANTS = 8
LONGEST_VARIANT = 256
"""Characters of one that is kept: books are bounded by their ratings, and names are no part of that."""

ENTRY_BYTES = 290
"""Per entry, without its JSON: entry 56, a time 24, id 59, bytes header 33, dict slot about 100, slack."""
BOOK_BYTES = 900
"""Per book: its object, user key, two dicts and the slot in the order of use."""

_NOTHING: Mapping[Id, Entry] = {}


class _Book:
    __slots__ = ("bytes", "partitions")

    def __init__(self) -> None:
        self.partitions: dict[Variant, dict[Id, Entry]] = {}
        self.bytes = BOOK_BYTES

    def __len__(self) -> int:
        return sum(map(len, self.partitions.values()))


class MemoryCache:
    """Entries of this process. Nothing here expires by itself: readers judge what they find by its times."""

    def __init__(self, *, max_entries: int, max_bytes: int, on_evict: Callable[[int], None]) -> None:
        self.bounded_at = max_entries
        """Entries at most; 0: this tier is off."""
        self._max_bytes = max_bytes
        self._books: OrderedDict[tuple[bytes, Kind], _Book] = OrderedDict()
        self._on_evict = on_evict
        self.entries = 0
        self.bytes = 0

    def partition(self, partition: Partition) -> Mapping[Id, Entry]:
        """What is kept of `partition`, by id. The mapping is live: read it before the next await."""
        key = (partition.user.key, partition.kind)
        book = self._books.get(key)
        if book is None:
            return _NOTHING
        self._books.move_to_end(key)
        return book.partitions.get(partition.variant, _NOTHING)

    def admits(self, partition: Partition) -> bool:
        """Whether the variant is kept: the plain one is, of the others the first eight that are not long."""
        if partition.variant == PLAIN:
            return True
        if len(partition.variant) > LONGEST_VARIANT:
            return False
        book = self._books.get((partition.user.key, partition.kind))
        if book is None or partition.variant in book.partitions:
            return True
        return len(book.partitions) - (PLAIN in book.partitions) < MAX_VARIANTS

    def put(self, partition: Partition, entries: Mapping[Id, Entry]) -> None:
        """Keep `entries`, replacing older ones, and make room for them."""
        if not self.bounded_at or not entries or not self.admits(partition):
            return
        key = (partition.user.key, partition.kind)
        book = self._books.get(key)
        if book is None:
            book = self._books[key] = _Book()
            self.bytes += BOOK_BYTES
        self._books.move_to_end(key)
        kept = book.partitions.setdefault(partition.variant, {})
        self._remove(book, kept, entries)
        kept.update(entries)
        self._count(book, len(entries), sum(map(_size, entries.values())))
        self._make_room()

    def drop(self, user_key: bytes, kind: Kind, ids: Collection[Id] | None = None) -> None:
        """Forget `ids` in every variant; all of the kind where none are named."""
        book = self._books.get((user_key, kind))
        if book is None:
            return
        if ids is None:
            self._drop_book((user_key, kind))
            return
        for variant, kept in list(book.partitions.items()):
            self._remove(book, kept, ids)
            if not kept:
                del book.partitions[variant]
        if not book.partitions:
            self._drop_book((user_key, kind))

    def replace(self, user_key: bytes, kind: Kind, by: Callable[[Entry], Entry]) -> None:
        """Put `by(entry)` in the place of every entry of one kind (same resource, other times)."""
        book = self._books.get((user_key, kind))
        if book is not None:
            for kept in book.partitions.values():
                kept.update({id_: by(entry) for id_, entry in kept.items()})

    def _make_room(self) -> None:
        while self.entries > self.bounded_at or self.bytes > self._max_bytes:
            if len(self._books) > 1:
                oldest = next(iter(self._books))
                self._on_evict(len(self._books[oldest]))
                self._drop_book(oldest)
            elif not self._trim(next(iter(self._books.values()))):
                return

    def _trim(self, book: _Book) -> bool:
        """Drop the oldest entries of the only book: a sixteenth at a time, not one for each put."""
        kept = max(book.partitions.values(), key=len)
        if not kept:
            return False
        excess = max(self.entries - self.bounded_at, len(kept) // 16, 1)
        oldest = list(islice(kept, excess))
        self._on_evict(len(oldest))
        self._remove(book, kept, oldest)
        return True

    def _remove(self, book: _Book, kept: dict[Id, Entry], ids: Iterable[Id]) -> None:
        removed = [entry for id_ in ids if (entry := kept.pop(id_, None)) is not None]
        self._count(book, -len(removed), -sum(map(_size, removed)))

    def _count(self, book: _Book, entries: int, size: int) -> None:
        self.entries += entries
        self.bytes += size
        book.bytes += size

    def _drop_book(self, key: tuple[bytes, Kind]) -> None:
        book = self._books.pop(key)
        self.entries -= len(book)
        self.bytes -= book.bytes


def _size(entry: Entry) -> int:
    return ENTRY_BYTES + (len(entry.resource) if entry.resource is not None else 0)
