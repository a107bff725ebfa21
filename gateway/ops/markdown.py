"""The project's own Markdown as HTML: descriptions in the OpenAPI document, and the runbook."""

import re
from collections.abc import Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from gateway.ops.markup import Html, el


def inline(text: str) -> Html:
    """One line's worth of text, without a paragraph around it."""
    return Html(_MARKDOWN.renderInline(text))


def blocks(text: str, *, level: int = 1) -> Html:
    """A whole text; its `#` becomes a heading of `level`, with an id as code hosts make it."""
    tokens = _MARKDOWN.parse(text)
    heading = ""
    for number, token in enumerate(tokens):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{len(token.markup) + level - 1}"
        if token.type == "heading_open":
            heading = tokens[number + 1].content
            token.attrSet("id", anchor(heading))
        elif token.type == "table_open":
            token.meta["caption"] = heading
    return Html(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))


def anchor(heading: str) -> str:
    """The id of a heading."""
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")


def _open_table(_self: Any, tokens: Sequence[Token], index: int, *_: Any) -> str:
    """A wide table scrolls by itself, and is told by the heading above it."""
    caption = tokens[index].meta["caption"]
    frame = el("div", class_="scrolls", tabindex=0, role="region", aria_label=caption).removesuffix("</div>")
    return f"{frame}<table>{el('caption', caption, class_='unseen')}"


def _close_table(*_: Any) -> str:
    return "</table></div>\n"


def _fence(_self: Any, tokens: Sequence[Token], index: int, *_: Any) -> str:
    return el("pre", el("code", tokens[index].content), tabindex=0)


_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
_MARKDOWN.add_render_rule("table_open", _open_table)
_MARKDOWN.add_render_rule("table_close", _close_table)
_MARKDOWN.add_render_rule("fence", _fence)
