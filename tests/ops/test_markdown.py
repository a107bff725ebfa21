from gateway.ops.markdown import anchor, blocks, contents
from tests.ops.html import Document

TEXT = "# Title\n\n## First\n\n### Below it\n\n## Second `code`\n"


def test_ids_of_headings_are_those_of_code_hosts():
    assert Document(blocks("## RatingsGatewayBreakerOpen: *why*?")).values("id") == [
        "ratingsgatewaybreakeropen-why"
    ]
    assert anchor("Cache-Status") == "cache-status"


def test_a_table_scrolls_and_is_labelled_by_the_heading_above_it():
    table = blocks("## Costs\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n")
    assert '<div class="scrolls" tabindex="0" role="region" aria-label="Costs">' in table
    assert '<caption class="unseen">Costs</caption>' in table


def test_html_in_markdown_is_escaped():
    assert "<script>" not in blocks("<script>alert(1)</script> and `<b>`")


def test_long_names_in_the_contents_may_break_between_words():
    assert ">Ratings<wbr>Gateway<wbr>Absent</a>" in contents("## RatingsGatewayAbsent")


def test_contents_link_to_headings_of_two_levels():
    document = Document(contents(TEXT))
    assert document.values("href") == ["#first", "#below-it", "#second-code"]
    assert [len(link.path) for link in document.all("a")] == [2, 4, 2]
