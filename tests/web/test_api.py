"""The requests of the API listener: checks, routes, and what is logged and remembered of each."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import HttpVersion10

from gateway.apple.client import AppleSuccess
from gateway.errors import AppleError, Refused, Unusable
from gateway.model import Id
from tests.fetch.fake_loads import USER
from tests.web.apis import TIMEOUT_SECONDS, Answer, ApiOnFakes, headers, request

ONE, TWO = Id("1"), Id("2")
MANY = "/v1/me/ratings/albums?ids="
SEVERAL = "/v1/me/ratings"


@pytest.fixture
async def gateway() -> AsyncIterator[ApiOnFakes]:
    gateway = ApiOnFakes()
    yield gateway
    await gateway.close()


async def read(gateway: ApiOnFakes, path: str, *more: tuple[str, str]) -> "asyncio.Task[Answer]":
    """Start to answer a read that has to be fetched."""

    async def answered() -> Answer:
        return Answer(await gateway.api.run(gateway.accepted(path, *more), None))

    task = asyncio.create_task(answered())
    await gateway.reads.fake.begun(1)
    return task


class TestAtOnce:
    async def test_hits_are_answered_without_waiting(self, gateway):
        gateway.reads.store({ONE: 1, TWO: None})
        answer = Answer(gateway.begin(MANY + "1,2"))
        assert (answer.status, [item["id"] for item in answer.json["data"]]) == (200, ["1"])
        assert answer.headers["Cache-Status"].startswith("ratings-gateway; hit")

    async def test_the_answer_has_the_request_id_and_the_time_it_took(self, gateway):
        gateway.reads.store({ONE: 1})
        answer = Answer(gateway.begin(MANY + "1", ("X-Request-Id", "mine")))
        assert (answer.headers["X-Request-Id"], answer.headers["Server-Timing"]) == (
            "mine",
            "total;dur=0.00",
        )

    async def test_head_is_answered_without_the_body(self, gateway):
        gateway.reads.store({ONE: 1})
        answer = Answer(gateway.begin(MANY + "1", method="HEAD"))
        assert (answer.status, answer.body) == (200, b"")
        assert int(answer.headers["Content-Length"]) > 0

    @pytest.mark.parametrize(
        ("path", "more", "status", "code"),
        [
            ("/other", [], 404, "40401"),
            (MANY, [], 400, "40005"),
            (MANY + "1,x", [], 400, "40005"),
            (MANY + "1,2,3,4", [], 400, "40005"),
            (MANY + "1", [("Host", "a b")], 400, "40000"),
            (MANY + "1", [("Media-User-Token", "another")], 400, "40005"),
            (MANY + "1", [("X-Request-Timeout-Ms", "0")], 400, "40005"),
        ],
        ids=["path", "no ids", "invalid id", "too many ids", "host", "two users", "timeout"],
    )
    async def test_a_request_that_fails_a_check_is_refused(self, gateway, path, more, status, code):
        answer = Answer(gateway.begin(path, *more))
        assert (answer.status, answer.code) == (status, code)

    async def test_a_request_without_a_user_token_is_refused(self, gateway):
        answer = Answer(gateway.api.begin("GET", MANY + "1", headers(user=None)))
        assert (answer.status, answer.code) == (403, "40300")

    async def test_a_caller_without_its_token_is_refused_before_anything_else_is_checked(self):
        guarded = ApiOnFakes(caller_tokens=["secret"])
        answer = Answer(guarded.api.begin("GET", MANY + "x", headers(user=None)))
        assert (answer.status, answer.code) == (401, "40100")
        await guarded.close()

    async def test_a_lenient_request_without_a_valid_id_needs_no_fetch(self, gateway):
        answer = Answer(gateway.begin(MANY + "x", ("Prefer", "handling=lenient")))
        assert (answer.status, answer.json["data"]) == (200, [])
        assert answer.json["errors"][0]["meta"] == {"type": "albums", "id": "x"}


class TestRun:
    async def test_missing_ids_are_fetched(self, gateway):
        reading = await read(gateway, MANY + "1,2")
        (load,) = gateway.reads.fake.loads
        load.answer({ONE: 1, TWO: -1})
        answer = await reading
        assert (answer.status, [item["id"] for item in answer.json["data"]]) == (200, ["1", "2"])
        assert "fwd=miss" in answer.headers["Cache-Status"]

    async def test_a_read_fails_with_the_error_of_its_first_id(self, gateway):
        reading = await read(gateway, MANY + "1,2")
        (load,) = gateway.reads.fake.loads
        load.answer({ONE: AppleError(500, b""), TWO: AppleError(400, b"")})
        assert (await reading).status == 500

    async def test_one_unrated_id_is_404(self, gateway):
        reading = await read(gateway, "/v1/me/ratings/albums/1")
        (load,) = gateway.reads.fake.loads
        load.answer({ONE: None})
        answer = await reading
        assert (answer.status, answer.code) == (404, "40400")

    @pytest.mark.parametrize(
        ("more", "seconds"), [([], TIMEOUT_SECONDS), ([("X-Request-Timeout-Ms", "250")], 0.25)]
    )
    async def test_the_deadline_is_the_callers_or_the_settings(self, gateway, more, seconds):
        accepted = gateway.accepted(MANY + "1", *more)
        assert accepted.query.deadline == gateway.reads.clock.monotonic() + seconds

    async def test_a_body_may_name_ids_of_several_types(self, gateway):
        gateway.reads.store({ONE: 1})
        answer = await gateway.send("POST", SEVERAL, b'{"ids":{"albums":["1"]}}')
        assert (answer.status, [item["id"] for item in answer.json["data"]]) == (200, ["1"])

    @pytest.mark.parametrize(("more", "status"), [([], 400), ([("Prefer", "handling=lenient")], 200)])
    async def test_an_invalid_id_in_a_body_fails_the_request_unless_it_is_lenient(
        self, gateway, more, status
    ):
        gateway.reads.store({ONE: 1})
        answer = await gateway.send("POST", SEVERAL, b'{"ids":{"albums":["1","x"]}}', *more)
        assert (answer.status, answer.code) == (status, "40005")
        assert len(answer.json.get("data", [])) == (status == 200)

    async def test_a_malformed_body_is_refused(self, gateway):
        answer = await gateway.send("PUT", "/v1/me/ratings/albums/1", b"{")
        assert (answer.status, answer.code, gateway.apple.sent) == (400, "40006", [])

    async def test_a_rating_is_relayed(self, gateway):
        answer = await gateway.send("PUT", "/v1/me/ratings/albums/1", b'{"attributes":{"value":-1}}')
        assert (answer.status, answer.headers["Cache-Status"]) == (200, "ratings-gateway; fwd=method")
        assert [(call.method, call.path) for call in gateway.apple.sent] == [
            ("PUT", "/v1/me/ratings/albums/1")
        ]

    async def test_the_removal_of_a_rating_is_relayed(self, gateway):
        gateway.apple.answer = AppleSuccess(204, b"")
        answer = await gateway.send("DELETE", "/v1/me/ratings/albums/1")
        assert (answer.status, [call.method for call in gateway.apple.sent]) == (204, ["DELETE"])

    async def test_favorites_are_relayed(self, gateway):
        gateway.apple.answer = AppleSuccess(202, b"")
        answer = await gateway.send("POST", "/v1/me/favorites?ids[albums]=1")
        assert (answer.status, [call.operation for call in gateway.apple.sent]) == (202, ["favorites"])


OTHER = MANY + "1&new=1"
NO_LIST = Unusable("not a list", received_status=200, other_shape=True)


class TestAnswersThatAreNoList:
    async def relayed(self, gateway: ApiOnFakes) -> Answer:
        """Read with parameters that make Apple's answer something other than a list of ratings."""
        reading = await read(gateway, OTHER)
        (load,) = gateway.reads.fake.loads
        load.answer({ONE: NO_LIST})
        return await reading

    async def test_they_are_relayed_and_later_ones_without_a_fetch(self, gateway):
        gateway.apple.answer = AppleSuccess(200, b'{"results":{}}')
        first = await self.relayed(gateway)
        second = Answer(await gateway.api.run(gateway.accepted(OTHER), None))
        assert [(answer.status, answer.body) for answer in (first, second)] == [(200, b'{"results":{}}')] * 2
        assert (len(gateway.reads.fake.loads), len(gateway.apple.sent)) == (1, 2)

    async def test_a_list_of_ratings_after_all_is_read_and_all_calls_are_counted(self, gateway):
        await self.relayed(gateway)
        gateway.apple.answer = AppleSuccess(200, b'{"data":[]}', lists_ratings=True)
        accepted = gateway.accepted(OTHER)
        reading = asyncio.create_task(gateway.api.run(accepted, None))
        await gateway.reads.fake.begun(2)
        load = gateway.reads.fake.loads[-1]
        load.waiters.count_try()
        load.answer({ONE: 1})
        assert [item["id"] for item in Answer(await reading).json["data"]] == ["1"]
        assert accepted.record.counts.calls == 2

    async def test_without_such_parameters_they_are_failures(self, gateway):
        reading = await read(gateway, MANY + "1")
        (load,) = gateway.reads.fake.loads
        load.answer({ONE: NO_LIST})
        assert ((await reading).status, gateway.apple.sent) == (502, [])

    async def test_beside_an_invalid_id_they_are_failures_and_each_id_has_its_error(self, gateway):
        reading = await read(gateway, MANY + "1,x&new=1", ("Prefer", "handling=lenient"))
        (load,) = gateway.reads.fake.loads
        load.answer({ONE: NO_LIST})
        answer = await reading
        assert [(error["meta"]["id"], error["code"]) for error in answer.json["errors"]] == [
            ("1", "50200"),
            ("x", "40005"),
        ]
        assert (answer.status, gateway.apple.sent) == (200, [])

    @pytest.mark.parametrize("failure", [AppleError(500, b""), Unusable("HTML", received_status=200)])
    async def test_other_failures_are_not_relayed(self, gateway, failure):
        reading = await read(gateway, OTHER)
        (load,) = gateway.reads.fake.loads
        load.answer({ONE: failure})
        assert ((await reading).status, gateway.apple.sent) == (failure.status, [])


RATING = b'{"attributes":{"value":1}}'


async def test_a_bug_is_logged_and_answered_500(gateway):
    gateway.apple.answer = KeyError("bug")
    answer = await gateway.send("PUT", "/v1/me/ratings/albums/1", RATING)
    assert (answer.status, answer.code) == (500, "50000")
    assert "KeyError" in answer.json["errors"][0]["detail"]
    (event,) = gateway.log.calls
    assert (event.args, event.kwargs["request_id"]) == (("bug",), answer.headers["X-Request-Id"])
    assert event.kwargs["where"] == "PUT /v1/me/ratings/{type}/{id}"
    assert isinstance(event.kwargs["exc_info"], KeyError)


class TestConnections:
    async def test_an_answer_keeps_the_connection_if_the_request_does(self, gateway):
        gateway.reads.store({ONE: 1})
        kept, closed = (
            Answer(gateway.api.begin("GET", MANY + "1", headers(), keep_alive=keep_alive))
            for keep_alive in (True, False)
        )
        assert "Connection" not in kept.headers
        assert closed.headers["Connection"] == "close"

    async def test_an_answer_to_http_1_0_closes_the_connection(self, gateway):
        gateway.reads.store({ONE: 1})
        old = request("GET", MANY + "1", b"", ("Connection", "keep-alive"), version=HttpVersion10)
        assert Answer(await gateway.api.handle(old, last=False)).headers["Connection"] == "close"

    async def test_while_draining_every_answer_closes_its_connection(self, gateway):
        gateway.reads.store({ONE: 1})
        gateway.api.draining = True
        assert Answer(gateway.begin(MANY + "1")).headers["Connection"] == "close"

    async def test_a_request_that_is_not_http_is_refused_and_closes_the_connection(self, gateway):
        error = Refused(400, "40000", "Bad Request", "The request is not well-formed HTTP.")
        answer = Answer(gateway.api.refuse(request("UNKNOWN", "/"), error))
        assert (answer.status, answer.code, answer.headers["Connection"]) == (400, "40000", "close")


class TestRecords:
    async def test_a_failed_read_is_remembered_with_a_read_that_repeats_it(self, gateway):
        reading = await read(gateway, MANY + "1", ("X-Request-Id", "mine"))
        (load,) = gateway.reads.fake.loads
        load.answer({ONE: AppleError(500, b"")})
        await reading
        (remembered,) = gateway.recent.latest()
        assert (remembered.request_id, remembered.status, remembered.again) == ("mine", 500, MANY + "1")

    async def test_a_failed_write_is_remembered_with_a_read_of_its_id(self, gateway):
        gateway.apple.answer = AppleError(500, b"")
        await gateway.send("PUT", "/v1/me/ratings/albums/1", RATING)
        (remembered,) = gateway.recent.latest()
        assert (remembered.method, remembered.again) == ("PUT", MANY + "1")

    async def test_a_refusal_is_remembered(self, gateway):
        gateway.begin("/other")
        (remembered,) = gateway.recent.latest()
        assert (remembered.status, remembered.code, remembered.again) == (404, "40401", None)

    async def test_every_request_is_observed_with_its_answer(self, gateway):
        gateway.reads.store({ONE: 1})
        gateway.begin(MANY + "1")
        gateway.begin("/other")
        assert [(record.status, reply.status) for record, reply in gateway.observed] == [
            (200, 200),
            (404, 404),
        ]

    async def test_a_line_is_logged_with_user_route_and_tiers(self, gateway):
        gateway.reads.store({ONE: 1})
        gateway.begin(MANY + "1")
        gateway.api.flush()
        (line,) = gateway.lines
        assert (line.user, line.type, line.route, line.status) == (
            USER.label,
            "albums",
            "/v1/me/ratings/{type}",
            200,
        )
        assert (line.ids, line.local, line.upstream) == (1, 1, 0)

    async def test_only_hits_are_sampled(self):
        unsampled = ApiOnFakes(logs_hits=False)
        unsampled.reads.store({ONE: 1})
        unsampled.begin(MANY + "1")
        unsampled.begin("/other")
        unsampled.api.flush()
        assert [line.status for line in unsampled.lines] == [404]
        await unsampled.close()
