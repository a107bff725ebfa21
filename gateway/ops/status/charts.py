"""Renders line charts of one hour as SVG. Lines differ in their dashes, not only in colour. Pure."""

from collections.abc import Callable, Sequence

from gateway.ops.formatting import NOTHING
from gateway.ops.history import KEPT_SECONDS
from gateway.ops.markup import Html, el

WIDTH, HEIGHT = 360, 72
DASHES = ("solid", "dashed", "dotted")

Course = Sequence[tuple[float, float | None]]
"""Seconds ago and value, oldest first; None is a gap."""


def chart(
    title: str,
    lines: Sequence[tuple[str, Course]],
    show: Callable[[float | None], str],
    *,
    top: float | None = None,
) -> Html:
    """Render a figure with at most three lines; `top` is the end of its scale, default the largest value."""
    values = [value for _, course in lines for _, value in course if value is not None]
    upper = top if top is not None else max(values, default=0.0)
    plot = (
        el("p", "Nothing to show yet: a point is drawn for every minute with traffic.", class_="empty")
        if not values
        else el(
            "div",
            el("span", show(upper), class_="top"),
            el("span", "0", class_="bottom"),
            _plot(title, lines, upper or 1.0, show),
            el("span", "1 h ago", class_="then"),
            el("span", "now", class_="now"),
            class_="plot",
        )
    )
    legend = [
        el("li", _sample(dash), f"{name} ", el("b", show(_last(course))))
        for (name, course), dash in zip(lines, DASHES, strict=False)
    ]
    return el("figure", el("figcaption", title), el("ul", legend, class_="legend"), plot, class_="chart")


def _plot(
    title: str, lines: Sequence[tuple[str, Course]], upper: float, show: Callable[[float | None], str]
) -> Html:
    words = "; ".join(f"{name}: {_in_words(course, show)}" for name, course in lines)
    return el(
        "svg",
        [
            el("path", d=_path(course, upper), class_=f"line {dash}")
            for (_, course), dash in zip(lines, DASHES, strict=False)
        ],
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{title} over the last hour. {words}.",
    )


def _sample(dash: str) -> Html:
    return el(
        "svg",
        el("path", d="M0 4H24", class_=f"line {dash}"),
        viewBox="0 0 24 8",
        class_="sample",
        aria_hidden="true",
    )


def _path(course: Course, upper: float) -> str:
    """SVG path; a value between two gaps is a short dash, so that it is visible."""
    steps: list[str] = []
    drawing = False
    for ago, value in course:
        if value is None:
            drawing = False
            continue
        x = WIDTH * (1 - min(ago, KEPT_SECONDS) / KEPT_SECONDS)
        y = HEIGHT - 1 - (HEIGHT - 2) * min(value / upper, 1.0)
        steps.append(f"L{x:.1f} {y:.1f}" if drawing else f"M{x:.1f} {y:.1f}h1")
        drawing = True
    return "".join(steps)


def _last(course: Course) -> float | None:
    return course[-1][1] if course else None


def _in_words(course: Course, show: Callable[[float | None], str]) -> str:
    values = [value for _, value in course if value is not None]
    if not values:
        return NOTHING
    return f"now {show(_last(course))}, lowest {show(min(values))}, highest {show(max(values))}"
