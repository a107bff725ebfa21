"""Who may use the ops routes that change or explain something."""

import hmac

from aiohttp import web


class OpsAccess:
    """Where a token is set, it must be presented; where none is, only this machine may ask."""

    def __init__(self, *, token: str | None, loopback: bool) -> None:
        self._token = None if token is None else token.encode()
        self._loopback = loopback

    def granted(self, request: web.Request) -> bool:
        """Whether `request` may change something, or see what is somebody's own."""
        if self._token is None:
            return self._loopback
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
        """Raise 401 for a missing or wrong token, 403 where no token is set on a non-loopback address."""
        if not self.granted(request):
            raise self.refusal()

    def refusal(self) -> web.HTTPException:
        """The answer to whoever is not let in."""
        if self._token is None:
            return web.HTTPForbidden(
                text="Set ops.token to use this route on an address that others can reach.\n"
            )
        return web.HTTPUnauthorized(
            text="Present the ops token: Authorization: Bearer <ops.token>.\n",
            headers={"WWW-Authenticate": 'Bearer realm="ratings-gateway ops"'},
        )
