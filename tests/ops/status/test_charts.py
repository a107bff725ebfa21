"""Charts as SVG, and the sentence that says the same."""

from gateway.ops.formatting import NOTHING, percent
from gateway.ops.status.charts import Course, chart
from tests.ops.html import Document

RISING: Course = [(3600.0 - 600 * step, step / 10) for step in range(7)]
EMPTY: Course = [(ago, None) for ago, _ in RISING]


def drawn(*lines: tuple[str, Course], top: float | None = None) -> Document:
    return Document(chart("Fresh", lines, percent, top=top))


def paths(document: Document) -> list[str]:
    """The lines of the plot, without the samples of the legend."""
    plot = next(at for at, element in enumerate(document.elements) if element.attributes.get("role") == "img")
    return [element.attributes["d"] or "" for element in document.elements[plot:] if element.tag == "path"]


def test_the_label_says_in_words_what_the_lines_show():
    (label,) = drawn(("both tiers", RISING)).values("aria-label")
    assert label == "Fresh over the last hour. both tiers: now 60 %, lowest 0 %, highest 60 %."


def test_the_legend_shows_each_line_with_its_latest_value():
    document = drawn(("both tiers", RISING), ("this process", EMPTY))
    assert f"both tiers 60 %this process {NOTHING}" in document.text


def test_a_line_without_data_says_so_beside_one_with_data():
    (label,) = drawn(("both tiers", RISING), ("this process", EMPTY)).values("aria-label")
    assert label.endswith(f"highest 60 %; this process: {NOTHING}.")


def test_lines_differ_in_their_dashes():
    document = drawn(("one", RISING), ("two", RISING), ("three", RISING))
    plotted = [element.attributes["class"] for element in document.all("path")][-3:]
    assert plotted == ["line solid", "line dashed", "line dotted"]


def test_a_chart_without_any_data_has_no_plot():
    document = drawn(("both tiers", EMPTY))
    assert "Nothing to show yet" in document.text
    assert document.values("role") == []


def test_a_line_spans_the_hour_and_the_scale():
    (path,) = paths(drawn(("both tiers", [(3600.0, 0.0), (0.0, 1.0)]), top=1.0))
    assert path == "M0.0 71.0h1L360.0 1.0"


def test_the_scale_ends_at_the_largest_value_unless_set():
    own, given = drawn(("one", RISING)), drawn(("one", RISING), top=1.0)
    assert "60 %0" in own.text
    assert "100 %0" in given.text


def test_a_gap_in_the_data_interrupts_the_line():
    gaps = [(ago, None if step in (2, 4) else value) for step, (ago, value) in enumerate(RISING)]
    (path,) = paths(drawn(("both tiers", gaps)))
    assert path.count("M") == 3


def test_a_constant_zero_is_drawn_at_the_bottom():
    (path,) = paths(drawn(("failed", [(60.0, 0.0), (0.0, 0.0)])))
    assert path == "M354.0 71.0h1L360.0 71.0"
