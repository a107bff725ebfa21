"""Routes under `/_sandbox/` that control the sandbox over HTTP, in JSON.

GET    /_sandbox/                    this page
GET    /_sandbox/credentials         team id, key id, generated private key, and base URL
GET    /_sandbox/developer-token     a developer token, valid for an hour, as plain text
POST   /_sandbox/keys                trust {"team_id", "key_id", "public_key_pem"}
DELETE /_sandbox/keys/{id}           distrust a key: its developer tokens are answered 401
GET    /_sandbox/users               every user with token, label, standing and ratings
POST   /_sandbox/users               {"token", "label"?, "standing"?, "ratings"?: {type: {id: 1 | -1}}}
POST   /_sandbox/ratings             {"user": token or label, "type", "id", "value": 1 | -1 | null}
POST   /_sandbox/pairs               {"type", "id", "library_id"}: keep a catalog and a library id in step
GET    /_sandbox/faults              armed faults, how often each fired, how many calls wait
POST   /_sandbox/faults              arm {"effect": {"name", ...}, "where"?, "times"?, "fraction"?}
DELETE /_sandbox/faults              disarm all
DELETE /_sandbox/faults/{id}         disarm one
POST   /_sandbox/faults/{id}/release release waiting calls; {"calls": n}: the oldest n
GET    /_sandbox/calls               the journal of calls; ?limit=n: the newest n
DELETE /_sandbox/calls               clear the journal
POST   /_sandbox/reset               restore users, ratings, pairs and keys; no faults, no calls
"""

from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

import msgspec
from aiohttp import web

from gateway.model import Kind
from gateway.sandbox.arming import Armed
from gateway.sandbox.credentials import TrustedKey
from gateway.sandbox.faults import EFFECTS, Fault
from gateway.sandbox.state import SandboxState
from gateway.sandbox.store import Standing

T = TypeVar("T")
ControlHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class NewUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: str
    label: str | None = None
    standing: Standing = Standing.ACTIVE
    ratings: dict[Kind, dict[str, Literal[1, -1]]] = {}


class NewRating(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user: str
    kind: Kind = msgspec.field(name="type")
    id: str
    value: Literal[1, -1] | None


class NewPair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: Kind = msgspec.field(name="type")
    id: str
    library_id: str


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    calls: int | None = None


class Control:
    """The handlers; each calls one method of the state."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    def routes(self) -> list[web.RouteDef]:
        table: list[tuple[str, str, ControlHandler]] = [
            ("GET", "", self._index),
            ("GET", "credentials", self._credentials),
            ("GET", "developer-token", self._developer_token),
            ("POST", "keys", self._trust),
            ("DELETE", "keys/{id}", self._distrust),
            ("GET", "users", self._users),
            ("POST", "users", self._add_user),
            ("POST", "ratings", self._rate),
            ("POST", "pairs", self._pair),
            ("GET", "faults", self._faults),
            ("POST", "faults", self._arm),
            ("DELETE", "faults", self._disarm_all),
            ("DELETE", "faults/{id}", self._disarm),
            ("POST", "faults/{id}/release", self._release),
            ("GET", "calls", self._calls),
            ("DELETE", "calls", self._forget_calls),
            ("POST", "reset", self._reset),
        ]
        return [
            web.route(method, f"/_sandbox/{path}", _answering(handler)) for method, path, handler in table
        ]

    async def _index(self, _: web.Request) -> web.Response:
        return web.Response(text=f"{__doc__}\n{_effects()}")

    async def _credentials(self, request: web.Request) -> web.Response:
        credentials = self._state.credentials
        if not self._state.serve_credentials:
            raise web.HTTPForbidden(text="The private key was given to the sandbox, so it is not served")
        return _json(
            {
                "base_url": str(request.url.origin()),
                "team_id": credentials.team_id,
                "key_id": credentials.key_id,
                "private_key": credentials.private_key_pem,
            }
        )

    async def _developer_token(self, _: web.Request) -> web.Response:
        return web.Response(text=self._state.developer_token())

    async def _trust(self, request: web.Request) -> web.Response:
        self._state.tokens.trust(await _body(request, TrustedKey))
        return web.Response(status=204)

    async def _distrust(self, request: web.Request) -> web.Response:
        self._state.tokens.distrust(request.match_info["id"])
        return web.Response(status=204)

    async def _users(self, _: web.Request) -> web.Response:
        return _json({"users": self._state.users()})

    async def _add_user(self, request: web.Request) -> web.Response:
        user = await _body(request, NewUser)
        self._state.add_user(user.token, label=user.label, standing=user.standing, ratings=user.ratings)
        return _json({"added": self._state.store.label(user.token)}, status=201)

    async def _rate(self, request: web.Request) -> web.Response:
        rating = await _body(request, NewRating)
        self._state.rate(rating.user, rating.kind, rating.id, rating.value)
        return _json({"rated": rating.id})

    async def _pair(self, request: web.Request) -> web.Response:
        pair = await _body(request, NewPair)
        self._state.store.pair(pair.kind, pair.id, pair.library_id)
        return _json({"paired": [pair.id, pair.library_id]}, status=201)

    async def _faults(self, _: web.Request) -> web.Response:
        return _json({"faults": [_shown(armed) for armed in self._state.faults]})

    async def _arm(self, request: web.Request) -> web.Response:
        return _json(_shown(self._state.faults.arm(await _body(request, Fault))), status=201)

    async def _disarm_all(self, _: web.Request) -> web.Response:
        self._state.faults.clear()
        return web.Response(status=204)

    async def _disarm(self, request: web.Request) -> web.Response:
        self._state.faults.remove(request.match_info["id"])
        return web.Response(status=204)

    async def _release(self, request: web.Request) -> web.Response:
        armed = self._state.faults[request.match_info["id"]]
        armed.release((await _body(request, Release)).calls if request.can_read_body else None)
        return _json(_shown(armed))

    async def _calls(self, request: web.Request) -> web.Response:
        journal = self._state.calls
        limit = int(request.query.get("limit", len(journal)))
        return _json(
            {
                "total": journal.total,
                "in_flight": journal.in_flight,
                "max_in_flight": journal.max_in_flight,
                "doubles": list(journal.doubles),
                "calls": list(journal)[-limit:] if limit > 0 else [],
            }
        )

    async def _forget_calls(self, _: web.Request) -> web.Response:
        self._state.calls.clear()
        return web.Response(status=204)

    async def _reset(self, _: web.Request) -> web.Response:
        self._state.reset()
        return web.Response(status=204)


def _answering(handler: ControlHandler) -> ControlHandler:
    """Answer invalid requests with 404 or 400, and the reason."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except KeyError as error:
            return _json({"error": f"unknown: {error}"}, status=404)
        except (msgspec.MsgspecError, ValueError) as error:
            return _json({"error": str(error)}, status=400)

    return answer


def _effects() -> str:
    """The table of effects: what each does, and a body that arms it."""
    rows = []
    for effect in EFFECTS:
        meaning = " ".join((type(effect).__doc__ or "").split())
        rows.append(f"{meaning}\n  {msgspec.json.encode({'effect': effect}).decode()}")
    return (
        "Effects, each with a body for POST /_sandbox/faults. Optional beside `effect`: `times` (the first n "
        "calls),\n`fraction` (of the calls) and `where`: method, type, user, id, many, query.\n\n"
        + "\n".join(rows)
        + "\n"
    )


async def _body(request: web.Request, kind: type[T]) -> T:
    return msgspec.json.decode(await request.read(), type=kind)


def _shown(armed: Armed) -> dict[str, object]:
    return {"id": armed.id, "fired": armed.fired, "waiting": armed.waiting, "fault": armed.fault}


def _json(document: object, *, status: int = 200) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(document), headers={"Content-Type": "application/json"}
    )
