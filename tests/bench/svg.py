"""Bar charts as SVG text. Pure."""

from collections.abc import Iterable, Sequence
from html import escape

import msgspec

WIDTH = 760
MARGIN = 24
LABELS = 290
ROW = 34
HEAD = 66
INK, FAINT = "#1f2328", "#59636e"


class Bar(msgspec.Struct, frozen=True):
    """A row: its value, the spread around it, and what is written behind it."""

    label: str
    value: float
    text: str
    colour: str
    low: float | None = None
    high: float | None = None


class Mark(msgspec.Struct, frozen=True):
    """A dashed line across all bars."""

    value: float
    label: str


def bars(title: str, subtitle: str, rows: Sequence[Bar], marks: Sequence[Mark] = ()) -> str:
    """Horizontal bars from 0; whiskers show least and greatest."""
    most = max([*(bar.high or bar.value for bar in rows), *(mark.value for mark in marks)])
    room = WIDTH - 2 * MARGIN - LABELS - 170
    scale = room / most if most else 0.0
    left = MARGIN + LABELS
    first = HEAD + 16 * len(marks)
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
    for number, mark in enumerate(marks):
        x = left + mark.value * scale
        top = first - 4 - 16 * number
        parts += [
            (
                f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{height - MARGIN}" stroke="{INK}"'
                ' stroke-dasharray="4 3"/>'
            ),
            _text(x + 4, top - 5, mark.label, size=11),
        ]
    return _page(title, subtitle, height, parts)


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
