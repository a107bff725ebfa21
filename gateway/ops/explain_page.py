"""Pages that explain where the answer for one id would come from, and the form that requests them. Pure.

A browser's form cannot send headers, so it posts the user token, and the ops token if one is set. No page
contains either.
"""

from collections.abc import Mapping
from typing import Any

from gateway.model import Kind
from gateway.ops.formatting import duration
from gateway.ops.markup import Html, el
from gateway.ops.page import facts, labelled, page, secret, section

SOURCES = {"local": "this process", "shared": "Redis", "upstream": "Apple"}
RATINGS = {1: "1 (liked)", -1: "-1 (disliked)", None: "none (unrated)"}
STATES = {
    "fresh": "fresh: served as a hit",
    "revalidate": "stale: served at once and refreshed in the background",
    "if_error": "stale: served only if Apple fails",
    "gone": "too old to be served",
}


def form(*, asks_ops_token: bool, kind: str = Kind.ALBUMS, id_: str = "") -> Html:
    """The form; it is filled in with type and id, never with a token."""
    options = [el("option", each.value, selected=each == kind) for each in Kind]
    id_field = el(
        "input", type="text", name="id", value=id_, required=True, spellcheck="false", autocomplete="off"
    )
    return el(
        "form",
        labelled("Type", el("select", options, name="type")),
        labelled("Id", id_field),
        labelled("Music user token", secret("user_token")),
        labelled("Ops token", secret("ops_token")) if asks_ops_token else None,
        el("button", "Explain", type="submit"),
        method="post",
        action="/-/explain",
        autocomplete="off",
    )


def question_page(question: Html) -> str:
    """The form alone."""
    return page(
        "Explain",
        el("h1", "Explain one id"),
        el("p", "Where the answer for one id of one user would come from now, and why. Nothing is fetched."),
        question,
        here="/-/explain",
    )


def answer_page(answer: Mapping[str, Any], *, asks_ops_token: bool) -> str:
    """The answer of `Explainer.explain` in words."""
    kind, id_ = str(answer["type"]), str(answer["id"])
    hold = answer["hold"]
    return page(
        f"{kind} {id_}",
        el("h1", "Where the answer comes from"),
        el("p", el("code", f"{kind} {id_}"), " of user ", el("code", answer["user"]), ".", class_="lead"),
        section(
            "Now",
            el("p", answer["why"]),
            facts(
                ("Comes from", SOURCES[answer["source"]]),
                ("Refreshed by top-up, not requested since", "yes" if answer["top_up"] else "no"),
                ("Written value held", "no" if hold is None else _held(hold)),
                ("Being fetched", "yes" if answer["in_flight"] else "no"),
                ("Calls of this user stopped", _stopped(answer)),
            ),
            id_="now",
        ),
        section("Served entry", _entry(answer["entry"]), id_="entry"),
        section("If Apple fails", _if_apple_fails(answer), id_="stale"),
        section("Entry in this process", _entry(answer["local"]), id_="local"),
        section("Explain another id", form(asks_ops_token=asks_ops_token, kind=kind, id_=id_), id_="again"),
        here="/-/explain",
    )


def _stopped(answer: Mapping[str, Any]) -> str:
    if answer["quarantined"]:
        return "yes: Apple refused the user token moments ago"
    if not answer["isolated"]:
        return "no"
    return f"{' and '.join(answer['isolated'])}: Apple failed for this user alone moments ago"


def _held(hold: Mapping[str, Any]) -> str:
    return f"{RATINGS[hold['rating']]}, for another {hold['for_seconds']:.1f} s"


def _if_apple_fails(answer: Mapping[str, Any]) -> Html:
    """A fresh entry keeps its role after its freshness: until then Apple is not called."""
    if answer["entry"] is None:
        return _entry(answer["stale"])
    return el(
        "p",
        "The same entry is served, until ",
        el("code", "cache.stale_if_error_seconds"),
        " after the end of its freshness.",
    )


def fault_page(fault: str, again: Html | None) -> str:
    """What is wrong with the request, and the form if another try makes sense."""
    return page(
        "Explain one id",
        el("h1", "Explain one id"),
        el("p", fault, class_="finding failing", role="alert"),
        again,
        here="/-/explain",
    )


def _entry(entry: Mapping[str, Any] | None) -> Html:
    if entry is None:
        return el("p", "None.")
    fresh_for = float(entry["fresh_for_seconds"])
    return facts(
        ("Rating", RATINGS[entry["rating"]]),
        ("Known for", duration(entry["age_seconds"])),  # from an answer of Apple's, or from a write
        (
            "Fresh",
            f"for {duration(fresh_for)} more" if fresh_for > 0 else f"until {duration(-fresh_for)} ago",
        ),
        ("State", STATES[entry["state"]]),
        ("Trusted", "yes" if entry["trusted"] else "no: an invalidation may have been missed since"),
    )
