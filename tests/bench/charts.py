"""The pictures of the report, by file name. Pure."""

from collections.abc import Sequence

from tests.bench import hits, replaying
from tests.bench.results import Figure, Results, Trace
from tests.bench.stage import NOW
from tests.bench.svg import Bar, Mark, bars

OURS, EARLIER, OTHER = "#2563eb", "#93b4f4", "#b6a37a"
COLOURS = {NOW: OURS, replaying.DIRECT: "#cf222e", hits.NGINX: "#1a7f37", hits.VARNISH: "#bf8700"}


def pictures(results: Results) -> dict[str, str]:
    """What can be drawn of a run."""
    drawn = {}
    if rates := [figure for figure in results.figures if figure.part == hits.RATE]:
        drawn["hits.svg"] = _hits(rates, results.against)
    if results.trace is not None:
        drawn["upstream-calls.svg"] = _calls(results.trace)
    return drawn


def _hits(rates: Sequence[Figure], against: str | None) -> str:
    rows = []
    for figure in rates:
        colour = COLOURS.get(figure.what, OURS)
        for spread, name, tint in ((figure.now, figure.what, colour), (figure.before, against, EARLIER)):
            if spread is not None:
                text = f"{spread.median:.2f}"
                rows.append(Bar(str(name), spread.median, text, tint, spread.low, spread.high))
    title = "Hits per second of one core, bare aiohttp handler = 1"
    return bars(title, "25 ids a request; medians of interleaved rounds, more is better", rows)


def _calls(trace: Trace) -> str:
    rows = [
        Bar(one.name, one.calls, f"{one.calls:,}", COLOURS.get(one.name, OTHER)) for one in trace.replayed
    ]
    subtitle = f"{trace.reads:,} reads of {trace.users} users, {trace.ids:,} ids; less is better"
    marks = [
        Mark(trace.floor, "ideal cache, fetches only what was asked"),
        Mark(trace.top_up_floor, "ideal cache, fills free seats"),
    ]
    return bars("Calls to Apple for the same trace", subtitle, rows, marks)
