"""Builds HTML from values. Text that is not `Html` is escaped, so no value can become markup."""

from collections.abc import Iterable
from html import escape

VOID = frozenset({"br", "hr", "input", "link", "meta", "wbr"})


class Html(str):
    """Text that is markup."""

    __slots__ = ()


Child = object
"""`Html` is inserted unchanged, None is skipped, iterables are joined, anything else is escaped."""


def el(tag: str, /, *children: Child, **attributes: object) -> Html:
    """Render an element. `class_` and `for_` are `class` and `for`; `_` in other names becomes `-`.

    An attribute that is None or False is left out, one that is True has no value.
    """
    shown = "".join(_attribute(key, value) for key, value in attributes.items())
    if tag in VOID:
        return Html(f"<{tag}{shown}>")
    return Html(f"<{tag}{shown}>{join(*children)}</{tag}>")


def join(*children: Child) -> Html:
    """Concatenate pieces."""
    return Html("".join(map(_piece, children)))


def with_code(text: str) -> Html:
    """Render a sentence; what is between backticks is code, as in Markdown."""
    return join(*(el("code", piece) if number % 2 else piece for number, piece in enumerate(text.split("`"))))


def table(head: Iterable[Child], rows: Iterable[Iterable[Child]], *, caption: str, class_: str = "") -> Html:
    """Render a table in a scroll container; the first cell of each row is its heading.

    The caption is for screen readers: a visible heading above says the same.
    """
    return el(
        "div",
        el(
            "table",
            el("caption", caption, class_="unseen"),
            el("thead", el("tr", [el("th", cell, scope="col") for cell in head])),
            el("tbody", [_row(row) for row in rows]),
        ),
        class_=f"scrolls {class_}".rstrip(),
        tabindex=0,
        role="region",
        aria_label=caption,
    )


def _row(row: Iterable[Child]) -> Html:
    first, *others = row
    return el("tr", el("th", first, scope="row"), [el("td", cell) for cell in others])


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def _piece(child: Child) -> str:
    match child:
        case Html():
            return child
        case None:
            return ""
        case str():
            return escape(child)
        case Iterable():
            return join(*child)
        case _:
            return escape(str(child))
