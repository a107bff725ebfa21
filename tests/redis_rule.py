"""The part of the write rule that only Redis applies: versions, purges and late deliveries.

It completes `gateway.cache.write_rule` to the specification of the scripts in `gateway/cache/redis/lua`.
"""

from gateway.cache.write_rule import PendingWrite, Record, ending, held, standing


def raised(version: int, now: float) -> int:
    """Return the next version: larger, and derived from the clock so that none repeats after a data loss."""
    return max(version + 1, round(now * 1_000_000))


def purged(record: Record, version: int, now: float) -> Record:
    """Return the record after a purge: pending writes and holds outlive it, and nothing is left after them.

    `version` is the version that the purge has just raised.
    """
    record = standing(record, now)
    return record if isinstance(record, PendingWrite) else ending(held(record, now), version)


def replayed(record: Record, ended: int, *, version: int, now: float, hold: float) -> PendingWrite:
    """Return the record when Redis receives a write late; `ended` writers begun here have ended since."""
    record = standing(record, now)
    writers = max(record.writers - ended, 0) if isinstance(record, PendingWrite) else 0
    if isinstance(record, PendingWrite) and writers:
        return PendingWrite(version, writers, True, record.until)
    return PendingWrite(version, 0, False, now + hold)
