"""Where the answer for one id would come from, in words; and the form that asks. Pure.

A browser's form cannot send headers, so it posts the user token, and the ops token where one is set. Neither
comes back in a page.
"""

from collections.abc import Mapping
from typing import Any

from gateway.model import Kind
from gateway.ops.markup import Html, el
from gateway.ops.page import facts, labelled, page, secret, section
from gateway.ops.words import duration

SOURCES = {"local": "this process", "shared": "Redis", "upstream": "Apple"}
RATINGS = {1: "1 (liked)", -1: "-1 (disliked)", None: "none (unrated)"}
STATES = {
    "fresh": "fresh: served as a hit",
    "revalidate": "stale: served at once and refreshed behind the answer",
    "if_error": "stale: served only where Apple fails",
    "gone": "too old to be of use",
}


def form(*, asks_ops_token: bool, kind: str = Kind.ALBUMS, id_: str = "") -> Html:
    """The question; it keeps what was asked, but for the tokens."""
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


def answer_page(answer: Mapping[str, Any], *, asks_ops_token: bool) -> str:
    """What `Explainer.explain` said, in words."""
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
                ("Written value held", "no" if hold is None else _held(hold)),
                ("Being fetched", "yes" if answer["in_flight"] else "no"),
                ("User token quarantined", "yes" if answer["quarantined"] else "no"),
            ),
            id_="now",
        ),
        section("The entry that answers", _entry(answer["entry"]), id_="entry"),
        section("Where Apple fails", _entry(answer["stale"]), id_="stale"),
        section("What this process has", _entry(answer["local"]), id_="local"),
        section("Ask again", form(asks_ops_token=asks_ops_token, kind=kind, id_=id_), id_="again"),
        here="/-/explain",
    )


def _held(hold: Mapping[str, Any]) -> str:
    return f"{RATINGS[hold['rating']]}, for {hold['for_seconds']:.1f} s yet"


def fault_page(fault: str, again: Html | None) -> str:
    """What was wrong with the question, and the form where asking again makes sense."""
    return page(
        "Explain one id",
        el("h1", "Explain one id"),
        el("p", fault, class_="finding failing", role="alert"),
        again,
        here="/-/explain",
    )


def _entry(entry: Mapping[str, Any] | None) -> Html:
    if entry is None:
        return el("p", "Nothing.")
    fresh_for = float(entry["fresh_for_seconds"])
    return facts(
        ("Rating", RATINGS[entry["rating"]]),
        ("Said by Apple", f"{duration(entry['age_seconds'])} ago"),
        (
            "Fresh",
            f"for {duration(fresh_for)} more" if fresh_for > 0 else f"until {duration(-fresh_for)} ago",
        ),
        ("State", STATES[entry["state"]]),
        ("Believed", "yes" if entry["believed"] else "no: news may have been missed since it came in"),
    )
