"""A run as Markdown tables, and their place in a page that is otherwise written by hand. Pure."""

from collections.abc import Iterable, Sequence

from tests.bench import charts
from tests.bench.guard import Verdict, verdicts
from tests.bench.paths import PACED_MISS_RATE, PACED_RATE
from tests.bench.results import Memory, Path, Results, Sizes, Startup, Trace

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def render(results: Results, images: str) -> str:
    """The measured part of the report; `images` is where the pictures lie, seen from the page."""
    sections = [_head(results), _bounds(verdicts(results))]
    if results.paths:
        sections.append(_paths(results.paths))
    if results.trace is not None:
        sections.append(_trace(results.trace))
    if results.sizes is not None:
        sections.append(_sizes(results.sizes))
    if results.memory is not None:
        sections.append(_memory(results.memory))
    if results.startup is not None:
        sections.append(_startup(results.startup))
    text = "\n\n".join(sections)
    for name in charts.pictures(results):
        text = text.replace(f"({name})", f"({images}/{name})")
    return text + "\n"


def replace_measured(page: str, measured: str) -> str:
    """Put `measured` between the marks of a page. Raises `ValueError` where they are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{measured}\n{END}{after}"


def _head(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    said = f"Measured with `--{results.mode}` on {results.machine}; {versions}."
    if results.missing:
        said += f" **Not installed, so not measured: {', '.join(results.missing)}.**"
    return said


def _bounds(judged: Iterable[Verdict]) -> str:
    rows = []
    for verdict in judged:
        value = "not measured" if verdict.value is None else f"{verdict.value:.2f}"
        mark = "" if verdict.value is None else "yes" if verdict.holds else "**no**"
        rows.append([verdict.what, f"{verdict.side} {verdict.limit:.2f}", value, mark])
    return "### What is promised\n\n" + table(["", "bound", "measured", "holds"], rows)


def _paths(measured: Sequence[Path]) -> str:
    rows = [
        [
            path.name,
            f"{path.rate.median:,.0f} ({path.rate.low:,.0f} to {path.rate.high:,.0f})",
            f"{path.rate_ratio.median:.2f} ({path.rate_ratio.low:.2f} to {path.rate_ratio.high:.2f})",
            "" if path.cpu is None else f"{path.cpu.median * 1e6:,.0f}",
            "" if path.cpu_ratio is None else f"{path.cpu_ratio.median:.2f}",
            f"{path.p50.median * 1e3:.2f} / {path.p99.median * 1e3:.2f}",
            f"{path.paced_p50 * 1e3:.2f} / {path.paced_p99 * 1e3:.2f}",
        ]
        for path in measured
    ]
    heads = [
        "path", "requests/s", "of bare", "CPU µs", "bare's CPU to it", "p50 / p99 ms, 32 callers",
        "p50 / p99 ms, at a steady pace",
    ]  # fmt: skip
    return (
        "### By path\n\n25 ids a request, all rated; medians of the rounds, least and greatest in brackets, "
        f"ratios taken round by round. The steady pace is {PACED_RATE} requests a second, {PACED_MISS_RATE} "
        "where each asks Apple.\n\n"
        + table(heads, rows)
        + "\n\n![Requests a second](rate.svg)\n\n![CPU time a request](cpu.svg)"
    )


def _trace(trace: Trace) -> str:
    rows = [
        [
            one.name,
            f"{one.calls:,}",
            f"{one.calls / trace.least_calls:.2f}",
            f"{one.p50 * 1e3:.1f} / {one.p99 * 1e3:.1f}",
        ]
        for one in trace.replayed
    ]
    return (
        f"### A realistic trace\n\n{trace.requests:,} requests of {trace.users} users in "
        f"{trace.seconds:.0f} s, {trace.ids:,} ids; freshness {trace.fresh_seconds} s for every cache, "
        f"40 ms a call to the stand-in. "
        f"The least possible is {trace.least_calls:,} calls where no miss waits longer than "
        f"{trace.patience * 1e3:.0f} ms for company. All contenders gave the same answers.\n\n"
        + table(["", "calls to Apple", "to the least possible", "p50 / p99 ms"], rows)
        + "\n\n![Calls to Apple](upstream-calls.svg)\n\n![Latencies on the trace](latency.svg)"
    )


def _sizes(sizes: Sizes) -> str:
    rows = [
        [
            f"{size.ids:,}",
            f"{size.hit * 1e3:.2f} ({size.hit / size.ids * 1e6:.1f})",
            f"{size.miss * 1e3:.1f} ({size.miss / size.ids * 1e6:.1f})",
        ]
        for size in sizes.sizes
    ]
    beside = [
        [one.what, f"{one.p50 * 1e3:.2f} / {one.p99 * 1e3:.2f}", str(one.large_requests)]
        for one in (sizes.alone, *sizes.beside)
    ]
    return (
        "### By number of ids\n\n"
        + table(["ids in one request", "hit, ms (µs per id)", "from Apple, ms (µs per id)"], rows)
        + "\n\n![Time per id](ids.svg)\n\nA hit of 25 ids, 100 times a second, while somebody asks without a "
        "pause for\n\n" + table(["", "p50 / p99 ms", "large requests answered"], beside)
    )


def _memory(memory: Memory) -> str:
    rows = [
        [f"Redis, {one.users:,} users with {one.ratings_per_user:,} ratings", f"{one.per_rating:.1f}"]
        for one in memory.shared
    ]
    local = memory.local
    rows.append([f"local tier, {local.entries:,} entries", f"{local.per_entry:.0f}"])
    parts = ", ".join(f"{name} {size}" for name, size in memory.parts.items())
    return (
        "### Memory\n\n"
        + table(["", "bytes a rating"], rows)
        + f"\n\n![Memory a rating](bytes.svg)\n\nThe gateway held {local.idle / 1e6:.0f} MB before and "
        f"{local.filled / 1e6:.0f} MB with {local.entries:,} entries. An entry is made of, in bytes: "
        f"{parts}; the rest is its place in the user's table."
    )


def _startup(startup: Startup) -> str:
    spread = startup.seconds
    imports = [
        [f"`{name}`" if " " not in name else name, f"{took * 1e3:.0f}"] for name, took in startup.imports
    ]
    return (
        f"### Start-up\n\n`serve` answers `/startupz` after {spread.median:.2f} s "
        f"({spread.low:.2f} to {spread.high:.2f}) and {startup.cpu.median:.2f} s of CPU time; idle it holds "
        f"{startup.rss.median / 1e6:.0f} MB. Bytecode is compiled beforehand, as in the image. "
        "Where the imports' time goes (`-X importtime`):\n\n" + table(["package", "ms"], imports)
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [heads, [":---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
