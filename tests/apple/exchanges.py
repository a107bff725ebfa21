"""Single exchanges with Apple's place, and how they fail."""

import pytest

from gateway.apple.response import AppleResponse
from gateway.apple.transport import Transport
from gateway.errors import Unreachable


async def ask(
    transport: Transport,
    method: str = "GET",
    target: str = "/v1/x",
    *,
    body: bytes | None = None,
    seconds: float = 5.0,
    fresh: bool = False,
) -> AppleResponse:
    return await transport.exchange(
        method,
        target,
        developer_token="dev",
        user_token="user",
        body=body,
        timeout=seconds,
        headers={},
        fresh=fresh,
    )


async def failed(transport: Transport, method: str = "GET", *, seconds: float = 5.0) -> Unreachable:
    with pytest.raises(Unreachable) as caught:
        await ask(transport, method, seconds=seconds)
    return caught.value
