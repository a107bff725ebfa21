"""Parses requests to the ops listener: user, type, id, accepted format."""

from collections.abc import Iterable, Mapping

from aiohttp import web

from gateway.model import Id, Kind, User
from gateway.user_token import is_valid


def user_of(tokens: Iterable[str]) -> User:
    """The user of the only token. Raises 400 for none, several, or an invalid one."""
    given = [token.strip() for token in tokens]
    if len(given) != 1 or not given[0] or not is_valid(given[0]):
        raise web.HTTPBadRequest(text="Send exactly one Music-User-Token.\n")
    return User.of(given[0])


def kind_and_id(named: Mapping[str, str]) -> tuple[Kind, Id]:
    """The `type` (default albums) and `id`. Raises 400."""
    kind = kind_of(named.get("type", Kind.ALBUMS))
    id_ = named.get("id", "").strip()
    if not kind.admits(id_):
        raise web.HTTPBadRequest(text=f"id must be a valid id of type {kind}.\n")
    return kind, Id(id_)


def kind_of(name: str) -> Kind:
    """The type of that name. Raises 400."""
    try:
        return Kind(name)
    except ValueError:
        raise web.HTTPBadRequest(text=f"Unknown type {name[:80]!r}; known: {', '.join(Kind)}.\n") from None


def wants_html(request: web.Request) -> bool:
    """Whether the answer should be a page: a browser accepts `text/html`, a script does not."""
    return "text/html" in request.headers.get("Accept", "").lower()
