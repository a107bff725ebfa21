"""The pictures of the report, by file name. Pure."""

from tests.bench import roads
from tests.bench.replaying import GATEWAY
from tests.bench.results import SHARES, Memory, Path, Results, Sizes, Trace
from tests.bench.svg import Bar, Line, PairedWrite, bars, lines

OURS, BASE, OTHER, FLOOR = "#2563eb", "#6e7781", "#b6a37a", "#7c3aed"
COLOURS = {
    roads.BARE: BASE,
    roads.NGINX: "#1a7f37",
    roads.VARNISH: "#bf8700",
    roads.DIRECT: "#cf222e",
}


def pictures(results: Results) -> dict[str, str]:
    """What can be drawn of a run."""
    drawn = {}
    if results.paths:
        drawn["rate.svg"] = _rates(results.paths)
        drawn["cpu.svg"] = _cpu([path for path in results.paths if path.cpu is not None])
    if results.trace is not None:
        drawn["upstream-calls.svg"] = _calls(results.trace)
        drawn["latency.svg"] = _latencies(results.trace)
    if results.sizes is not None:
        drawn["ids.svg"] = _sizes(results.sizes)
    if results.memory is not None:
        drawn["bytes.svg"] = _bytes(results.memory)
    return drawn


def _rates(measured: list[Path]) -> str:
    rows = [
        Bar(
            path.name,
            path.rate.median,
            f"{path.rate.median:,.0f}/s, {path.rate_ratio.median:.2f} of bare",
            COLOURS.get(path.name, OURS),
            path.rate.low,
            path.rate.high,
        )
        for path in measured
    ]
    return bars("Requests a second on one core", "25 ids a request, 32 callers; medians of rounds", rows)


def _cpu(measured: list[Path]) -> str:
    rows = [
        Bar(
            path.name,
            path.cpu.median * 1e6,
            f"{path.cpu.median * 1e6:,.0f} µs",
            COLOURS.get(path.name, OURS),
            path.cpu.low * 1e6,
            path.cpu.high * 1e6,
        )
        for path in measured
        if path.cpu is not None
    ]
    return bars("CPU time of the server a request", "25 ids a request; less is better", rows)


def _calls(trace: Trace) -> str:
    rows = [Bar(one.name, one.calls, f"{one.calls:,}", COLOURS.get(one.name, OURS)) for one in trace.replayed]
    subtitle = f"{trace.requests:,} requests of {trace.users} users, {trace.ids:,} ids; less is better"
    return bars(
        "Calls to Apple for the same trace", subtitle, rows, PairedWrite(trace.least_calls, "least possible")
    )


def _latencies(trace: Trace) -> str:
    series = [
        Line(
            one.name,
            COLOURS.get(one.name, OURS if one.name == GATEWAY else OTHER),
            [(took * 1e3, share) for took, share in zip(one.latencies, SHARES, strict=True)],
        )
        for one in trace.replayed
    ]
    return lines(
        "How long an answer takes, on the same trace",
        "a call to the stand-in for Apple takes 40 ms; further left is better",
        series,
        x_label="milliseconds",
        y_label="share of requests answered by then",
        y_linear=True,
    )


def _sizes(sizes: Sizes) -> str:
    return lines(
        "Time per id by the number of ids in one request",
        "everything rated; a miss asks the stand-in, 40 ms a call",
        [
            Line(
                "from the local tier", OURS, [(size.ids, size.hit / size.ids * 1e6) for size in sizes.sizes]
            ),
            Line("from Apple", "#cf222e", [(size.ids, size.miss / size.ids * 1e6) for size in sizes.sizes]),
        ],
        x_label="ids in the request",
        y_label="microseconds per id",
    )


def _bytes(memory: Memory) -> str:
    rows = [
        Bar(f"Redis, {one.ratings_per_user:,} a user", one.per_rating, f"{one.per_rating:.1f} B", "#cf222e")
        for one in memory.shared
    ]
    local = memory.local.per_entry
    rows.append(Bar("local tier", local, f"{local:.0f} B", OURS))
    return bars("Memory a rating", "growth of Redis' used_memory, and of the gateway's resident memory", rows)
