"""The project's own Markdown as HTML: descriptions in the OpenAPI document, and the runbook."""

import re
from itertools import pairwise

from markdown_it import MarkdownIt

from gateway.ops.markup import Html

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
_WIDE = {
    "<table>": '<div class="scrolls" tabindex="0" role="region" aria-label="table"><table>',
    "</table>": "</table></div>",
    "<pre>": '<pre tabindex="0">',
}


def inline(text: str) -> Html:
    """One line's worth of text, without a paragraph around it."""
    return Html(_MARKDOWN.renderInline(text))


def blocks(text: str, *, level: int = 1) -> Html:
    """A whole text; its `#` becomes a heading of `level`, with an id as code hosts make it."""
    tokens = _MARKDOWN.parse(text)
    for token, content in pairwise(tokens):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{int(token.markup.count('#')) + level - 1}"
            if token.type == "heading_open":
                token.attrSet("id", anchor(content.content))
    shown = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    for plain, wide in _WIDE.items():
        shown = shown.replace(plain, wide)
    return Html(shown)


def anchor(heading: str) -> str:
    """The id of a heading."""
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")
