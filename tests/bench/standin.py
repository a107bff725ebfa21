"""Stand-in for Apple's ratings API, fast enough for the load of a bench.

Run as `python -m tests.bench.standin PORT CALL_MS ID_MS RATED_PERCENT`: a call takes `CALL_MS`, and `ID_MS`
more for each id. Ratings follow from user, type and id until they are written. `GET /_calls` counts.
"""

import asyncio
import sys
from urllib.parse import unquote

import msgspec
import uvloop
from aiohttp import web

from tests.bench.population import RATINGS, initial_value

UNRATED = (
    b'{"errors":[{"id":"X","title":"Resource Not Found","detail":"Resource with requested id was not found",'
    b'"status":"404","code":"40400"}]}'
)


class Standin:
    """Answers every user and every developer token."""

    def __init__(self, call_ms: float, id_ms: float, rated_percent: int) -> None:
        self._call_seconds = call_ms / 1_000
        self._id_seconds = id_ms / 1_000
        self._rated_percent = rated_percent
        self._written: dict[tuple[str, str, str], int] = {}
        self._reads = self._writes = self._ids = self._in_flight = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/_calls":
            return web.json_response(
                {"reads": self._reads, "writes": self._writes, "ids": self._ids, "in_flight": self._in_flight}
            )
        kind, _, one = request.path.removeprefix(RATINGS).strip("/").partition("/")
        asked = [one] if one else unquote(request.query_string.partition("ids=")[2]).split(",")
        self._in_flight += 1
        try:
            if seconds := self._call_seconds + self._id_seconds * len(asked):
                await asyncio.sleep(seconds)
            user = request.headers["Music-User-Token"]
            if request.method == "GET":
                return self._read(user, kind, asked, alone=bool(one))
            return self._write(user, kind, one, request.method, await request.read())
        finally:
            self._in_flight -= 1

    def _read(self, user: str, kind: str, asked: list[str], *, alone: bool) -> web.Response:
        self._reads += 1
        self._ids += len(asked)
        resources = []
        for id_ in asked:
            value = self._written.get((user, kind, id_))
            if value is None:
                value = initial_value(user, kind, id_, self._rated_percent)
            if value:
                resources.append(_resource(kind, id_, value))
        if alone and not resources:
            return web.Response(body=UNRATED, status=404, content_type="application/json")
        return _ratings(resources)

    def _write(self, user: str, kind: str, id_: str, method: str, body: bytes) -> web.Response:
        self._writes += 1
        if method == "DELETE":
            self._written[user, kind, id_] = 0
            return web.Response(status=204)
        value = self._written[user, kind, id_] = msgspec.json.decode(body)["attributes"]["value"]
        return _ratings([_resource(kind, id_, value)])


def _resource(kind: str, id_: str, value: int) -> str:
    return (
        f'{{"id":"{id_}","type":"ratings","href":"{RATINGS}/{kind}/{id_}","attributes":{{"value":{value}}}}}'
    )


def _ratings(resources: list[str]) -> web.Response:
    body = f'{{"data":[{",".join(resources)}]}}'.encode()
    return web.Response(body=body, content_type="application/json")


async def serve(port: int, standin: Standin) -> None:
    """Answer on 127.0.0.1 until the process is ended."""
    runner = web.ServerRunner(web.Server(standin.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    port, call_ms, id_ms, rated_percent = sys.argv[1:]
    uvloop.run(serve(int(port), Standin(float(call_ms), float(id_ms), int(rated_percent))))
