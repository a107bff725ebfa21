import pytest

from gateway.web.heads import MAX_HEAD_BYTES, BodyCheck, HeadParser, ReceiveBuffer

GET = b"GET /x?y HTTP/1.1\r\nHost: x\r\n\r\n"
H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIA")
WEBSOCKET = (b"Connection: Upgrade", b"Upgrade: websocket")


def request(method: bytes, *headers: bytes, version: bytes = b"1.1") -> bytes:
    lines = b"".join(header + b"\r\n" for header in (b"Host: x", *headers))
    return b"%b / HTTP/%b\r\n%b\r\n" % (method, version, lines)


class TestInput:
    def test_a_head_is_returned_once_it_is_complete(self):
        received = ReceiveBuffer()
        for byte in GET[:-1]:
            received += bytes([byte])
            assert received.take_head() is None
            assert received.may_become_head()
        received += GET[-1:] + b"more"
        assert received.take_head() == GET
        assert received.take(len(received)) == b"more"

    @pytest.mark.parametrize(
        "data",
        [
            b"\x16\x03\x01",
            b"get /",
            b"\r\n",
            b"GET / HTTP/1.1\n",
            b"GET / HTTP/1.1\rHost",
            b"A" * 17,
            b"GET /" + b"x" * MAX_HEAD_BYTES,
        ],
    )
    def test_input_that_cannot_become_a_head_is_recognised(self, data):
        received = ReceiveBuffer()
        received += data
        assert not received.may_become_head()

    @pytest.mark.parametrize("later", [b"\n", b"x\rx"])
    def test_a_later_malformed_head_is_recognised(self, later):
        received = ReceiveBuffer()
        received += b"GET / HTTP/1.1\r\nHost: x"
        assert received.may_become_head()
        received += later
        assert not received.may_become_head()

    def test_a_line_end_may_come_in_two_pieces(self):
        received = ReceiveBuffer()
        for piece in (b"GET / HTTP/1.1\r", b"\nHost: x\r", b"\n"):
            received += piece
            assert received.may_become_head()


class TestHeadParser:
    @pytest.mark.parametrize(
        ("head", "method", "length"),
        [
            (GET, "GET", 0),
            (request(b"GET", *H2C), "GET", 0),
            (request(b"GET", *WEBSOCKET), "GET", 0),
            (request(b"DELETE"), "DELETE", 0),
            (request(b"PUT", b"Content-Length: 0"), "PUT", 0),
            (request(b"PUT", b"Content-Length: 7"), "PUT", 7),
            (request(b"PUT", b"Content-Length: 7", *H2C), "PUT", 7),
            (request(b"PUT", b"Transfer-Encoding: chunked"), "PUT", None),
        ],
    )
    async def test_a_sound_head_is_parsed_and_so_is_the_next(self, head, method, length):
        parser = HeadParser()
        for _ in range(2):
            parsed = parser.parse(head)
            assert parsed is not None
            assert (parsed[0].method, parsed[1]) == (method, length)
            assert parser.parse(GET) is not None

    @pytest.mark.parametrize(
        "head",
        [
            b"nonsense\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            request(b"GET", b"Host: y"),
            request(b"GET", version=b"1.0"),
            request(b"GET", b"Connection: close"),
            request(b"PUT", b"Content-Length: 1", b"Content-Length: 2"),
            request(b"CONNECT"),
        ],
    )
    async def test_anything_else_is_left_and_does_not_spoil_the_next(self, head):
        parser = HeadParser()
        assert parser.parse(head) is None
        assert parser.parse(GET) is not None


class TestBodyCheck:
    async def test_a_broken_chunk_is_reported_and_sound_ones_are_not_kept(self):
        check = BodyCheck()
        assert check.feed(request(b"PUT", b"Transfer-Encoding: chunked")) is None
        for _ in range(10):
            assert check.feed(b"10000\r\n" + b"x" * 65536 + b"\r\n") is None
        assert check.feed(b"zz\r\n") is not None

    @pytest.mark.parametrize("end", [(b"0\r\n\r\n", b"zz\r\n"), (b"0\r\n\r\nzz\r\n",)])
    async def test_what_follows_a_complete_body_is_no_fault_of_its_request(self, end):
        check = BodyCheck()
        head = request(b"PUT", b"Transfer-Encoding: chunked")
        assert [check.feed(data) for data in (head, b"1\r\nx\r\n", *end)] == [None] * (2 + len(end))
