"""Every command of the runbook, run on a gateway and a Redis with the settings of the Kubernetes example.

`kubectl` is a script: `exec` runs the command on this machine, `logs` shows the gateway's output.
"""

import asyncio
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from gateway.model import User
from gateway.sandbox import ADA
from tests.deploy.example_redis import EXAMPLE, example_redis
from tests.deploy.files import DEPLOY, ROOT, RUNBOOK, document
from tests.waiting import until

TEXT = RUNBOOK.read_text(encoding="utf-8")
TOOLS, USER, RELOAD = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
INLINE = sorted(
    {words.replace(r"\|", "|") for words in re.findall(r"`((?:kubectl|curl) [^`]+(?<! --))`", TEXT)}
)
SECRETS = "/run/secrets/ratings-gateway"

KUBECTL = r"""#!/bin/sh
set -eu
case "$*" in
    config\ *|port-forward\ *|describe\ *|rollout\ undo\ *) ;;
    "get pods -l ratings-gateway/sidecar=true"*) echo pod/storefront-1 ;;
    "get pods "*) ;;
    "get secret ratings-gateway -o jsonpath={.data.ops-token}")
        base64 "$FOLDER/secrets/ops-token" ;;
    "get secret ratings-gateway -o jsonpath={.data.private-key\.p8}")
        base64 "$FOLDER/secrets/private-key.p8" ;;
    "logs pod/storefront-1 -c ratings-gateway"*) cat "$FOLDER/log" ;;
    "exec deployment/ratings-redis -- redis-cli "*) shift 4; exec redis-cli -s "$FOLDER/redis.sock" "$@" ;;
    "exec pod/storefront-1 -c ratings-gateway -- "*) shift 5; exec "$@" ;;
    "exec -i pod/storefront-1 -c ratings-gateway -- "*) shift 6; exec "$@" ;;
    *) echo "unexpected: kubectl $*" >&2; exit 64 ;;
esac
"""

pytestmark = [pytest.mark.redis_server, pytest.mark.needs("curl", "redis-cli")]


class OnCall:
    """An operator's shell, with `kubectl` and the variables that the runbook sets first."""

    def __init__(self, environment: Mapping[str, str], ops: str) -> None:
        self._environment = environment
        self._ops = ops

    def run(self, script: str) -> str:
        """What the script prints; it must end with 0."""
        script = script.replace("http://127.0.0.1:8081", self._ops)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def on_call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnCall]:
    folder = tmp_path_factory.mktemp("on-call")
    environment = programs(folder)
    with example_redis(folder) as redis, sandbox(folder, environment) as apple:
        settings = sidecar_settings(folder, redis) | {"GATEWAY_APPLE__BASE_URL": apple}
        with gateway(folder, environment | settings) as listening:
            inside = {"GATEWAY_OPS__PORT": listening["ops"].rpartition(":")[2], "TOKEN": ADA}
            shell = OnCall(environment | settings | inside, listening["ops"])
            for directive in (
                "max-age=60",
                "only-if-cached",
            ):  # a request that is answered, and one that fails
                albums = f"{listening['api']}/v1/me/ratings/albums?ids={len(directive)}"
                shell.run(f"curl -s -H 'Music-User-Token: {ADA}' -H 'Cache-Control: {directive}' {albums}")
            logged = folder / "log"
            asyncio.run(until(lambda: '"level":"warning"' in logged.read_text()))
            yield shell


def programs(folder: Path) -> dict[str, str]:
    """An environment in which `kubectl` and `ratings-gateway` are scripts."""
    (folder / "bin").mkdir()
    ours = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m gateway "$@"\n'
    for name, script in {"kubectl": KUBECTL, "ratings-gateway": ours}.items():
        (folder / "bin" / name).write_text(script)
        (folder / "bin" / name).chmod(0o755)
    (folder / "secrets").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return kept | {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "FOLDER": str(folder),
        "REDISCLI_AUTH": "of-the-operator",
    }


@contextmanager
def sandbox(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    command = ["ratings-gateway", "sandbox", "--key-file", str(folder / "secrets" / "private-key.p8")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = dict(process.stdout.readline().strip().split("=", 1) for _ in range(4))
        yield lines["GATEWAY_APPLE__BASE_URL"]
        process.terminate()


def sidecar_settings(folder: Path, redis: Path) -> dict[str, str]:
    """The variables of the sidecar; its files, with the sandbox's ids, are in `folder`."""
    written = (EXAMPLE / "gateway.toml").read_text()
    for ours, theirs in {
        "ABCDE12345": "SANDBOXORG",
        "FGHIJ67890": "SANDBOXKEY",
        "redis://gateway:PASSWORD@ratings-redis:6379/0": f"unix://gateway:of-the-gateway@{redis}",
    }.items():
        assert ours in written
        written = written.replace(ours, theirs)
    (folder / "secrets" / "gateway.toml").write_text(written)
    (folder / "secrets" / "ops-token").write_text("of-the-deploy-step")
    template = document(DEPLOY / "kustomize" / "component" / "sidecar.yaml")["spec"]["template"]
    (container,) = template["spec"]["initContainers"]
    return {
        variable["name"]: variable["value"].replace(SECRETS, str(folder / "secrets"))
        for variable in container["env"]
    }


@contextmanager
def gateway(folder: Path, environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Run one whose output goes to `log`; the fields of its line `listening`."""
    free = {"GATEWAY_SERVER__PORT": "0", "GATEWAY_OPS__PORT": "0"}
    log = folder / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(["ratings-gateway", "serve"], env={**environment, **free}, stdout=output) as process,
    ):
        asyncio.run(until(lambda: '"event":"listening"' in log.read_text(), 20))
        (line,) = (line for line in log.read_bytes().splitlines() if b'"event":"listening"' in line)
        yield msgspec.json.decode(line)
        process.terminate()


def test_a_user_is_found_in_the_log_explained_and_purged(on_call):
    printed = on_call.run(TOOLS + USER)
    assert re.search(rf"^{User.of(ADA).label}$", printed, re.MULTILINE)
    assert re.search(r'^\{.*"event":"request".*"route":"/v1/me/ratings/\{type\}".*\}$', printed, re.MULTILINE)
    assert '{"type": "albums", "id": "1138988512",' in printed
    assert "purged every type" in printed


def test_a_changed_secret_is_read_at_once(on_call):
    assert '"reloaded": true' in on_call.run(TOOLS + RELOAD)


@pytest.mark.parametrize("command", INLINE)
def test_a_command_within_the_text_ends_well(on_call, command):
    on_call.run(f"{TOOLS}\n{command}")


def test_a_sound_key_is_recognised_as_the_runbook_says(on_call):
    (command,) = (one for one in INLINE if "private-key" in one)
    (expected,) = re.findall(r"^`(-----BEGIN .*-----)`:$", TEXT, re.MULTILINE)
    assert on_call.run(TOOLS + command) == f"{expected}\n"
