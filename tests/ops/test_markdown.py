from gateway.ops.markdown import anchor, blocks, inline


def test_headings_begin_at_the_level_asked_for_and_can_be_linked_to():
    assert blocks("## Cache-Status, *explained*", level=2) == (
        '<h3 id="cache-status-explained">Cache-Status, <em>explained</em></h3>\n'
    )


def test_anchors_are_those_of_code_hosts():
    assert anchor("RatingsGatewayBreakerOpen") == "ratingsgatewaybreakeropen"
    assert anchor("Who calls, and whose ratings?") == "who-calls-and-whose-ratings"


def test_a_table_scrolls_by_itself_and_is_told_by_its_heading():
    shown = blocks("# Errors & more\n\n| a | b |\n| --- | --- |\n| 1 | `2` |\n")
    assert 'tabindex="0" role="region" aria-label="Errors &amp; more"><table>' in shown
    assert '<caption class="unseen">Errors &amp; more</caption>' in shown
    assert shown.endswith("</table></div>\n")


def test_code_can_be_scrolled_by_keyboard_and_is_escaped():
    assert blocks("```\n<b>\n```") == '<pre tabindex="0"><code>&lt;b&gt;\n</code></pre>'


def test_markup_in_the_text_is_text():
    assert inline("<script> `a<b`") == "&lt;script&gt; <code>a&lt;b</code>"
    assert inline("[x](javascript:alert(1))") == "[x](javascript:alert(1))"
