"""Which requests a connection answers itself, and which it leaves to aiohttp; over real sockets."""

import asyncio
import gc
from typing import Any

import pytest

from gateway.web import timers
from gateway.web.connection import Connection
from tests.waiting import until
from tests.web.connections import transport_of, turns

UPGRADE = (
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
)
"""What some clients send with their first request; it is answered as if these headers were not there."""


class TestPlainGets:
    async def test_they_are_answered_without_aiohttp(self, api, caller):
        caller.send("/hit")
        assert await caller.answer() == "hit"
        caller.send("/wait/1")
        (await api.asked("/wait/1")).set_result(None)
        assert await caller.answer() == "waited /wait/1"
        assert api.handled == []

    async def test_head_is_answered_without_aiohttp(self, api, caller):
        caller.send("/hit", method="HEAD")
        assert await caller.answer(bodiless=True) == ""
        caller.send("/hit")
        assert await caller.answer() == "hit"
        assert api.handled == []

    async def test_a_head_in_pieces_is_joined(self, api, caller):
        for byte in b"GET /hit HTTP/1.1\r\nHost: x\r\n\r\n":
            caller.writer.write(bytes([byte]))
            await turns(3)
        assert await caller.answer() == "hit"
        assert api.handled == []

    async def test_a_waiting_request_does_not_block_other_connections(self, api, dial, caller):
        caller.send("/wait/1")
        await api.asked("/wait/1")
        other = await dial()
        other.send("/hit")
        assert await other.answer() == "hit"

    async def test_an_answer_without_keep_alive_closes_the_connection(self, api, caller):
        api.keep_alive = False
        caller.send("/hit")
        assert await caller.answer() == "hit"
        assert await caller.closed()


class TestHandingOver:
    @pytest.mark.parametrize("together", [True, False])
    async def test_aiohttp_answers_a_request_with_a_body_but_not_the_next_get(self, api, caller, together):
        for _ in range(2):
            caller.send(
                "/put", method="PUT", extra="Content-Length: 5\r\n", body=b"12345" if together else b""
            )
            if not together:
                await turns()
                caller.writer.write(b"12")
                await turns()
                caller.writer.write(b"345")
            assert await caller.answer() == "handled /put 5"
            caller.send("/hit")
            assert await caller.answer() == "hit"
        assert api.handled == ["PUT /put"] * 2

    @pytest.mark.parametrize(
        ("extra", "body"), [("Transfer-Encoding: chunked\r\n", b"1\r\na\r\n0\r\n\r\n")], ids=["chunked"]
    )
    async def test_after_a_chunked_body_aiohttp_keeps_the_connection(self, api, caller, extra, body):
        caller.send("/put", method="PUT", extra=extra, body=body)
        assert await caller.answer() == "handled /put 1"
        caller.send("/hit")
        assert await caller.answer() == "handled /hit 0"

    @pytest.mark.parametrize("together", [True, False])
    async def test_requests_behind_one_that_was_handed_over_are_answered_in_order(
        self, api, caller, together
    ):
        api.stuck = asyncio.Event()
        caller.send("/put", method="PUT", extra="Content-Length: 5\r\n", body=b"12345" if together else b"12")
        if not together:
            await until(lambda: api.handled)
            caller.writer.write(b"345")
        caller.send("/hit")
        caller.send("/delete", method="DELETE")
        caller.send("/hit")
        await until(lambda: api.handled)
        api.stuck.set()
        expected = ["handled /put 5", "hit", "handled /delete 0", "hit"]
        assert [await caller.answer() for _ in expected] == expected

    async def test_much_behind_a_request_of_aiohttps_is_not_read(self, api, server, caller):
        api.stuck = asyncio.Event()
        caller.send("/delete", method="DELETE")
        await until(lambda: api.handled)
        caller.send("/hit", extra="X: y\r\n" * 10)
        await until(lambda: not transport_of(server).is_reading())
        api.stuck.set()
        assert await caller.answer() == "handled /delete 0"
        assert await caller.answer() == "hit"

    async def test_what_follows_a_request_whose_body_was_not_read_is_answered_after_it(self, api, caller):
        api.reads_bodies = False
        body = b"x" * 100_000
        caller.send("/put", method="PUT", extra=f"Content-Length: {len(body)}\r\n", body=body[:1000])
        await until(lambda: api.handled)
        caller.writer.write(body[1000:])
        caller.send("/hit")
        assert await caller.answer() == "handled /put 0"
        assert await caller.answer() in ("hit", "handled /hit 0")


class TestUpgrades:
    async def test_one_that_is_not_made_loses_nothing_of_what_follows(self, api, caller):
        caller.send("/hit", extra=UPGRADE)
        caller.send("/put", method="PUT", extra=UPGRADE + "Content-Length: 5\r\n", body=b"12345")
        caller.send("/hit")
        assert [await caller.answer() for _ in range(3)] == ["hit", "handled /put 5", "hit"]

    @pytest.mark.parametrize("earlier", [True, False])
    async def test_a_connection_that_aiohttp_keeps_is_closed_after_one(self, api, caller, earlier):
        chunked = {"method": "PUT", "body": b"1\r\na\r\n0\r\n\r\n"}
        if earlier:
            caller.send("/put", **chunked, extra="Transfer-Encoding: chunked\r\n")
            assert await caller.answer() == "handled /put 1"
            caller.send("/delete", method="DELETE", extra=UPGRADE)
            assert await caller.answer() == "handled /delete 0"
        else:
            caller.send("/put", **chunked, extra=UPGRADE + "Transfer-Encoding: chunked\r\n")
            assert await caller.answer() == "handled /put 1"
        assert await caller.closed()


class TestInputDuringAnAnswer:
    @pytest.mark.parametrize("behind", [("/hit",), ("/wait/2",), ("/hit", "/wait/2", "/hit")])
    @pytest.mark.parametrize("together", [True, False])
    async def test_requests_are_answered_afterwards_in_order(self, api, caller, behind, together):
        if together:
            caller.send("/wait/1", *behind)
        else:
            caller.send("/wait/1")
            for path in behind:
                await turns()
                caller.send(path)
        (await api.asked("/wait/1")).set_result(None)
        assert await caller.answer() == "waited /wait/1"
        for path in behind:
            if path == "/hit":
                assert await caller.answer() == "hit"
            else:
                (await api.asked(path)).set_result(None)
                assert await caller.answer() == f"waited {path}"
        caller.send("/hit")
        assert await caller.answer() == "hit"

    async def test_malformed_input_is_refused_after_the_answer(self, api, caller):
        caller.send("/wait/1")
        waiting = await api.asked("/wait/1")
        caller.writer.write(b"malformed\r\n\r\n")
        await turns()
        waiting.set_result(None)
        assert await caller.answer() == "waited /wait/1"
        assert await caller.answer() == "refused 400"
        assert await caller.closed()

    async def test_reading_pauses_if_there_is_much_of_it(self, api, server, caller):
        caller.send("/wait/1")
        waiting = await api.asked("/wait/1")
        caller.writer.write(
            b"PUT /put HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000
        )
        await until(lambda: not transport_of(server).is_reading())
        waiting.set_result(None)
        assert await caller.answer() == "waited /wait/1"
        assert await caller.answer() == "handled /put 1000000"


class TestHalfClose:
    async def test_requests_are_answered_before_the_connection_closes(self, api, caller):
        caller.send("/wait/1", "/hit")
        waiting = await api.asked("/wait/1")
        caller.writer.write_eof()
        await turns()
        waiting.set_result(None)
        assert await caller.answer() == "waited /wait/1"
        assert await caller.answer() == "hit"
        assert await caller.closed()

    async def test_an_idle_connection_is_closed(self, caller):
        caller.send("/hit")
        assert await caller.answer() == "hit"
        caller.writer.write_eof()
        assert await caller.closed()

    async def test_an_end_right_after_an_answer_closes_the_connection(self, caller, monkeypatch):
        finish = Connection.finish_response

        async def finish_and_receive_the_end(self: Connection, *args: Any) -> Any:
            finished = await finish(self, *args)
            asyncio.get_running_loop().call_soon(self.eof_received)
            return finished

        monkeypatch.setattr(Connection, "finish_response", finish_and_receive_the_end)
        caller.send("/delete", method="DELETE")
        assert await caller.answer() == "handled /delete 0"
        assert await caller.closed()


class TestCallersThatLeave:
    async def test_their_waiting_request_runs_on_and_nothing_is_written(self, api, server, dial, caller):
        caller.send("/wait/1")
        waiting = await api.asked("/wait/1")
        caller.reset()
        await until(lambda: not server.connections)
        waiting.set_result(None)
        other = await dial()
        other.send("/hit")
        assert await other.answer() == "hit"

    async def test_a_reset_while_aiohttp_gets_a_request_is_not_an_error(self, api, server, caller):
        caller.send("/wait/1")
        waiting = await api.asked("/wait/1")
        caller.writer.write(b"malformed\r\n\r\n")
        await until(lambda: not transport_of(server).is_reading())
        caller.reset()
        waiting.set_result(None)
        await until(lambda: not server.connections)

    @pytest.mark.parametrize("path", ["/hit", "/wait/1", "/put"])
    async def test_their_connections_are_freed_without_the_garbage_collector(self, api, server, dial, path):
        gc.collect()
        gc.disable()
        try:
            for number in range(5):
                caller = await dial()
                caller.send(path, method="PUT" if path == "/put" else "GET")
                if path == "/wait/1":
                    (await api.asked(path)).set_result(None)
                    del api.waiting[path]
                assert await caller.answer()
                caller.reset() if number % 2 else caller.writer.close()
            await until(lambda: not any(isinstance(each, Connection) for each in gc.get_objects()))
        finally:
            gc.enable()


class TestUnusedConnections:
    @pytest.mark.parametrize("used", ["", "/hit", "/put"])
    async def test_they_are_closed(self, caller, monkeypatch, used, dial):
        monkeypatch.setattr(timers, "KEEPALIVE_SECONDS", 0.05)
        caller = await dial()
        if used:
            caller.send(used, method="PUT" if used == "/put" else "GET")
            await caller.answer()
        assert await caller.closed()

    @pytest.mark.parametrize("path", ["/wait/1", "/put"])
    async def test_those_with_a_request_in_progress_are_not_closed(self, api, dial, monkeypatch, path):
        monkeypatch.setattr(timers, "KEEPALIVE_SECONDS", 0.2)
        caller = await dial()
        api.stuck = asyncio.Event()
        caller.send(path, method="PUT" if path == "/put" else "GET")
        await until(lambda: api.waiting or api.handled)
        await asyncio.sleep(0.3)  # only time shows that the timer did not close it
        api.stuck.set()
        for waiting in api.waiting.values():
            waiting.set_result(None)
        assert path in await caller.answer()


class TestShutdown:
    async def test_it_waits_for_the_answer_to_a_request(self, api, server, caller):
        caller.send("/wait/1")
        waiting = await api.asked("/wait/1")
        stopping = asyncio.create_task(server.shutdown(5))
        await turns()
        assert not stopping.done()
        api.keep_alive = False
        waiting.set_result(None)
        assert await caller.answer() == "waited /wait/1"
        await stopping
        assert await caller.closed()

    async def test_a_head_that_has_arrived_in_part_is_answered(self, server, dial):
        caller = await dial()
        caller.writer.write(b"GET /hit HTTP/1.1\r\n")
        await until(lambda: any(connection.busy for connection in server.connections))
        server.pre_shutdown()
        stopping = asyncio.create_task(server.shutdown(5))
        await turns()
        caller.writer.write(b"Host: x\r\n\r\n")
        assert await caller.answer() == "hit"
        assert await caller.closed()
        await stopping

    async def test_only_idle_connections_are_closed_before_it(self, api, server, dial, caller):
        idle = await dial()
        caller.send("/wait/1")
        waiting = await api.asked("/wait/1")
        server.pre_shutdown()
        assert await idle.closed()
        waiting.set_result(None)
        assert await caller.answer() == "waited /wait/1"
        assert await caller.closed()
