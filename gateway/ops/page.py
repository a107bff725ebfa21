"""What all pages have in common: the frame, the stylesheet, and the headers that keep them to themselves."""

from base64 import b64encode
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from importlib.resources import files

from gateway.ops.markup import Child, Html, el, join

LINKS = (
    ("/status", "Status"),
    ("/docs", "API reference"),
    ("/runbook", "Runbook"),
    ("/metrics", "Metrics"),
    ("/openapi.json", "OpenAPI"),
)
PROBES = (
    ("/livez", "Liveness probe"),
    ("/startupz", "Startup probe"),
    ("/readyz?verbose", "Readiness probe, with its checks"),
)


def page(title: str, *main: Child, here: str) -> str:
    """A whole document; `here` is the path of its entry in the navigation, where it has one."""
    return "<!DOCTYPE html>\n" + el(
        "html",
        el(
            "head",
            el("meta", charset="utf-8"),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("meta", name="color-scheme", content="light dark"),
            el("title", f"{title} · ratings-gateway"),
            el("link", rel="icon", href="data:,"),
            el("style", stylesheet()),
        ),
        el(
            "body",
            el("a", "Skip to the content", href="#content", class_="skip"),
            el("header", el("p", "ratings-gateway", class_="name"), _navigation(here)),
            el("main", *main, id="content"),
        ),
        lang="en",
    )


def _navigation(here: str) -> Html:
    return el(
        "nav",
        el(
            "ul",
            [
                el("li", el("a", name, href=path, aria_current="page" if path == here else None))
                for path, name in LINKS
            ],
        ),
        aria_label="Pages",
    )


def link_list(links: Iterable[tuple[str, str]]) -> Html:
    """Links, each a path and its name, one below the other."""
    return el("ul", [el("li", el("a", name, href=path)) for path, name in links])


@cache
def stylesheet() -> Html:
    """The stylesheet that every page carries within itself."""
    return Html(asset("style.css"))


def asset(name: str) -> str:
    """A text file that comes with the package."""
    return (files("gateway.ops") / "assets" / name).read_text(encoding="utf-8")


@cache
def headers() -> dict[str, str]:
    """For every page: nothing is kept, nothing is loaded, nothing runs but the one stylesheet."""
    digest = b64encode(sha256(stylesheet().encode()).digest()).decode()
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        ),
        # Not "no-referrer": with it a browser sends `Origin: null` with a form, even to its own origin.
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }


def facts(*pairs: tuple[Child, Child], class_: str = "facts") -> Html:
    """A list of names and values, one below the other; as `tiles`, side by side."""
    return el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in pairs], class_=class_)


def section(heading: str, *children: Child, id_: str) -> Html:
    """A part of a page under a heading of the second level."""
    return el(
        "section",
        join(el("h2", heading, id=f"{id_}-heading"), *children),
        id=id_,
        aria_labelledby=f"{id_}-heading",
    )


def labelled(text: str, field: Html) -> Html:
    """A form's field: the label stands around it, so that neither can lose the other."""
    return el("label", el("span", text), field)


def secret(name: str) -> Html:
    """A field whose value is neither shown, nor kept, nor filled in by the browser."""
    return el("input", type="password", name=name, required=True, autocomplete="off")
