"""Ages count the time for which the machine was suspended."""

from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.e2e.harness import Client
from tests.e2e.processes import process

ONE = "1138988512"

SUSPENDED = """
import pathlib, time

real, marker = time.clock_gettime, pathlib.Path(__file__).with_name("suspended")


def clock_gettime(number):
    slept = 7200.0 if number == time.CLOCK_BOOTTIME and marker.exists() else 0.0
    return real(number) + slept


time.clock_gettime = clock_gettime
"""


async def test_an_entry_from_before_two_hours_of_suspend_is_not_a_hit(
    sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "sitecustomize.py").write_text(SUSPENDED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    async with process(sandbox) as served, ClientSession() as session:
        client = Client(session, served.api, served.ops)
        await client.get("albums", [ONE])
        hit = await client.get("albums", [ONE])
        (tmp_path / "suspended").touch()
        late = await client.get("albums", [ONE])
    assert (hit.cache, late.cache) == ("hit", "fwd=miss; stored")
