import xml.etree.ElementTree as ET

import msgspec
import pytest

from tests.bench import charts, hits, replaying, report
from tests.bench.results import Bound, Figure, Replayed, Results, Trace
from tests.bench.stage import NOW
from tests.bench.stats import Spread
from tests.bench.svg import Bar, Mark, bars

SVG = "{http://www.w3.org/2000/svg}"


def spread(median: float) -> Spread:
    return Spread(median, median * 0.9, median * 1.1)


@pytest.fixture
def results() -> Results:
    """Every bound holds."""
    return Results(
        measured="Measured some day.",
        against="v1",
        missing=[],
        figures=[
            Figure(hits.RATE, hits.MEMORY_NEW, spread(0.9), spread(0.5), Bound("at least", 0.75)),
            Figure(hits.RATE, hits.NGINX, spread(1.8)),
            Figure("bytes per rating", "in-process", spread(95), spread(380), Bound("at most", 150), 0),
        ],
        trace=Trace(
            seconds=42.0,
            users=70,
            reads=9_000,
            writes=200,
            ids=150_000,
            fresh_seconds=5,
            floor=1_000,
            top_up_floor=400,
            replayed=[
                Replayed(NOW, 500, 90.0, 0.001, 0.050, 0.055, 0, 0),
                Replayed(replaying.DIRECT, 9_000, 20.0, 0.041, 0.045, 0.050, 0, 0),
            ],
        ),
    )


def test_every_part_has_its_table_and_every_picture_is_shown(results):
    page = report.render(results, "images")
    assert "### Bounds" in page
    for figure in results.figures:
        assert f"### {figure.part[0].upper()}{figure.part[1:]}" in page
    assert "### All contenders on the trace" in page
    for name in charts.pictures(results):
        assert f"(images/{name})" in page


def test_both_versions_stand_side_by_side(results):
    assert "|  | now | v1 | bound |  |" in report.render(results, ".")


def test_a_run_of_one_version_has_no_column_for_another(results):
    alone = [msgspec.structs.replace(figure, before=None) for figure in results.figures]
    page = report.render(msgspec.structs.replace(results, against=None, figures=alone), ".")
    assert "|  | now | bound |  |" in page


def test_waiting_times_of_a_busy_machine_are_neither_shown_nor_judged(results):
    busy = msgspec.structs.replace(results.figures[0], now=spread(0.6), busy=True)
    trace = msgspec.structs.replace(results.trace, busy=True)
    page = report.render(msgspec.structs.replace(results, figures=[busy], trace=trace), ".")
    assert not busy.broken
    assert "0.60" not in page
    assert "1.0 / 50.0 / 55.0" not in page
    assert "busy" in page


def test_a_run_without_bounds_has_no_table_of_them(results):
    assert "### Bounds" not in report.render(msgspec.structs.replace(results, figures=[]), ".")


def test_what_is_missing_is_named(results):
    page = report.render(msgspec.structs.replace(results, missing=["varnishd"]), ".")
    assert "Not installed, so not measured: varnishd" in page


def test_a_broken_bound_stands_out(results):
    slow = msgspec.structs.replace(results.figures[0], now=spread(0.6))
    assert "BROKEN" in report.render(msgspec.structs.replace(results, figures=[slow]), ".")
    assert "BROKEN" not in report.render(results, ".")


def test_only_what_lies_between_the_marks_is_replaced():
    page = f"# Title\n\n{report.BEGIN}\nold\n{report.END}\n\n## By hand\n"
    once = report.replace_measured(page, "new\n")
    assert once == f"# Title\n\n{report.BEGIN}\n\nnew\n\n{report.END}\n\n## By hand\n"
    assert report.replace_measured(once, "new\n") == once


def test_a_page_without_marks_is_not_overwritten():
    with pytest.raises(ValueError, match="lacks"):
        report.replace_measured("# By hand\n", "new")


def test_all_rows_of_a_table_have_its_columns(results):
    for block in report.render(results, ".").split("\n\n"):
        if block.startswith("|"):
            assert len({line.count(" | ") for line in block.splitlines()}) == 1


def test_pictures_are_well_formed_and_labelled(results):
    drawn = charts.pictures(results)
    assert set(drawn) == {"hits.svg", "upstream-calls.svg"}
    for picture in drawn.values():
        assert ET.fromstring(picture).findtext(f"{SVG}title")


def test_the_picture_of_calls_marks_both_ideal_caches(results):
    assert charts.pictures(results)["upstream-calls.svg"].count("stroke-dasharray") == 2


def test_a_longer_bar_is_a_greater_value():
    root = ET.fromstring(bars("t", "s", [Bar("a", 10.0, "10", "#000"), Bar("b", 20.0, "20", "#000")]))
    _, first, second = (float(rect.attrib["width"]) for rect in root.findall(f"{SVG}rect"))
    assert second == pytest.approx(2 * first, rel=0.01)


def test_words_are_escaped():
    assert "a &lt; b" in bars("a < b", "", [Bar("x", 1.0, "", "#000")])


def test_a_mark_stands_where_a_bar_of_its_value_ends():
    root = ET.fromstring(bars("t", "s", [Bar("a", 10.0, "10", "#000")], [Mark(10.0, "floor")]))
    bar = root.findall(f"{SVG}rect")[1]
    (line,) = root.findall(f"{SVG}line")
    assert float(line.attrib["x1"]) == pytest.approx(float(bar.attrib["x"]) + float(bar.attrib["width"]))
