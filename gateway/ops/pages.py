"""Handlers of the pages for people: index, status, reference, runbook, explain."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from aiohttp import web

from gateway.model import Id, Kind, User
from gateway.ops.access import OpsAccess, require_own_origin
from gateway.ops.explain_page import answer_page, fault_page, form, question_page
from gateway.ops.markup import Html, el
from gateway.ops.page import LINKS, PROBES, PageLink, asset, facts, headers, page, section
from gateway.ops.request_fields import kind_and_id, user_of, wants_html
from gateway.ops.status.render import REFRESH_SECONDS, as_json, render
from gateway.ops.status.snapshot import AccessView, Snapshot
from gateway.user_token import user_tokens

Explain = Callable[[User, Kind, Id], Awaitable[Mapping[str, Any]]]


class Pages:
    """The handlers. `snapshot` takes a snapshot of the status, `urls` are those of API and ops listener."""

    def __init__(
        self,
        *,
        access: OpsAccess,
        snapshot: Callable[[AccessView], Snapshot],
        urls: Callable[[], tuple[str, str]],
        explain: Explain,
    ) -> None:
        self._access = access
        self._snapshot = snapshot
        self._urls = urls
        self._explain = explain

    def routes(self) -> list[web.RouteDef]:
        """The routes of the ops listener."""
        return [
            web.get("/", _index),
            web.get("/status", self._status),
            web.post("/status", self._status_for_token),
            web.get("/docs", self._docs),
            web.get("/openapi.json", self._openapi),
            web.get("/runbook", _runbook),
            web.get("/-/explain", self._explain_id),
            web.post("/-/explain", self._explain_form),
        ]

    async def _status(self, request: web.Request) -> web.Response:
        require_own_origin(request)
        granted = self._access.granted(request)
        snapshot = self._snapshot(AccessView(granted=granted, token_set=self._access.token_set))
        if request.query.get("format") == "json":
            return web.Response(
                body=as_json(snapshot), content_type="application/json", headers={"Cache-Control": "no-store"}
            )
        refreshing = "refresh" in request.query
        response = _html(render(snapshot, refreshing=refreshing))
        if refreshing:
            response.headers["Refresh"] = f"{REFRESH_SECONDS}; url=/status?refresh"
        return response

    async def _status_for_token(self, request: web.Request) -> web.Response:
        """A browser cannot send the ops token as a header, but a form can post it."""
        require_own_origin(request)
        granted = await self._granted_by_form(request)
        view = AccessView(granted=granted, token_set=self._access.token_set, refused=not granted)
        return _html(render(self._snapshot(view)), status=200 if granted else 401)

    async def _docs(self, _: web.Request) -> web.Response:
        # In a thread, and cached: rendering takes as long as dozens of hits.
        return _html(await asyncio.to_thread(reference_page, *self._urls()))

    async def _openapi(self, _: web.Request) -> web.Response:
        body = await asyncio.to_thread(openapi, *self._urls())
        return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-cache"})

    async def _explain_id(self, request: web.Request) -> web.Response:
        html = wants_html(request)
        if html and not request.query:
            return self._question()
        try:
            self._access.require(request)
            user = user_of(user_tokens(request.headers))
            kind, id_ = kind_and_id(request.query)
        except web.HTTPClientError as fault:
            if html:
                return self._fault(fault, request.query)
            raise
        answer = await self._explain(user, kind, id_)
        if html:
            return _html(answer_page(answer, asks_ops_token=self._access.token_set))
        return web.json_response(answer)

    def _question(self) -> web.Response:
        """The empty form. It shows nothing, so it needs no token."""
        return _html(question_page(form(asks_ops_token=self._access.token_set)))

    async def _explain_form(self, request: web.Request) -> web.Response:
        require_own_origin(request)
        named = await _fields(request)
        if not await self._granted_by_form(request):
            return self._fault(self._access.refusal(), named)
        try:
            user = user_of([named.get("user_token", "")])
            kind, id_ = kind_and_id(named)
        except web.HTTPBadRequest as fault:
            return self._fault(fault, named)
        answer = await self._explain(user, kind, id_)
        return _html(answer_page(answer, asks_ops_token=self._access.token_set))

    async def _granted_by_form(self, request: web.Request) -> bool:
        presented = (await _fields(request)).get("ops_token", "").strip()
        return self._access.granted(request) or self._access.admits(presented)

    def _fault(self, fault: web.HTTPException, named: Mapping[str, str]) -> web.Response:
        again = None
        if not isinstance(fault, web.HTTPForbidden):
            kind, id_ = named.get("type", Kind.ALBUMS), named.get("id", "")
            again = form(asks_ops_token=self._access.token_set, kind=kind, id_=id_)
        response = _html(fault_page(fault.text or fault.reason, again), status=fault.status)
        if isinstance(fault, web.HTTPUnauthorized):
            response.headers["WWW-Authenticate"] = fault.headers["WWW-Authenticate"]
        return response


@lru_cache(maxsize=1)
def reference_page(api_url: str, ops_url: str) -> str:
    """The API reference as a page; slow, so it belongs in a thread."""
    # Not needed to start: the gateway is ready tens of milliseconds earlier.
    from gateway.ops.openapi import document  # noqa: PLC0415
    from gateway.ops.reference import reference  # noqa: PLC0415

    return _document_page("API reference", reference(document(api_url, ops_url)), here="/docs")


@lru_cache(maxsize=1)
def openapi(api_url: str, ops_url: str) -> bytes:
    """The OpenAPI document as JSON, in its own order."""
    from gateway.ops.openapi import document  # noqa: PLC0415 - as above

    return json.dumps(document(api_url, ops_url), ensure_ascii=False).encode()


@lru_cache(maxsize=1)
def runbook_page() -> str:
    """The runbook as a page; slow as well."""
    return _document_page("Runbook", asset("runbook.md"), here="/runbook")


def _document_page(title: str, text: str, *, here: str) -> str:
    """A page of Markdown with its headings in a sidebar."""
    from gateway.ops import markdown  # noqa: PLC0415 - as above

    return page(
        title,
        el(
            "div",
            el("nav", markdown.contents(text), aria_label="On this page", class_="sidebar"),
            el("article", markdown.blocks(text)),
            class_="document",
        ),
        here=here,
    )


async def _index(_: web.Request) -> web.Response:
    return _html(
        page(
            "Ops",
            el("h1", "ratings-gateway"),
            section("Pages", _links(LINKS), id_="pages"),
            section("Probes", _links(PROBES), id_="probes"),
            here="/",
        )
    )


def _links(links: Iterable[PageLink]) -> Html:
    return facts(*((el("a", link.name, href=link.path), link.purpose) for link in links))


async def _runbook(_: web.Request) -> web.Response:
    return _html(await asyncio.to_thread(runbook_page))


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(status=status, text=text, content_type="text/html", headers=headers())


async def _fields(request: web.Request) -> dict[str, str]:
    """The fields of a form; other content types have none."""
    if request.content_type != "application/x-www-form-urlencoded":
        return {}
    try:
        return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    except (UnicodeDecodeError, LookupError):
        return {}
