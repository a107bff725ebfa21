"""Reloading: rotated keys, tokens and Redis passwords are applied while the gateway serves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession
from watchfiles._rust_notify import WatchfilesRustInternalError

from gateway.reload import digest
from gateway.sandbox import Credentials, Sandbox, Where
from gateway.server import SettingsReading, serving
from gateway.settings import BadSettings, load
from tests.e2e.harness import Caller, Reply, ShiftedClock, environment
from tests.redis_server import RedisServer

ONE = "1138988512"
RELOADED = "gateway_config_last_reload_successful"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


class Files:
    """Secrets in files, and a configuration."""

    def __init__(self, root: Path) -> None:
        self.caller_tokens = root / "caller-tokens"
        self.ops_token = root / "ops-token"
        self.config = root / "gateway.toml"
        self.caller_tokens.write_text("old\n")
        self.ops_token.write_text("letmein\n")
        self.config.write_text("[log]\nsample_hits = 1.0\n")


@asynccontextmanager
async def guarded(sandbox: Sandbox, root: Path, **more: object) -> AsyncIterator[tuple[Caller, Files]]:
    """A gateway with a caller token and an ops token, both in files."""
    files = Files(root)
    environ = environment(
        sandbox,
        server__caller_tokens_file=files.caller_tokens,
        ops__token_file=files.ops_token,
        **more,
    )
    settings = load(files.config, environ)
    watched = [files.config, *settings.secret_files.values()]
    reading = SettingsReading(lambda: load(files.config, environ), watched, digest(watched))
    async with (
        ClientSession() as session,
        serving(settings, reading=reading, clock=ShiftedClock()) as served,
    ):
        yield Caller(session, served, ShiftedClock()), files


class Secret:
    """A directory as Kubernetes mounts a Secret: files are links into `..data`, which is swapped whole."""

    def __init__(self, root: Path, credentials: Credentials) -> None:
        self._root = root
        self._version = 0
        self.swap(credentials.key_id, credentials.private_key_pem)
        (root / "gateway.toml").symlink_to(Path("..data") / "gateway.toml")
        (root / "key.p8").symlink_to(Path("..data") / "key.p8")

    @property
    def config(self) -> Path:
        return self._root / "gateway.toml"

    def swap(self, key_id: str, pem: str) -> None:
        self._version += 1
        data = self._root / f"..{self._version}"
        data.mkdir()
        key = self._root / "key.p8"
        (data / "gateway.toml").write_text(f'[apple]\nkey_id = "{key_id}"\nprivate_key_file = "{key}"\n')
        (data / "key.p8").write_text(pem)
        link = self._root / "..new"
        link.symlink_to(data.name)
        link.rename(self._root / "..data")


@asynccontextmanager
async def rotating(
    sandbox: Sandbox, root: Path, *, meanwhile: Credentials | None = None
) -> AsyncIterator[tuple[Caller, Secret]]:
    """A gateway whose settings are in files; `meanwhile` replaces them before the gateway watches them."""
    secret = Secret(root, sandbox.credentials)
    environ = environment(sandbox)
    del environ["GATEWAY_APPLE__KEY_ID"], environ["GATEWAY_APPLE__PRIVATE_KEY"]
    settings = load(secret.config, environ)
    files = [secret.config, *settings.secret_files.values()]
    reading = SettingsReading(lambda: load(secret.config, environ), files, digest(files))
    if meanwhile is not None:
        secret.swap(meanwhile.key_id, meanwhile.private_key_pem)
    clock = ShiftedClock()
    async with ClientSession() as session, serving(settings, reading=reading, clock=clock) as served:
        yield Caller(session, served, clock), secret


async def until_metric(caller: Caller, name: str, value: float) -> None:
    async with asyncio.timeout(20):
        while (await caller.metrics()).get(name) != value:
            pass


async def reload(caller: Caller, token: str = "letmein") -> Reply:
    return await caller.ask("POST", "/-/reload", headers={"Authorization": f"Bearer {token}"})


async def called(caller: Caller, token: str | None) -> int:
    headers = {} if token is None else {"X-Gateway-Token": token}
    return (await caller.get("albums", [ONE], headers=headers)).status


async def test_a_key_rotated_by_a_directory_swap_fails_no_request(sandbox, tmp_path):
    new = Credentials.generate(key_id="ROTATEDKEY")
    sandbox.tokens.trust(new.trusted())
    async with rotating(sandbox, tmp_path) as (caller, secret):
        replies = [await caller.get("albums", [ONE])]
        secret.swap(new.key_id, new.private_key_pem)
        await until_metric(caller, 'gateway_developer_token_mints_total{reason="key"}', 1)
        sandbox.tokens.distrust(sandbox.credentials.key_id)
        replies += [await caller.get("albums", [n]) for n in range(1, 4)]
        assert [reply.status for reply in replies] == [200] * 4
        assert all(call.status == 200 for call in sandbox.calls)
        assert (await caller.metrics())[RELOADED] == 1


async def test_a_reload_does_not_end_calls_in_flight(sandbox, tmp_path):
    new = Credentials.generate(key_id="ROTATEDKEY")
    sandbox.tokens.trust(new.trusted())
    hold = sandbox.hold(Where(method="GET"), times=1)
    async with rotating(sandbox, tmp_path) as (caller, secret):
        asking = asyncio.ensure_future(caller.get("albums", [ONE]))
        await hold.reached()
        secret.swap(new.key_id, new.private_key_pem)
        await until_metric(caller, 'gateway_developer_token_mints_total{reason="key"}', 1)
        hold.release()
        assert (await asking).status == 200


async def test_a_broken_key_is_logged_and_the_old_one_stays_in_use(sandbox, tmp_path, capfd):
    async with rotating(sandbox, tmp_path) as (caller, secret):
        secret.swap("ROTATEDKEY", "-----BEGIN PRIVATE KEY-----\nbroken\n-----END PRIVATE KEY-----\n")
        await until_metric(caller, RELOADED, 0)
        assert (await caller.get("albums", [ONE])).status == 200
    assert "apple.private_key" in capfd.readouterr().out


async def test_the_status_says_whether_there_was_a_reload(sandbox, tmp_path):
    async with rotating(sandbox, tmp_path) as (caller, _):

        async def reloaded() -> bool:
            async with caller.session.get(f"{caller.served.ops_url}/status?format=json") as status:
                return bool((await status.json())["process"]["reloaded"])

        assert not await reloaded()
        assert (await caller.ask("POST", "/-/reload")).status == 200
        assert await reloaded()


async def test_a_post_reloads_and_answers_whether_it_worked(sandbox, tmp_path):
    new = Credentials.generate(key_id="ROTATEDKEY")
    async with rotating(sandbox, tmp_path) as (caller, secret):
        assert (await caller.ask("GET", "/-/reload")).status == 405
        secret.swap(new.key_id, "no key")
        refused = await caller.ask("POST", "/-/reload")
        assert (refused.status, refused.json["reloaded"]) == (500, False)
        assert "no key" not in refused.json["error"]
        secret.swap(new.key_id, new.private_key_pem)
        accepted = await caller.ask("POST", "/-/reload")
        assert (accepted.status, accepted.json) == (200, {"reloaded": True})
        assert (await caller.metrics())[RELOADED] == 1


async def test_files_are_polled_if_the_kernel_has_no_watches_left(sandbox, tmp_path, monkeypatch, capfd):
    def refused(*_: object, **__: object) -> None:
        raise WatchfilesRustInternalError("Too many open files (os error 24)")

    monkeypatch.setattr("watchfiles.awatch", refused)
    monkeypatch.setattr("gateway.reload.POLL_SECONDS", 0.01)
    async with rotating(sandbox, tmp_path) as (caller, secret):
        new = Credentials.generate(key_id="ROTATEDKEY")
        secret.swap(new.key_id, new.private_key_pem)
        await until_metric(caller, 'gateway_developer_token_mints_total{reason="key"}', 1)
    assert "Too many open files" in capfd.readouterr().out


async def test_a_key_that_changes_during_the_start_is_applied(sandbox, tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.reload.POLL_SECONDS", 0.1)
    new = Credentials.generate(key_id="ROTATEDKEY")
    async with rotating(sandbox, tmp_path, meanwhile=new) as (caller, _):
        await until_metric(caller, 'gateway_developer_token_mints_total{reason="key"}', 1)


async def test_a_rotated_caller_token_replaces_the_old_one(sandbox, tmp_path):
    async with guarded(sandbox, tmp_path) as (caller, files):
        files.caller_tokens.write_text("old\nnew\n")
        assert (await reload(caller)).json == {"reloaded": True}
        assert [await called(caller, token) for token in ("old", "new")] == [200, 200]
        files.caller_tokens.write_text("new\n")
        await reload(caller)
        assert [await called(caller, token) for token in ("old", "new", None)] == [401, 200, 401]


async def test_a_changed_file_is_applied_without_a_request(sandbox, tmp_path):
    async with guarded(sandbox, tmp_path) as (caller, files), asyncio.timeout(20):
        files.caller_tokens.write_text("new\n")
        while await called(caller, "new") != 200:
            pass
        assert await called(caller, "old") == 401


async def test_a_rotated_ops_token_applies_at_once(sandbox, tmp_path):
    async with guarded(sandbox, tmp_path) as (caller, files):
        files.ops_token.write_text("changed\n")
        assert (await reload(caller)).status == 200
        assert [(await reload(caller, token)).status for token in ("letmein", "changed")] == [401, 200]


BREAKAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda file: file.write_text(""),
    "blank": lambda file: file.write_text(" \n"),
    "only a comma": lambda file: file.write_text(",\n"),
}


@pytest.mark.parametrize(
    ("which", "how"),
    [
        *(("caller_tokens", how) for how in BREAKAGES),
        *(("ops_token", how) for how in ("missing", "empty", "blank")),
    ],
)
async def test_a_broken_secret_file_leaves_the_old_value_in_use(sandbox, tmp_path, which, how):
    async with guarded(sandbox, tmp_path) as (caller, files):
        BREAKAGES[how](getattr(files, which))
        answer = await reload(caller)
        assert (answer.status, answer.json["reloaded"]) == (500, False)
        assert [await called(caller, token) for token in ("old", None)] == [200, 401]
        assert [(await reload(caller, token)).status for token in ("", "letmein")] == [401, 500]
        assert caller.sample("gateway_config_last_reload_successful") == 0


@pytest.mark.parametrize("how", BREAKAGES)
async def test_a_start_with_a_broken_secret_file_is_refused(sandbox, tmp_path, how):
    """A gateway that started without the check would be open."""
    tokens = Files(tmp_path).caller_tokens
    BREAKAGES[how](tokens)
    with pytest.raises(BadSettings, match=r"server\.caller_tokens"):
        load(None, environment(sandbox, server__caller_tokens_file=tokens))


async def test_settings_that_need_a_restart_are_named_in_the_answer_on_the_page_and_in_the_log(
    sandbox, tmp_path, capfd
):
    async with guarded(sandbox, tmp_path) as (caller, files):
        files.config.write_text("[log]\nsample_hits = 0.5\n[upstream]\nattempts = 2\n")
        named = ["upstream.attempts", "log.sample_hits"]
        answer = await reload(caller)
        assert answer.json == {"reloaded": True, "not_applied": named}
        url = f"{caller.served.ops_url}/status?format=json"
        async with caller.session.get(url) as status:
            assert (await status.json())["process"]["not_applied"] == named
        async with caller.session.get(f"{caller.served.ops_url}/status") as page:
            assert "upstream.attempts, log.sample_hits" in await page.text()
        files.config.write_text("[log]\nsample_hits = 1.0\n")
        assert (await reload(caller)).json == {"reloaded": True}
    assert "upstream.attempts" in capfd.readouterr().out


async def test_settings_that_need_a_restart_are_still_shown_after_a_reload_that_failed(sandbox, tmp_path):
    async with guarded(sandbox, tmp_path) as (caller, files):
        files.config.write_text("[log]\nsample_hits = 0.5\n")
        await reload(caller)
        files.config.write_text("[log]\nsample_hits = 5\n")
        failed = await reload(caller)
        assert (failed.status, list(failed.json)) == (500, ["reloaded", "error"])
        async with caller.session.get(f"{caller.served.ops_url}/status?format=json") as status:
            process = (await status.json())["process"]
        assert (process["reloaded"], process["last_reload_successful"]) == (True, False)
        assert process["not_applied"] == ["log.sample_hits"]


async def test_a_token_that_is_no_longer_set_stays_required_until_a_restart(sandbox, tmp_path):
    files = Files(tmp_path)
    with_token = '[server]\ncaller_tokens = ["old"]\n[ops]\ntoken = "letmein"\n'
    files.config.write_text(with_token)
    environ = environment(sandbox)
    reading = SettingsReading(lambda: load(files.config, environ))
    settings = load(files.config, environ)
    async with ClientSession() as session, serving(settings, reading=reading) as served:
        caller = Caller(session, served, ShiftedClock())
        files.config.write_text("")
        assert (await reload(caller)).json["not_applied"] == ["server.caller_tokens", "ops.token"]
        assert [await called(caller, token) for token in (None, "old")] == [401, 200]
        assert (await caller.ask("POST", "/-/reload")).status == 401


async def test_a_failed_reload_does_not_change_the_time_of_the_last_success(sandbox, tmp_path):
    name = "gateway_config_last_reload_success_timestamp_seconds"
    async with guarded(sandbox, tmp_path) as (caller, files):
        started = caller.sample(name)
        await reload(caller)
        reloaded = caller.sample(name)
        files.ops_token.write_text("")
        await reload(caller)
        assert started < reloaded == caller.sample(name)


@asynccontextmanager
async def on_redis(sandbox: Sandbox, file: Path) -> AsyncIterator[Caller]:
    """A gateway whose Redis URL is in `file`, and whose in-process cache is off."""
    environ = environment(sandbox, cache__redis_url_file=file, cache__local_max_entries=0)
    settings = load(None, environ)
    reading = SettingsReading(lambda: load(None, environ), [file], digest([file]))
    async with ClientSession() as session, serving(settings, reading=reading) as served:
        yield Caller(session, served, ShiftedClock())


@pytest.mark.redis_server
async def test_a_rotated_redis_password_loses_no_request_and_no_entry(sandbox, tmp_path):
    file = tmp_path / "redis-url"
    with RedisServer("--user", "gateway", "on", ">old", "~*", "&*", "+@all") as redis:

        def url(password: str) -> str:
            return redis.url.replace("//", f"//gateway:{password}@")

        file.write_text(url("old"))
        async with on_redis(sandbox, file) as caller:
            assert (await caller.get("albums", [ONE])).cache == "fwd=miss; stored"
            redis.client().acl_setuser("gateway", enabled=True, passwords=["+new"])
            file.write_text(url("new"))
            asking = asyncio.ensure_future(_repeated_reads(caller))
            answer = await caller.ask("POST", "/-/reload")
            redis.client().acl_setuser("gateway", enabled=True, passwords=["-old"])
            redis.client().execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            replies = await asking
            assert answer.json == {"reloaded": True}
            assert {reply.status for reply in replies} == {200}
            async with asyncio.timeout(10):
                while (await caller.get("albums", [ONE])).counts["shared"] != 1:
                    pass


async def _repeated_reads(caller: Caller) -> list[Reply]:
    return [await caller.get("albums", [ONE]) for _ in range(100)]


@pytest.mark.redis_server
async def test_a_changed_redis_address_is_used_without_a_restart(sandbox, tmp_path):
    file = tmp_path / "redis-url"
    with RedisServer() as first, RedisServer() as second:
        file.write_text(first.url)
        async with on_redis(sandbox, file) as caller:
            await caller.get("albums", [ONE])
            file.write_text(second.url)
            assert (await caller.ask("POST", "/-/reload")).json == {"reloaded": True}
            async with asyncio.timeout(10):
                while not second.client().keys("ratings*"):
                    await caller.get("albums", [ONE])
            async with caller.session.get(f"{caller.served.ops_url}/status?format=json") as status:
                assert (await status.json())["redis"]["address"] == second.url


@pytest.mark.redis_server
async def test_adding_redis_needs_a_restart(sandbox, tmp_path):
    config = tmp_path / "gateway.toml"
    environ = environment(sandbox)
    with RedisServer() as redis:
        config.write_text("")
        settings = load(config, environ)
        reading = SettingsReading(lambda: load(config, environ))
        async with ClientSession() as session, serving(settings, reading=reading) as served:
            caller = Caller(session, served, ShiftedClock())
            config.write_text(f'[cache]\nredis_url = "{redis.url}"\n')
            assert (await caller.ask("POST", "/-/reload")).json["not_applied"] == ["cache.redis_url"]
