"""docs/deploy.md: what it has people type does what the manifests need."""

import base64
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from gateway.sandbox import ADA, Credentials
from gateway.sandbox.faults import CannedReply, Fault
from gateway.settings import load
from tests.deploy.files import DEPLOY, ROOT, documents

GUIDE = (ROOT / "docs" / "deploy.md").read_text()
EXAMPLE = DEPLOY / "kustomize" / "example"
DRY = """
kubectl() {
    case "$*" in *" create secret "*) command kubectl "$@" --dry-run=client --output=yaml; echo ---; esac
}
"""


def commands(containing: str) -> str:
    """The one block of shell commands with that text in it."""
    blocks = re.findall(r"(?ms)^( *)```sh\n(.*?)^\1```", GUIDE)
    (found,) = (block for _, block in blocks if containing in block)
    return str(found)


@pytest.mark.needs("kubectl", "openssl")
def test_the_secrets_that_it_makes_are_the_ones_that_the_pods_mount(tmp_path):
    directory = tmp_path / "deploy" / "kustomize" / "example"
    shutil.copytree(EXAMPLE, directory)
    (directory / "AuthKey_FGHIJ67890.p8").write_text(Credentials.generate().private_key_pem)

    script = DRY + commands("create secret generic ratings-redis")
    done = subprocess.run(["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    secrets = {item["metadata"]["name"]: unpack(item["data"], tmp_path) for item in documents(done.stdout)}

    gateway, redis = secrets["ratings-gateway"], secrets["ratings-redis"]
    settings = load(
        gateway / "gateway.toml",
        {
            "GATEWAY_APPLE__PRIVATE_KEY_FILE": str(gateway / "private-key.p8"),
            "GATEWAY_OPS__TOKEN_FILE": str(gateway / "ops-token"),
        },
    )
    assert settings.ops.token is not None
    assert re.fullmatch(r"\w{48}", settings.ops.token.get_secret_value())
    assert settings.cache.redis_url is not None
    (password,) = re.findall(r"//gateway:(\w{48})@", settings.cache.redis_url.get_secret_value())
    users = (redis / "users.conf").read_text()
    assert f"user gateway on >{password} " in users
    assert f"user operator on >{(redis / 'operator').read_text()} " in users


def unpack(data: dict[str, str], directory: Path) -> Path:
    """The Secret as its volume would be."""
    volume = directory / str(len(list(directory.iterdir())))
    volume.mkdir()
    for name, content in data.items():
        (volume / name).write_bytes(base64.b64decode(content))
    return volume


def test_a_shared_gateway_is_reached_by_callers_and_health_checks_and_asks_for_tokens(secrets):
    (written,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    for name in ("caller-tokens", "ops-token"):
        (secrets / name).write_text("a-secret-of-the-deployment")
    (secrets / "gateway.toml").write_text(written.replace("/run/secrets", str(secrets)))
    apple = {"team_id": "ABCDE12345", "key_id": "FGHIJ67890", "private_key_file": secrets / "private-key.p8"}

    settings = load(
        secrets / "gateway.toml",
        {f"GATEWAY_APPLE__{name.upper()}": str(value) for name, value in apple.items()},
    )

    assert settings.server.host == settings.ops.host == "0.0.0.0"
    assert settings.ops.token is not None
    assert len(settings.server.caller_tokens) == 1


def test_the_user_that_it_asks_for_lives_in_the_sandbox():
    assert f"Music-User-Token: {ADA}'" in commands("docker compose")


def test_the_fault_that_it_arms_is_one():
    (body,) = re.findall(r"-d '(.*)'", commands("/_sandbox/faults"))
    assert msgspec.json.decode(body, type=Fault).effect == CannedReply(503)


def test_files_that_it_names_exist():
    named = set(re.findall(r"deploy/[\w./-]*\w", GUIDE))
    assert {name for name in named if not (ROOT / name).exists()} == set()
