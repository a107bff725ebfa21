"""The frame of every page: navigation, stylesheet, headers."""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

from gateway.ops.markup import Child, Html, el, join


class PageLink(NamedTuple):
    """A page of the ops listener."""

    path: str
    name: str
    purpose: str


LINKS = (
    PageLink("/status", "Status", "What this gateway does, what is wrong and why."),
    PageLink(
        "/-/explain", "Explain", "Where the answer for one id of one user would come from now, and why."
    ),
    PageLink("/docs", "API reference", "Routes, parameters, errors and examples."),
    PageLink("/runbook", "Runbook", "What each alert means, and what to do."),
    PageLink("/metrics", "Metrics", "For Prometheus."),
    PageLink("/openapi.json", "OpenAPI", "The API reference for machines."),
)
PROBES = (
    PageLink("/livez", "Liveness probe", "Whether the event loop runs."),
    PageLink("/startupz", "Startup probe", "Whether the API listener accepts connections."),
    PageLink("/readyz?verbose", "Readiness probe", "Whether requests should be sent here, with every check."),
)


def page(title: str, *main: Child, here: str) -> str:
    """Render a document; `here` is its path in the navigation."""
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
                el(
                    "li",
                    el("a", link.name, href=link.path, aria_current="page" if link.path == here else None),
                )
                for link in LINKS
            ],
        ),
        aria_label="Pages",
    )


@cache
def stylesheet() -> Html:
    """The stylesheet, which every page contains."""
    return Html(asset("style.css"))


def asset(name: str) -> str:
    """A text file of this package."""
    return (files("gateway.ops") / "assets" / name).read_text(encoding="utf-8")


@cache
def headers() -> dict[str, str]:
    """Headers of every page: nothing is stored, loaded or run, except for the stylesheet."""
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
    """A list of names and values, stacked; as `tiles`, side by side."""
    return el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in pairs], class_=class_)


def section(heading: str, *children: Child, id_: str) -> Html:
    """A section with a second-level heading."""
    return el(
        "section",
        join(el("h2", heading, id=f"{id_}-heading"), *children),
        id=id_,
        aria_labelledby=f"{id_}-heading",
    )


def labelled(text: str, field: Html) -> Html:
    """A form field inside its label."""
    return el("label", el("span", text), field)


def secret(name: str) -> Html:
    """A field that the browser neither shows nor remembers."""
    return el("input", type="password", name=name, required=True, autocomplete="off")
