"""The example's Redis, started for real with the example's configuration."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from redis import AuthenticationError, Redis
from redis.exceptions import NoPermissionError

from tests.cache.redis.harness import MINIMAL_ACL
from tests.deploy.example_redis import EXAMPLE, example_redis
from tests.deploy.files import ROOT, RUNBOOK, dashboard_expressions
from tests.deploy.programs import running
from tests.ports import free_port

USERS = EXAMPLE / "redis-users.conf"
GUIDE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
COMMANDS = set(
    re.findall(r"redis-cli --user operator ([A-Z][A-Z0-9a-z ]*)", RUNBOOK.read_text(encoding="utf-8"))
)

pytestmark = pytest.mark.redis_server


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    with example_redis(tmp_path) as path:
        yield path


def connection(socket: Path, user: str) -> Redis:
    return Redis(
        unix_socket_path=str(socket), username=user, password=f"of-the-{user}", decode_responses=True
    )


def test_it_keeps_nothing_on_disk_and_evicts_what_was_not_used_for_longest(socket):
    with connection(socket, "operator") as redis:
        memory, persistence = redis.info("memory"), redis.info("persistence")
        assert (memory["maxmemory"], memory["maxmemory_policy"]) == (256 * 2**20, "allkeys-lru")
        assert persistence["aof_enabled"] == 0


def test_a_connection_without_a_user_is_refused(socket):
    with Redis(unix_socket_path=str(socket)) as redis, pytest.raises(AuthenticationError):
        redis.ping()


def test_the_gateways_user_has_the_rights_that_are_tested_and_no_others():
    assert MINIMAL_ACL.replace(">secret", ">PASSWORD") in USERS.read_text().splitlines()


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_operators_user_runs_what_the_runbook_needs(socket, command):
    with connection(socket, "operator") as redis:
        redis.execute_command(*command.split())


@pytest.mark.needs("prometheus-redis-exporter")
async def test_redis_exporter_shows_what_the_dashboard_reads_with_the_rights_of_the_operators_user(
    socket, tmp_path
):
    (options,) = re.findall(r"`redis_exporter (--redis[^`]*)`", GUIDE)
    port = free_port()
    command = [
        "prometheus-redis-exporter",
        *options.replace("redis://ratings-redis:6379", f"unix://{socket}").split(),
        "--redis.password=of-the-operator",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    async with (
        running(tmp_path, port, *command) as url,
        ClientSession() as session,
        session.get(f"{url}/metrics") as answer,
    ):
        exposed = set(re.findall(r"^(redis_\w+)", await answer.text(), re.MULTILINE))

    read = {name for expression in dashboard_expressions() for name in re.findall(r"redis_\w+", expression)}
    assert read
    assert read <= exposed
    with connection(socket, "operator") as redis:
        assert redis.acl_log() == []


def test_the_operators_user_reads_no_ratings(socket):
    with connection(socket, "operator") as redis, pytest.raises(NoPermissionError):
        redis.get("ratings:a")
