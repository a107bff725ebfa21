"""Requests that aiohttp answers: malformed input, half-closed connections, shutdown; over real sockets."""

import asyncio
from typing import Any

import pytest

from gateway.web.connection import Connection
from gateway.web.heads import MAX_HEADER_BYTES, MAX_HEADERS, MAX_TARGET_BYTES
from gateway.web.listener import ApiServer
from tests.waiting import until
from tests.web.connections import turns

CHUNKED = "Transfer-Encoding: chunked\r\n"


def busy(server: ApiServer) -> bool:
    return any(isinstance(connection, Connection) and connection.busy for connection in server.connections)


class TestMalformedInput:
    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (b"\x16\x03\x01", 400),
            (b"GET / HTTP/1.1\nHost: x\n\n", 400),
            (b"malformed\r\n\r\n", 400),
            (b"GET /" + b"x" * MAX_TARGET_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
            (b"GET / HTTP/1.1\r\nX: " + b"x" * 2 * MAX_HEADER_BYTES + b"\r\n\r\n", 431),
            (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * (MAX_HEADERS + 1) + b"\r\n", 431),
        ],
        ids=["TLS", "bare line feeds", "no request line", "long target", "long header", "many headers"],
    )
    async def test_it_is_refused_and_the_connection_closed(self, caller, data, status):
        caller.writer.write(data)
        assert await caller.answer() == f"refused {status}"
        assert await caller.closed()

    async def test_a_chunked_body_that_breaks_off_ends_its_request_at_once(self, api, caller):
        caller.send("/put", method="PUT", extra="Transfer-Encoding: chunked\r\n", body=b"1\r\na\r\n")
        await until(lambda: api.handled)
        caller.writer.write(b"no size\r\n")
        assert await caller.answer() == "refused 400"
        assert await caller.closed()

    async def test_nothing_of_it_is_logged(self, caller, caplog):
        caller.writer.write(b"GET / HTTP/1.1\r\nMusic-User-Token: \0secret\r\n\r\n")
        assert await caller.answer() == "refused 400"
        assert caplog.records == []


class TestHalfClose:
    @pytest.mark.parametrize("late", [True, False])
    async def test_a_request_in_progress_is_answered_before_the_connection_closes(self, api, caller, late):
        api.stuck = asyncio.Event()
        caller.send("/delete", method="DELETE")
        if late:
            await until(lambda: api.handled)
        caller.writer.write_eof()
        await turns()
        api.stuck.set()
        assert await caller.answer() == "handled /delete 0"
        assert await caller.closed()

    async def test_a_request_that_aiohttp_has_not_begun_with_is_answered_too(self, api, caller, monkeypatch):
        finish = Connection.finish_response

        async def finish_as_the_end_is_acted_upon(self: Connection, *args: Any) -> Any:
            # What the end schedules for two turns later comes between this request and the next.
            self.eof_received()
            await turns(1)
            return await finish(self, *args)

        api.stuck = asyncio.Event()
        caller.send("/put", method="PUT", extra=CHUNKED, body=b"1\r\na\r\n0\r\n\r\n")
        await until(lambda: api.handled)
        caller.send("/delete", method="DELETE")
        await turns()
        monkeypatch.setattr(Connection, "finish_response", finish_as_the_end_is_acted_upon)
        api.stuck.set()
        assert await caller.answer() == "handled /put 1"
        assert await caller.answer() == "handled /delete 0"

    async def test_a_request_whose_body_is_incomplete_gets_no_answer(self, caller):
        caller.send("/put", method="PUT", extra="Content-Length: 5\r\n", body=b"1")
        await turns()
        caller.writer.write_eof()
        assert await caller.closed()


class TestLostConnections:
    async def test_a_request_that_was_complete_begins_before_the_connection_is_lost(
        self, api, server, caller
    ):
        await until(lambda: server.connections)
        (connection,) = server.connections
        assert isinstance(connection, Connection)
        connection.data_received(b"DELETE /x HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.look_up()
        connection.connection_lost(ConnectionResetError())
        await until(lambda: not server.connections)
        assert api.handled == ["DELETE /x"]


class TestShutdown:
    @pytest.mark.parametrize("path", ["/wait/1", "/put"])
    async def test_a_request_that_takes_longer_is_cut_off_in_time(self, api, server, caller, path):
        api.stuck = asyncio.Event()
        caller.send(path, method="PUT" if path == "/put" else "GET")
        await until(lambda: api.waiting or api.handled)
        loop = asyncio.get_running_loop()
        started = loop.time()
        await server.shutdown(0.05)
        assert loop.time() - started < 0.5
        assert await caller.closed()

    @pytest.mark.parametrize(
        ("extra", "body"),
        [
            ("Content-Length: 5\r\n", (b"12", b"345")),
            ("Connection: close\r\nContent-Length: 5\r\n", (b"12", b"345")),
            (CHUNKED, (b"2\r\n12\r\n", b"3\r\n345\r\n0\r\n\r\n")),
        ],
        ids=["kept connection", "closing connection", "chunked"],
    )
    @pytest.mark.parametrize("begun", [True, False])
    async def test_a_body_in_transit_is_still_received(self, api, server, caller, extra, body, begun):
        caller.send("/put", method="PUT", extra=extra, body=body[0])
        await until(lambda: api.handled if begun else busy(server))
        server.pre_shutdown()
        await turns()
        caller.writer.write(body[1])
        assert await caller.answer() == "handled /put 5"
        assert await caller.closed()

    @pytest.mark.parametrize("head", [b"GET /x HTTP/1.0\r\n", b"GET /x HTTP/1.1\r\nConnection: close\r\n"])
    async def test_a_head_in_transit_is_still_received(self, api, server, caller, head):
        caller.writer.write(head)
        await until(lambda: busy(server))
        server.pre_shutdown()
        caller.writer.write(b"Host: x\r\n\r\n")
        assert await caller.answer() == "handled /x 0"
        assert await caller.closed()
