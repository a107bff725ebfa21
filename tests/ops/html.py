"""Just enough of a browser to check a page's structure."""

from html.parser import HTMLParser
from typing import NamedTuple

VOID = {"br", "hr", "img", "input", "link", "meta", "wbr"}


class Element(NamedTuple):
    tag: str
    attributes: dict[str, str | None]
    path: tuple[str, ...]
    """The tags around it, outermost first."""


class Document(HTMLParser):
    """A parsed page: its elements in order, its text, and whether its tags are balanced."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.elements: list[Element] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        self.elements.append(Element(tag, dict(attrs), tuple(self._open)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data

    def all(self, *tags: str) -> list[Element]:
        return [element for element in self.elements if element.tag in tags]

    def values(self, attribute: str) -> list[str]:
        return [
            found for element in self.elements if (found := element.attributes.get(attribute)) is not None
        ]
