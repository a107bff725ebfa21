"""Renders the project's own Markdown as HTML: the API reference and the runbook."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from gateway.ops.markup import Html, el, join


def blocks(text: str) -> Html:
    """Render a text. Headings get the ids that code hosts give them."""
    tokens = _MARKDOWN.parse(text)
    heading = ""
    for number, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = tokens[number + 1].content
            token.attrSet("id", anchor(heading))
        elif token.type == "table_open":
            token.meta["caption"] = heading
    return Html(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))


def contents(text: str) -> Html:
    """Links to the `##` headings of a text, and below each to its `###`."""
    entries: list[tuple[Html, list[Html]]] = []
    tokens = _MARKDOWN.parse(text)
    for opened, inline_ in pairwise(tokens):
        if opened.type == "heading_open" and opened.markup in ("##", "###"):
            link = el("a", _breakable(inline_.content), href=f"#{anchor(inline_.content)}")
            if opened.markup == "##":
                entries.append((link, []))
            elif entries:
                entries[-1][1].append(el("li", link))
    return el("ul", [el("li", link, el("ul", below) if below else None) for link, below in entries])


def _breakable(heading: str) -> Html:
    """A narrow sidebar may break `RatingsGatewayBreakerOpen` between its words."""
    first, *others = re.split(r"(?<=[a-z])(?=[A-Z])", heading)
    return join(first, *((el("wbr"), word) for word in others))


def anchor(heading: str) -> str:
    """Id of a heading."""
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")


def _open_table(_self: Any, tokens: Sequence[Token], index: int, *_: Any) -> str:
    """Wrap a table in a scroll container, labelled by the heading above it."""
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
