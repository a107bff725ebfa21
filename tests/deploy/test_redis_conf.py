"""The example's Redis, started for real with the example's configuration."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import AuthenticationError, Redis

from tests.deploy.files import DEPLOY

CONFIGURATION = DEPLOY / "kustomize" / "example" / "redis.conf"
SECRET = "/run/secrets/ratings-redis/auth.conf"

pytestmark = pytest.mark.redis_server


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "auth.conf").write_text("requirepass of-the-example")
    text = CONFIGURATION.read_text()
    assert text.count(SECRET) == 1
    (tmp_path / "redis.conf").write_text(text.replace(SECRET, str(tmp_path / "auth.conf")))
    server = shutil.which("redis-server")
    assert server is not None
    path = tmp_path / "redis.sock"
    command = [server, "redis.conf", "--port", "0", "--unixsocket", str(path)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if "ready to accept connections" in line:
                    break
            else:
                raise AssertionError("redis-server ended")
            yield path
        finally:
            process.terminate()
            process.communicate()


def test_it_keeps_nothing_on_disk_and_evicts_what_was_not_used_for_longest(socket):
    with Redis(unix_socket_path=str(socket), password="of-the-example") as redis:
        found = {name: redis.config_get(name)[name] for name in ("save", "appendonly", "maxmemory-policy")}
        assert found == {"save": "", "appendonly": "no", "maxmemory-policy": "allkeys-lru"}
        assert redis.config_get("maxmemory")["maxmemory"] == str(256 * 2**20)


def test_it_asks_for_the_password_of_the_secret(socket):
    with Redis(unix_socket_path=str(socket)) as redis, pytest.raises(AuthenticationError):
        redis.ping()
