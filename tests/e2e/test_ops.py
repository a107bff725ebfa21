"""The routes of the ops listener that change something, and the probes, on a running gateway."""

import pytest

from gateway.ops.health import Check, ready, verbose
from tests.e2e.harness import gateway_on


async def test_probes_answer(gateway):
    for path in ("/livez", "/readyz", "/readyz?verbose"):
        assert (await gateway.ask("GET", path)).status == 200
    assert b"[+] developer token: valid until" in (await gateway.ask("GET", "/readyz?verbose")).body


async def test_a_draining_gateway_is_not_ready(gateway):
    gateway.served.gateway.api.draining = True
    assert (await gateway.ask("GET", "/readyz")).status == 503
    assert b"[-] accepting: draining" in (await gateway.ask("GET", "/readyz?verbose")).body
    assert (await gateway.ask("GET", "/livez")).status == 200


def test_what_is_only_reported_does_not_decide():
    checks = [
        Check("own", ok=True, detail="fine", required=True),
        Check("apple", ok=False, detail="away", required=False),
    ]
    assert ready(checks)
    assert "[-] apple: away (reported only)" in verbose(checks)
    assert not ready([Check("own", ok=False, detail="broken", required=True)])


@pytest.mark.parametrize("path", ["/-/purge", "/-/reload"])
async def test_a_get_on_a_route_that_changes_something_is_405(gateway, path):
    assert (await gateway.ask("GET", path)).status == 405


@pytest.mark.parametrize(
    "body",
    [b"{", {"more": 1}, {"type": "artists"}, {"ids": ["1"]}, {"type": "albums", "ids": ["x"]}, {"ids": "1"}],
)
async def test_a_purge_that_makes_no_sense_is_400(gateway, body):
    assert (await gateway.ask("POST", "/-/purge", body=body)).status == 400


async def test_a_purge_needs_a_user(gateway):
    assert (await gateway.ask("POST", "/-/purge", user=None)).status == 400


async def test_where_a_token_is_set_it_must_be_presented(sandbox):
    async with gateway_on(sandbox, ops__token="letmein") as caller:
        for method, path in (("POST", "/-/purge"), ("POST", "/-/reload"), ("GET", "/-/explain?id=1")):
            assert (await caller.ask(method, path)).status == 401
            wrong = await caller.ask(method, path, headers={"Authorization": "Bearer no"})
            assert wrong.status == 401
            right = await caller.ask(method, path, headers={"Authorization": "Bearer letmein"})
            assert right.status == 200
