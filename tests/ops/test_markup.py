import pytest

from gateway.ops.markup import Html, el, join, table, with_code


def test_text_is_escaped():
    assert el("p", "<script>&'\"") == "<p>&lt;script&gt;&amp;&#x27;&quot;</p>"


def test_attributes_are_escaped():
    assert el("a", href='"><script>') == '<a href="&quot;&gt;&lt;script&gt;"></a>'


def test_markup_is_inserted_unchanged():
    assert el("p", el("b", "x"), Html("&nbsp;")) == "<p><b>x</b>&nbsp;</p>"


def test_children_may_be_text_numbers_none_or_lists():
    assert join(None, "", 7, ["a", (el("i"), 1.5)]) == "7a<i></i>1.5"


@pytest.mark.parametrize(
    ("attributes", "shown"),
    [
        ({"class_": "x"}, ' class="x"'),
        ({"aria_label": "x"}, ' aria-label="x"'),
        ({"required": True}, " required"),
        ({"selected": False, "value": None}, ""),
        ({"name": "x", "value": 0}, ' name="x" value="0"'),
    ],
)
def test_attribute_names_follow_html(attributes, shown):
    assert el("input", **attributes) == f"<input{shown}>"


def test_a_table_has_a_caption_and_headings_for_columns_and_rows():
    shown = table(("a", "b"), [("1", "2")], caption="numbers & more")
    assert '<th scope="col">a</th>' in shown
    assert '<th scope="row">1</th><td>2</td>' in shown
    assert '<caption class="unseen">numbers &amp; more</caption>' in shown
    assert 'tabindex="0" role="region" aria-label="numbers &amp; more"' in shown


def test_backticks_of_a_sentence_become_code():
    assert with_code("Run `a<b` now.") == "Run <code>a&lt;b</code> now."
