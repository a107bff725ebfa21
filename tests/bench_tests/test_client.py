import asyncio

import pytest

from tests.bench.client import Ask, body_length, client, each, encode, hammer, replay


class Server:
    """Answers every request with its own target; pauses on request. Answers nothing after `/last`."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[bytes] = []
        self.two_came = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.left = asyncio.Event()
        """Set when the client has closed a connection."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
            self.heads.append(head)
            if len(self.heads) == 2:
                self.two_came.set()
            await self.open.wait()
            body = head.split(b" ")[1]
            status = b"503 Down" if body == b"/down" else b"200 OK"
            writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(body)))
            await writer.drain()
            writer.write(body)
            if body == b"/last":
                writer.write_eof()


@pytest.fixture
async def server():
    made = Server()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await made.serve(reader, writer)
        except asyncio.IncompleteReadError:
            made.left.set()
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    listening.close()
    await listening.wait_closed()


def test_a_request_carries_user_and_headers():
    assert encode(Ask("/x", "ada"), {"Cache-Control": "no-cache"}) == (
        b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\nMusic-User-Token: ada\r\nCache-Control: no-cache\r\n\r\n"
    )


def test_a_write_carries_its_body():
    sent = encode(Ask("/x", "ada", "PUT", "{}"), {})
    assert sent.startswith(b"PUT /x HTTP/1.1\r\n")
    assert sent.endswith(b"\r\nContent-Length: 2\r\n\r\n{}")


def test_a_204_has_no_body():
    assert body_length(b"HTTP/1.1 204 No Content") == 0


def test_the_length_header_is_case_insensitive():
    assert body_length(b"HTTP/1.1 200 OK\r\ncontent-LENGTH:  12\r\nX: 1") == 12


def test_a_head_without_length_is_refused():
    with pytest.raises(ValueError, match="no Content-Length"):
        body_length(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked")


async def test_each_request_is_answered_once_and_in_full(server):
    asks = [Ask(f"/{number}", "ada") for number in range(20)]
    async with client(server.port, {}, 2) as made:
        answers = await each(made, asks, callers=4)
    assert sorted(answer.body for answer in answers) == sorted(ask.target.encode() for ask in asks)
    assert {answer.status for answer in answers} == {200}


async def test_a_replay_sends_the_next_request_though_the_last_is_unanswered(server):
    server.open.clear()
    async with client(server.port, {}, 1) as made:
        replaying = asyncio.ensure_future(replay(made, [(0.0, Ask("/a", "x")), (0.0, Ask("/b", "x"))]))
        await server.two_came.wait()
        server.open.set()
        answers = await replaying
    assert [answer.body for answer in answers] == [b"/a", b"/b"]


async def test_a_hammer_sends_each_request_once(server):
    async with client(server.port, {}, 2) as made:
        rate = await hammer(made, [Ask(f"/{n}", "x") for n in range(9)], callers=2, ratings=0)
    assert sorted(head.split(b" ")[1] for head in server.heads) == [b"/%d" % n for n in range(9)]
    assert rate > 0


@pytest.mark.parametrize(("target", "ratings"), [("/down", 0), ("/up", 1)])
async def test_a_hammer_refuses_a_failure_and_an_answer_without_its_ratings(server, target, ratings):
    async with client(server.port, {}, 1) as made:
        with pytest.raises(RuntimeError, match="no answer with"):
            await hammer(made, [Ask(target, "x")], callers=1, ratings=ratings)


async def test_a_connection_that_was_closed_meanwhile_is_not_used_again(server):
    async with client(server.port, {}, 1) as made:
        assert (await made.ask(Ask("/last", "ada"))).body == b"/last"
        await server.left.wait()
        assert (await made.ask(Ask("/again", "ada"))).body == b"/again"


async def test_a_connection_that_ends_early_fails_its_request():
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        writer.close()

    listening = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with listening, client(listening.sockets[0].getsockname()[1], {}, 1) as made:
        with pytest.raises(ConnectionError):
            await made.ask(Ask("/", "ada"))
