"""The example's Redis, started with the example's configuration and users."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.deploy.files import DEPLOY

EXAMPLE = DEPLOY / "kustomize" / "example"
SECRET = "/run/secrets/ratings-redis/users.conf"


@contextmanager
def example_redis(folder: Path) -> Iterator[Path]:
    """Its socket. The passwords are `of-the-gateway` and `of-the-operator`."""
    users = (EXAMPLE / "redis-users.conf").read_text()
    (folder / "users.conf").write_text(
        users.replace("PASSWORD", "of-the-gateway").replace("OPERATOR", "of-the-operator")
    )
    text = (EXAMPLE / "redis.conf").read_text()
    assert text.count(SECRET) == 1
    (folder / "redis.conf").write_text(text.replace(SECRET, str(folder / "users.conf")))
    path = folder / "redis.sock"
    command = ["redis-server", "redis.conf", "--port", "0", "--unixsocket", str(path)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
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
