"""Access to the ops routes that change or explain something."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from gateway.ops.access import OpsAccess

HOST = "127.0.0.1:8081"


def request(*headers: tuple[str, str], peer: object = ("127.0.0.1", 5000), host: str = HOST) -> web.Request:
    transport: Any = SimpleNamespace(
        get_extra_info=lambda name, default=None: {"peername": peer}.get(name, default)
    )
    named = CIMultiDict([("Host", host), *headers])
    return make_mocked_request("POST", "/-/reload", named, transport=transport)


def status(access: OpsAccess, asked: web.Request) -> int:
    try:
        access.require(asked)
    except web.HTTPException as refusal:
        return refusal.status
    return 200


OPEN = OpsAccess(token=None)
GUARDED = OpsAccess(token="letmein")
BEARER = ("Authorization", "Bearer letmein")


@pytest.mark.parametrize(
    "peer", [("127.0.0.1", 1), ("127.0.0.2", 1), ("::1", 1, 0, 0), ("::ffff:127.0.0.1", 1, 0, 0)]
)
def test_without_a_token_this_machine_is_allowed(peer):
    assert status(OPEN, request(peer=peer)) == 200


@pytest.mark.parametrize(
    "peer",
    [
        ("10.0.0.1", 1),
        ("127.0.0.6", 1),
        ("::ffff:127.0.0.6", 1, 0, 0),
        ("::ffff:10.0.0.1", 1, 0, 0),
        "",
        None,
    ],
)
def test_without_a_token_other_peers_are_refused(peer):
    assert status(OPEN, request(peer=peer)) == 403


@pytest.mark.parametrize("host", ["evil.example", "10.0.0.1:8081", "", "gateway"])
def test_without_a_token_a_foreign_host_is_refused(host):
    assert status(OPEN, request(host=host)) == 403


@pytest.mark.parametrize(
    "name", ["Forwarded", "Via", "X-Forwarded-For", "x-forwarded-proto", "X-Envoy-Attempt-Count"]
)
def test_without_a_token_a_forwarded_request_is_refused(name):
    assert status(OPEN, request((name, "x"))) == 403


@pytest.mark.parametrize("access", [OPEN, GUARDED])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", f"https://{HOST}", "http://127.0.0.1"])
def test_a_foreign_origin_is_refused_with_and_without_a_token(access, origin):
    assert status(access, request(BEARER, ("Origin", origin))) == 403


@pytest.mark.parametrize("access", [OPEN, GUARDED])
def test_the_listeners_own_origin_is_allowed(access):
    assert status(access, request(BEARER, ("Origin", f"http://{HOST}"))) == 200


def test_a_token_that_is_set_is_required_from_this_machine_too():
    assert status(GUARDED, request()) == 401
    assert status(GUARDED, request(("Authorization", "Bearer wrong"))) == 401


def test_with_the_token_other_machines_are_allowed():
    remote = request(BEARER, ("Via", "1.1 proxy"), peer=("10.0.0.1", 1), host="ops.example")
    assert status(GUARDED, remote) == 200


def test_a_replaced_token_applies_at_once_and_the_old_one_is_refused():
    access = OpsAccess(token="old")
    access.replace("letmein")
    assert status(access, request(BEARER)) == 200
    assert status(access, request(("Authorization", "Bearer old"))) == 401
