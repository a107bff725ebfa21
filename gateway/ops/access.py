"""Access control of the ops routes that change or explain something."""

import hmac
from ipaddress import ip_address
from typing import Final

from aiohttp import web

from gateway.host_header import names_loopback, unmapped

MESH_ADDRESS: Final = ip_address("127.0.0.6")
"""The address from which Istio's sidecar delivers requests of other pods."""
FORWARDING_HEADERS: Final = ("forwarded", "via")
FORWARDING_PREFIXES: Final = ("x-forwarded-", "x-envoy-")


class OpsAccess:
    """Requires the ops token if one is set, otherwise a request made on this machine."""

    def __init__(self, *, token: str | None) -> None:
        self._token = None if token is None else token.encode()

    def replace(self, token: str) -> None:
        """Accept `token` from now on, and no other."""
        self._token = token.encode()

    def granted(self, request: web.Request) -> bool:
        """Whether `request` may change something, or see what is private."""
        if not is_own_origin(request):
            return False
        if self._token is None:
            return is_local(request)
        scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.admits(presented.strip())

    @property
    def token_set(self) -> bool:
        """Whether a token can be presented at all."""
        return self._token is not None

    def admits(self, token: str) -> bool:
        """Whether `token` is the one that is set."""
        given = token.encode("utf-8", "surrogateescape")
        return self._token is not None and hmac.compare_digest(given, self._token)

    def require(self, request: web.Request) -> None:
        """Raise 403 for a foreign origin or a remote request, 401 for a missing or wrong token."""
        require_own_origin(request)
        if not self.granted(request):
            raise self.refusal()

    def refusal(self) -> web.HTTPException:
        """The answer to a request that is not granted."""
        if self._token is None:
            return web.HTTPForbidden(
                text="Without ops.token this route takes only requests made on this machine: from a loopback "
                "address, with a loopback Host, not forwarded by a proxy. Set ops.token to allow others.\n"
            )
        return web.HTTPUnauthorized(
            text="Present the ops token: Authorization: Bearer <ops.token>.\n",
            headers={"WWW-Authenticate": 'Bearer realm="ratings-gateway ops"'},
        )


def require_own_origin(request: web.Request) -> None:
    """Raise 403 if a page of another origin made the browser send `request`."""
    if not is_own_origin(request):
        raise web.HTTPForbidden(text="This route takes no requests from pages of other origins.\n")


def is_own_origin(request: web.Request) -> bool:
    """Whether `request` has no `Origin`, or the listener's own as its `Host` names it."""
    own = f"http://{request.headers.get('Host', '')}".lower()
    return all(origin.lower() == own for origin in request.headers.getall("Origin", ()))


def is_local(request: web.Request) -> bool:
    """Whether `request` was made on this machine, by a client that addressed this machine.

    A foreign `Host` on loopback is a browser whose DNS was rebound; forwarding headers, and a service mesh's
    own address, stand for a peer elsewhere.
    """
    peer = None if request.transport is None else request.transport.get_extra_info("peername")
    if not isinstance(peer, tuple):
        return False
    address = unmapped(str(peer[0]))
    if address is None or not address.is_loopback or address == MESH_ADDRESS:
        return False
    if not names_loopback(request.headers.get("Host", "")):
        return False
    names = [name.lower() for name in request.headers]
    return not any(name in FORWARDING_HEADERS or name.startswith(FORWARDING_PREFIXES) for name in names)
