"""The API of a gateway without sockets: memory, loads that the test ends, and a fake Apple for writes."""

import json
from collections.abc import Sequence
from typing import Any
from unittest.mock import Mock

from aiohttp import HttpVersion, HttpVersion11, StreamReader, web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict, CIMultiDictProxy
from structlog.testing import CapturingLogger

from gateway.ratings.relay import RelayedReads
from gateway.ratings.write import Writer
from gateway.telemetry.recent import RecentErrors
from gateway.telemetry.request_log import RequestLine
from gateway.web.accepted import Accepted
from gateway.web.api import Api
from gateway.web.headers import CallerCheck, Headers
from gateway.web.request_record import RequestRecord
from gateway.web.response import Reply, WholeResponse
from tests.fetch.fake_loads import USER
from tests.ratings.fake_apple import FakeApple
from tests.ratings.reads import Reads

TIMEOUT_SECONDS = 10.0


class Answer:
    """A response, taken apart."""

    def __init__(self, response: Any) -> None:
        assert isinstance(response, WholeResponse)
        head, _, self.body = response.whole.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        self.status = int(status.split()[1])
        self.headers = dict(line.split(": ", 1) for line in lines)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        code: str = self.json["errors"][0]["code"]
        return code


class ApiOnFakes:
    """An API, and what it logs, remembers and reports."""

    def __init__(self, *, caller_tokens: Sequence[str] = (), logs_hits: bool = True) -> None:
        self.reads = Reads()
        self.apple = FakeApple()
        self.writer = Writer(
            cache=self.reads.cache,
            apple=self.apple.client,
            tasks=self.reads.fake.tasks,
            clock=self.reads.clock,
            call_timeout_seconds=3.0,
        )
        self.log = CapturingLogger()
        self.recent = RecentErrors()
        self.lines: list[RequestLine] = []
        self.observed: list[tuple[RequestRecord, Reply]] = []
        self.api = Api(
            reader=self.reads.reader,
            relayed=RelayedReads(
                self.reads.reader, cache=self.reads.cache, apple=self.apple.client, clock=self.reads.clock
            ),
            writer=self.writer,
            max_ids=3,
            check_caller=CallerCheck(caller_tokens),
            request_timeout_seconds=TIMEOUT_SECONDS,
            logs_hit=lambda: logs_hits,
            clock=self.reads.clock,
            metrics=self.reads.metrics,
            log=self.log,
            request_log=self._write_lines,  # type: ignore[arg-type]
            recent=self.recent,
            observe=lambda record, reply: self.observed.append((record, reply)),
        )

    def _write_lines(self, lines: Sequence[tuple[float, RequestLine]]) -> None:
        self.lines += [line for _, line in lines]

    def begin(self, path: str, *more: tuple[str, str], method: str = "GET") -> WholeResponse | Accepted:
        return self.api.begin(method, path, headers(*more))

    def accepted(self, path: str, *more: tuple[str, str], method: str = "GET") -> Accepted:
        """Begin a request that cannot be answered at once."""
        accepted = self.begin(path, *more, method=method)
        assert isinstance(accepted, Accepted)
        return accepted

    async def send(self, method: str, path: str, body: bytes = b"", *more: tuple[str, str]) -> Answer:
        """Answer a request as if aiohttp had parsed it."""
        return Answer(await self.api.handle(request(method, path, body, *more), last=False))

    async def close(self) -> None:
        await self.reads.close()


def headers(*more: tuple[str, str], user: str | None = USER.token) -> Headers:
    """Headers of a request of `user`."""
    given = CIMultiDict(more)
    given.setdefault("Host", "gateway")
    if user is not None:
        given.add("Music-User-Token", user)
    return CIMultiDictProxy(given)


def request(
    method: str,
    path: str,
    body: bytes = b"",
    *more: tuple[str, str],
    version: HttpVersion = HttpVersion11,
) -> web.BaseRequest:
    """A request whose body has arrived."""
    payload = StreamReader(Mock(_reading_paused=False), 2**16)
    payload.feed_data(body)
    payload.feed_eof()
    return make_mocked_request(method, path, headers(*more), payload=payload, version=version)
