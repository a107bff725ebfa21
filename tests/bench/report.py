"""A run as Markdown tables, and their place in a page that is otherwise written by hand. Pure."""

from collections.abc import Iterable, Sequence

from tests.bench.contenders import CALL_MS, ID_MS
from tests.bench.hits import RATE
from tests.bench.replaying import PATIENCE
from tests.bench.results import Figure, Results, Trace
from tests.bench.stats import Spread

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def render(results: Results, images: str) -> str:
    """The measured part of the report; `images` is the directory of the pictures, seen from the page."""
    bounded = [figure for figure in results.figures if figure.bound is not None]
    sections = [results.measured]
    if results.missing:
        sections.append(f"**Not installed, so not measured: {', '.join(results.missing)}.**")
    if bounded:
        sections.append("### Bounds\n\n" + _table(bounded, results.against, with_part=True))
    for part in dict.fromkeys(figure.part for figure in results.figures):
        figures = [figure for figure in results.figures if figure.part == part]
        sections.append(
            f"### {part[0].upper()}{part[1:]}\n\n" + _table(figures, results.against, spread=True)
        )
        if part == RATE:
            sections.append(f"![Rate of hits, as a share of a bare handler's]({images}/hits.svg)")
    if results.trace is not None:
        sections.append(f"### All contenders on the trace\n\n{_trace(results.trace)}")
        sections.append(f"![Calls to Apple on the trace]({images}/upstream-calls.svg)")
    return "\n\n".join(sections) + "\n"


def replace_measured(page: str, measured: str) -> str:
    """Put `measured` between the marks of a page. Raises `ValueError` where they are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{measured}\n{END}{after}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [heads, [":---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _table(
    figures: Sequence[Figure], against: str | None, *, with_part: bool = False, spread: bool = False
) -> str:
    compared = against is not None and any(figure.before is not None for figure in figures)
    judged = any(figure.bound is not None for figure in figures)
    heads = ["", "now", *([f"{against}"] if compared else []), *(["bound", ""] if judged else [])]
    rows = []
    for figure in figures:
        row = [f"{figure.part}: {figure.what}" if with_part else figure.what]
        row.append("busy" if figure.busy else _value(figure.now, figure.decimals, spread=spread))
        if compared:
            row.append("" if figure.busy else _value(figure.before, figure.decimals, spread=spread))
        if judged and figure.bound is not None:
            row += [
                f"{figure.bound.side} {figure.bound.limit:.{figure.decimals}f}",
                "busy" if figure.busy else "**BROKEN**" if figure.broken else "OK",
            ]
        elif judged:
            row += ["", ""]
        rows.append(row)
    return table(heads, rows)


def _value(measured: Spread | None, decimals: int, *, spread: bool) -> str:
    if measured is None:
        return ""
    text = f"{measured.median:,.{decimals}f}"
    if spread and measured.low != measured.high:
        text += f" ({measured.low:,.{decimals}f} to {measured.high:,.{decimals}f})"
    return text


def _trace(trace: Trace) -> str:
    rows = [
        [
            one.name,
            f"{one.calls:,}",
            f"{one.calls / trace.floor:.2f}",
            f"{one.ids_per_call:.0f}",
            "busy" if trace.busy else f"{one.p50 * 1e3:.1f} / {one.p95 * 1e3:.1f} / {one.p99 * 1e3:.1f}",
            f"{one.wrong}",
        ]
        for one in trace.replayed
    ]
    return (
        f"{trace.reads:,} reads and {trace.writes:,} writes of {trace.users} users in {trace.seconds:.0f} s, "
        f"{trace.seconds / trace.fresh_seconds:.1f} periods of freshness, {trace.ids:,} ids. A call to the "
        f"stand-in takes {CALL_MS:.0f} ms and {ID_MS} ms more for each id. An ideal cache that fetches only "
        f"what was asked for, and keeps no miss waiting for company longer than {PATIENCE * 1e3:.0f} ms, "
        f"makes {trace.floor:,} read calls; one that also fills the free seats of each call makes "
        f"{trace.top_up_floor:,}. Wrong ratings contradict a write that was answered "
        "before the read began.\n\n"
        + table(["", "read calls", "of the first ideal", "ids per call", "p50 / p95 / p99 ms", "wrong"], rows)
    )
