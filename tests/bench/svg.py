"""Two kinds of pictures as SVG text: bars, and lines on logarithmic axes. Pure."""

import math
from collections.abc import Iterable, Sequence
from html import escape

import msgspec

WIDTH = 760
MARGIN = 24
LABELS = 190
ROW = 34
HEAD = 66
PLOT_HEIGHT = 260
INK, FAINT, GRID = "#1f2328", "#59636e", "#d1d9e0"


class Bar(msgspec.Struct, frozen=True):
    """A row: its value, the spread around it, and what is written behind it."""

    label: str
    value: float
    text: str
    colour: str
    low: float | None = None
    high: float | None = None


class PairedWrite(msgspec.Struct, frozen=True):
    """A line across all bars."""

    value: float
    label: str


class Line(msgspec.Struct, frozen=True):
    label: str
    colour: str
    points: Sequence[tuple[float, float]]


def bars(title: str, subtitle: str, rows: Sequence[Bar], mark: PairedWrite | None = None) -> str:
    """Horizontal bars from 0; whiskers show least and greatest."""
    most = max([*(bar.high or bar.value for bar in rows), mark.value if mark else 0.0])
    room = WIDTH - 2 * MARGIN - LABELS - 170
    scale = room / most if most else 0.0
    left = MARGIN + LABELS
    first = HEAD + (16 if mark else 0)
    height = first + ROW * len(rows) + MARGIN
    parts = []
    for number, bar in enumerate(rows):
        top = first + ROW * number
        middle = top + ROW / 2 - 3
        end = left + bar.value * scale
        parts += [
            _text(left - 10, middle + 4, bar.label, anchor="end"),
            (
                f'<rect x="{left}" y="{top + 3}" width="{max(1.0, end - left):.1f}" height="{ROW - 12}"'
                f' rx="3" fill="{bar.colour}"/>'
            ),
        ]
        furthest = end
        if bar.low is not None and bar.high is not None:
            furthest = max(end, left + bar.high * scale)
            parts.append(_whisker(left + bar.low * scale, furthest, middle))
        parts.append(_text(furthest + 8, middle + 4, bar.text, colour=FAINT))
    if mark is not None:
        x = left + mark.value * scale
        parts += [
            (
                f'<line x1="{x:.1f}" y1="{first - 4}" x2="{x:.1f}" y2="{height - MARGIN}" stroke="{INK}"'
                ' stroke-dasharray="4 3"/>'
            ),
            _text(x, first - 9, mark.label, anchor="middle", size=11),
        ]
    return _page(title, subtitle, height, parts)


def lines(
    title: str,
    subtitle: str,
    series: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    y_linear: bool = False,
) -> str:
    """Lines over a logarithmic x axis; y is logarithmic too unless `y_linear`, which runs from 0 to 1."""
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points]
    left, right = MARGIN + 50, WIDTH - MARGIN
    top = HEAD + 36
    bottom = top + PLOT_HEIGHT
    x_axis = _Axis.logarithmic(xs, left, right)
    y_axis = _Axis(0.0, 1.0, bottom, top) if y_linear else _Axis.logarithmic(ys, bottom, top)
    parts = _grid(x_axis, y_axis)
    for number, line in enumerate(series):
        points = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in line.points)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{line.colour}" stroke-width="2.2"/>')
        x = left + number * 165
        parts += [
            f'<rect x="{x}" y="{HEAD - 2}" width="14" height="4" fill="{line.colour}"/>',
            _text(x + 20, HEAD + 4, line.label),
        ]
    parts.append(_text((left + right) / 2, bottom + 36, x_label, anchor="middle", colour=FAINT))
    parts.append(_text(left, top - 8, y_label, colour=FAINT, size=11))
    return _page(title, subtitle, bottom + 36 + MARGIN, parts)


def _grid(x_axis: "_Axis", y_axis: "_Axis") -> list[str]:
    parts = []
    for tick in x_axis.ticks():
        x = x_axis.at(tick)
        parts += [
            _rule(x, y_axis.start, x, y_axis.end),
            _text(x, y_axis.start + 16, _short(tick), anchor="middle", size=11),
        ]
    for tick in y_axis.ticks():
        y = y_axis.at(tick)
        parts += [
            _rule(x_axis.start, y, x_axis.end, y),
            _text(x_axis.start - 6, y + 4, _short(tick), anchor="end", size=11),
        ]
    return parts


class _Axis(msgspec.Struct, frozen=True):
    """Values from `low` to `high` onto pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def logarithmic(cls, values: Iterable[float], start: float, end: float) -> "_Axis":
        """From the decade below the least to the one above the greatest."""
        kept = list(values)
        low, high = math.floor(math.log10(min(kept))), math.ceil(math.log10(max(kept)))
        return cls(low, max(high, low + 1), start, end, log=True)

    def at(self, value: float) -> float:
        place = math.log10(value) if self.log else value
        return self.start + (place - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.log:
            return [10.0**n for n in range(int(self.low), int(self.high) + 1)]
        return [self.low + (self.high - self.low) * n / 4 for n in range(5)]


def _page(title: str, subtitle: str, height: float, parts: Iterable[str]) -> str:
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}"'
                f' viewBox="0 0 {WIDTH} {height:.0f}" role="img" font-family="system-ui, sans-serif">'
            ),
            f"<title>{escape(title)}</title>",
            f'<rect width="{WIDTH}" height="{height:.0f}" rx="8" fill="#ffffff"/>',
            _text(MARGIN, 30, title, size=16, bold=True),
            _text(MARGIN, 48, subtitle, colour=FAINT, size=12),
            *parts,
            "</svg>",
            "",
        ]
    )


def _text(
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    size: int = 13,
    colour: str = INK,
    bold: bool = False,
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"{weight}>'
        f"{escape(words)}</text>"
    )


def _whisker(low: float, high: float, middle: float) -> str:
    top = middle - 4
    path = f"M{low:.1f} {middle:.1f}H{high:.1f}M{low:.1f} {top:.1f}v8M{high:.1f} {top:.1f}v8"
    return f'<path d="{path}" stroke="{INK}" fill="none"/>'


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{GRID}"/>'


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"
