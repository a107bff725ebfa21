"""`warm`, `purge` and `healthcheck` against a gateway in front of the sandbox."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest

from gateway.sandbox import ADA, CLEO, REVOKED, Sandbox
from gateway.server import Serving, serving
from gateway.settings import load


class Running(NamedTuple):
    sandbox: Sandbox
    served: Serving


def environment(sandbox: Sandbox) -> dict[str, str]:
    return {
        "GATEWAY_APPLE__BASE_URL": sandbox.url,
        "GATEWAY_APPLE__TEAM_ID": sandbox.credentials.team_id,
        "GATEWAY_APPLE__KEY_ID": sandbox.credentials.key_id,
        "GATEWAY_APPLE__PRIVATE_KEY": sandbox.credentials.private_key_pem,
        "GATEWAY_SERVER__PORT": "0",
        "GATEWAY_SERVER__CALLER_TOKENS": "caller",
        "GATEWAY_OPS__PORT": "0",
        "GATEWAY_OPS__TOKEN": "operator",
    }


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with Sandbox() as sandbox, serving(load(None, environment(sandbox))) as served:
        yield Running(sandbox, served)


@pytest.fixture
def ask(run, running, monkeypatch) -> Callable[..., Awaitable[tuple[int, str, str]]]:
    """Run a command beside the gateway, with both of its tokens in the environment."""
    monkeypatch.setenv("MUSIC_USER_TOKEN", ADA)
    monkeypatch.setenv("GATEWAY_CALLER_TOKEN", "caller")
    monkeypatch.setenv("GATEWAY_OPS__TOKEN", "operator")
    return lambda *argv: asyncio.to_thread(run, *argv)


def summary(out: str) -> dict[str, str]:
    return {line[:10].strip(): line[10:].strip() for line in out.splitlines()}


@pytest.fixture
def warm(ask, running, tmp_path):
    async def over(*ids: str) -> tuple[int, dict[str, str], str]:
        (tmp_path / "ids").write_text("\n".join(ids))
        status, out, err = await ask("warm", "--ids", str(tmp_path / "ids"), "--url", running.served.api_url)
        return status, summary(out), err

    return over


async def test_warmed_ids_are_served_from_the_cache(warm, running):
    ids = ["1138988512", "475655712", *map(str, range(1, 600))]
    status, first, _ = await warm(*ids)
    calls = len(running.sandbox.calls)
    _, second, _ = await warm(*ids)
    assert status == 0
    assert (first["rated"], first["unrated"], first["from cache"], first["fetched"]) == (
        "2",
        "599",
        "0",
        "601",
    )
    assert (second["from cache"], second["fetched"], second["failed"]) == ("601", "0", "0")
    assert len(running.sandbox.calls) == calls


async def test_a_gateway_on_a_socket_is_warmed_over_it(run, monkeypatch, tmp_path):
    (tmp_path / "ids").write_text("1138988512")
    (tmp_path / "tokens").write_text("caller, next-caller")
    monkeypatch.setenv("MUSIC_USER_TOKEN", ADA)
    monkeypatch.setenv("GATEWAY_SERVER__UNIX_SOCKET", str(tmp_path / "api.sock"))
    argv = ["warm", "--ids", str(tmp_path / "ids"), "--caller-token-file", str(tmp_path / "tokens")]
    async with Sandbox() as sandbox:
        settings = load(None, {**environment(sandbox), "GATEWAY_SERVER__UNIX_SOCKET": f"{tmp_path}/api.sock"})
        async with serving(settings):
            status, out, _ = await asyncio.to_thread(run, *argv)
    assert (status, summary(out)["rated"]) == (0, "1")


async def test_a_refused_user_token_is_1_with_advice_to_sign_in_again(warm, monkeypatch):
    monkeypatch.setenv("MUSIC_USER_TOKEN", REVOKED)
    status, _, err = await warm("1138988512")
    assert status == 1
    assert "Apple refuses the user token" in err


async def test_a_missing_caller_token_is_1_and_names_the_option(warm, monkeypatch):
    monkeypatch.delenv("GATEWAY_CALLER_TOKEN")
    status, _, err = await warm("1138988512")
    assert status == 1
    assert "--caller-token-file" in err


async def test_purged_ids_are_fetched_again(ask, warm, running):
    await warm("1138988512", "475655712")
    purged = await ask("purge", "--type", "albums", "--id", "1138988512", "--ops-url", running.served.ops_url)
    assert purged == (0, "purged 1 id of albums\n", "")
    _, counts, _ = await warm("1138988512", "475655712")
    assert (counts["from cache"], counts["fetched"]) == ("1", "1")


async def test_purging_everything_does_not_affect_other_users(ask, warm, running, monkeypatch):
    await warm("1")
    monkeypatch.setenv("MUSIC_USER_TOKEN", CLEO)
    await warm("1")
    assert (await ask("purge", "--ops-url", running.served.ops_url))[0] == 0
    _, own, _ = await warm("1")
    monkeypatch.setenv("MUSIC_USER_TOKEN", ADA)
    _, other, _ = await warm("1")
    assert (own["fetched"], other["fetched"]) == ("1", "0")


async def test_a_purge_needs_the_ops_token(ask, running, monkeypatch):
    monkeypatch.delenv("GATEWAY_OPS__TOKEN")
    status, _, err = await ask("purge", "--ops-url", running.served.ops_url)
    assert status == 1
    assert "--ops-token-file" in err


async def test_a_running_gateway_is_healthy(ask, running):
    status, out, _ = await ask("healthcheck", "--ops-url", running.served.ops_url)
    assert (status, out.splitlines()[-1]) == (0, "ready")
