"""Conditions of this process, its token, clock, files and memory, in the form of `conditions`. Pure."""

from gateway.ops.formatting import about, duration, plural_were
from gateway.ops.status.snapshot import Snapshot


def not_ready(snapshot: Snapshot, _: float) -> str | None:
    failed = [check for check in snapshot.process.checks if check.required and not check.ok]
    reasons = "; ".join(f"{check.name}: {check.detail}" for check in failed)
    return f"Not ready, so it should receive no requests ({reasons})." if failed else None


def token_expired(snapshot: Snapshot, _: float) -> str | None:
    left = snapshot.token.expires_in_seconds
    return (
        f"The developer token expired {duration(-left)} ago: Apple refuses every call." if left <= 0 else None
    )


def token_expiring(snapshot: Snapshot, threshold: float) -> str | None:
    left = snapshot.token.expires_in_seconds
    if not 0 < left < threshold:
        return None
    return f"The developer token expires in {duration(left)} and was not replaced."


def clock_skewed(snapshot: Snapshot, threshold: float) -> str | None:
    ahead = snapshot.token.apples_clock_ahead_seconds
    if abs(ahead) <= threshold:
        return None
    return (
        f"This machine's clock is {duration(abs(ahead))} {'behind' if ahead > 0 else 'ahead of'} Apple's. "
        "Developer tokens are dated by Apple's."
    )


def reload_failed(snapshot: Snapshot, _: float) -> str | None:
    if snapshot.process.last_reload_successful:
        return None
    fault = snapshot.process.reload_fault
    why = f" ({fault})" if fault else ""
    return (
        f"Changed settings or secrets could not be read{why}. The old ones stay in use, but a restart would "
        "fail."
    )


def restart_needed(snapshot: Snapshot, _: float) -> str | None:
    names = snapshot.process.not_applied
    return f"Changed settings wait for a restart: {', '.join(names)}." if names else None


def connections_refused(snapshot: Snapshot, threshold: float) -> str | None:
    refused = snapshot.traffic.connections_refused
    if refused <= threshold:
        return None
    return (
        f"{plural_were(refused, 'connection')} refused in the last {about(snapshot.window_seconds)}: as many "
        "are open as the limit on open files allows (10,000 at most). Their callers got no answer."
    )


def log_lines_dropped(snapshot: Snapshot, threshold: float) -> str | None:
    dropped = snapshot.process.log_lines_dropped
    if dropped <= threshold:
        return None
    return (
        f"{plural_were(dropped, 'log line')} lost in the last {about(snapshot.window_seconds)}: requests are "
        "answered, but the log has gaps."
    )


def memory_full(snapshot: Snapshot, _: float) -> str | None:
    evicted = snapshot.local.evictions
    if not evicted:
        return None
    return (
        f"The in-process cache is full: {plural_were(evicted, 'entry', 'entries')} evicted in the last "
        f"{about(snapshot.window_seconds)}."
    )
