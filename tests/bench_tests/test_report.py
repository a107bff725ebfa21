import xml.etree.ElementTree as ET

import msgspec
import pytest

from tests.bench import charts, report
from tests.bench.stats import Spread
from tests.bench.svg import Bar, Line, bars, lines

SVG = "{http://www.w3.org/2000/svg}"


def test_every_part_has_its_section_and_every_picture_is_shown(results):
    page = report.render(results, "images")
    for heading in ("promised", "By path", "realistic trace", "number of ids", "Memory", "Start-up"):
        assert f"### {heading}" in page or heading in page
    for name in charts.pictures(results):
        assert f"(images/{name})" in page


def test_what_is_missing_is_named(results):
    page = report.render(msgspec.structs.replace(results, missing=["varnishd"]), ".")
    assert "Not installed, so not measured: varnishd" in page


def test_a_broken_bound_stands_out(results):
    slow = msgspec.structs.replace(results.startup, seconds=Spread(1.6, 1.5, 1.7))
    page = report.render(msgspec.structs.replace(results, startup=slow), ".")
    assert "**no**" in page
    assert "**no**" not in report.render(results, ".")


def test_a_part_that_did_not_run_is_left_out(results):
    page = report.render(msgspec.structs.replace(results, trace=None, sizes=None, memory=None), ".")
    assert "realistic trace" not in page
    assert "upstream-calls.svg" not in page
    assert "not measured" in page


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
    assert set(drawn) == {"rate.svg", "cpu.svg", "upstream-calls.svg", "latency.svg", "ids.svg", "bytes.svg"}
    for picture in drawn.values():
        root = ET.fromstring(picture)
        assert root.findtext(f"{SVG}title")


def test_a_longer_bar_is_a_greater_value():
    root = ET.fromstring(bars("t", "s", [Bar("a", 10.0, "10", "#000"), Bar("b", 20.0, "20", "#000")]))
    _, first, second = (float(rect.attrib["width"]) for rect in root.findall(f"{SVG}rect"))
    assert second == pytest.approx(2 * first, rel=0.01)


def test_words_are_escaped():
    assert "a &lt; b" in bars("a < b", "", [Bar("x", 1.0, "", "#000")])


def test_a_tenfold_value_is_one_decade_further():
    picture = lines("t", "s", [Line("l", "#000", [(1, 1), (10, 10), (100, 100)])], x_label="x", y_label="y")
    (line,) = ET.fromstring(picture).iter(f"{SVG}polyline")
    xs = [float(point.split(",")[0]) for point in line.attrib["points"].split()]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
