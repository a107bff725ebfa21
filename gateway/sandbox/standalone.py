"""Runs the sandbox as a process: settings for a gateway go to `out`, text for people to `err`."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from gateway.sandbox.credentials import Credentials
from gateway.sandbox.server import Sandbox


async def run(
    *,
    stop: asyncio.Event,
    out: TextIO,
    err: TextIO,
    host: str = "127.0.0.1",
    port: int = 0,
    key_file: Path | None = None,
    max_ids: int = 100,
    seed: int = 0,
) -> None:
    """Listen until `stop` is set. `out` gets only `NAME=value` lines for a gateway's environment.

    The private key is kept in `key_file` across restarts (generated if missing), else in a temporary
    directory.

    Raises OSError for an address or file that cannot be used, ValueError for a file without a key.
    """
    with _key_in(key_file) as path:
        sandbox = Sandbox(
            credentials=Credentials.kept_in(path),
            serve_credentials=key_file is None,
            max_ids=max_ids,
            seed=seed,
        )
        await sandbox.start(host, port)
        try:
            for line in sandbox.credentials.environment(key_file=path, base_url=sandbox.url):
                print(line, file=out, flush=True)
            print(_welcome(sandbox), file=err, flush=True)
            await stop.wait()
        finally:
            await sandbox.stop()


@contextmanager
def _key_in(key_file: Path | None) -> Iterator[Path]:
    if key_file is not None:
        yield key_file.absolute()
        return
    with TemporaryDirectory(prefix="ratings-sandbox-") as directory:
        yield Path(directory) / "sandbox.p8"


def _welcome(sandbox: Sandbox) -> str:
    tokens = "\n".join(f"  {account.token:28} {account.standing}" for account in sandbox.store)
    return (
        f"A stand-in for Apple Music's ratings API listens on {sandbox.url}\n"
        f"Music user tokens:\n{tokens}\n"
        f"Ask it without a gateway:\n"
        f'  curl -H "Authorization: Bearer $(curl -s {sandbox.url}/_sandbox/developer-token)" \\\n'
        f"    -H 'Music-User-Token: sandbox-user-ada' \\\n"
        f"    '{sandbox.url}/v1/me/ratings/albums?ids=1138988512,475655712'\n"
        f"Users, faults and the journal of calls: {sandbox.url}/_sandbox/"
    )
