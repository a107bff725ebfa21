import asyncio
import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.sandbox import ADA, Credentials, run


class Lines(io.StringIO):
    """Sets an event when something was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    def flush(self) -> None:
        self.written.set()


def credentials_of(environment: dict[str, str]) -> Credentials:
    """The credentials of a gateway with this environment."""
    return Credentials(
        environment["GATEWAY_APPLE__TEAM_ID"],
        environment["GATEWAY_APPLE__KEY_ID"],
        Path(environment["GATEWAY_APPLE__PRIVATE_KEY_FILE"]).read_text(),
    )


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[tuple[dict[str, str], str]]:
    """The sandbox as a process runs it: its environment lines, and its text for people."""
    stop, out, err = asyncio.Event(), Lines(), Lines()
    process = asyncio.ensure_future(run(stop=stop, out=out, err=err, **options))
    said = asyncio.ensure_future(err.written.wait())
    await asyncio.wait([process, said], return_when=asyncio.FIRST_COMPLETED)
    said.cancel()
    try:
        yield dict(line.split("=", 1) for line in out.getvalue().splitlines()), err.getvalue()
    finally:
        stop.set()
        await process


async def test_the_environment_lines_configure_a_gateway():
    async with running() as (environment, _), aiohttp.ClientSession() as http:
        credentials = credentials_of(environment)
        headers = {
            "Authorization": f"Bearer {credentials.developer_token(now=time.time())}",
            "Music-User-Token": ADA,
        }
        url = environment["GATEWAY_APPLE__BASE_URL"]
        async with http.get(f"{url}/v1/me/ratings/albums/475655712", headers=headers) as response:
            assert response.status == 200
        async with http.get(f"{url}/_sandbox/credentials") as response:
            assert (await response.json())["private_key"] == credentials.private_key_pem
    with pytest.raises(FileNotFoundError):
        credentials_of(environment)


async def test_a_named_key_file_is_kept_and_not_served(tmp_path):
    path = tmp_path / "key.p8"
    for _ in range(2):
        async with running(key_file=path) as (environment, _), aiohttp.ClientSession() as http:
            assert environment["GATEWAY_APPLE__PRIVATE_KEY_FILE"] == str(path)
            async with http.get(f"{environment['GATEWAY_APPLE__BASE_URL']}/_sandbox/credentials") as response:
                assert response.status == 403
    assert path.exists()


async def test_users_and_a_first_command_are_printed():
    async with running() as (environment, said):
        assert ADA in said
        assert environment["GATEWAY_APPLE__BASE_URL"] in said
        assert "curl" in said


async def test_a_key_file_without_a_key_is_an_error(tmp_path):
    path = tmp_path / "key.p8"
    path.write_text("no key")
    with pytest.raises(ValueError):
        await run(stop=asyncio.Event(), out=io.StringIO(), err=io.StringIO(), key_file=path)
