"""The sidecar component and the example overlay, rendered as `kubectl apply -k` would."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.settings import Settings, load
from tests.deploy.files import DEPLOY, document, documents

COMPONENT = DEPLOY / "kustomize" / "component"
EXAMPLE = DEPLOY / "kustomize" / "example"
OLDEST_WITH_SIDECARS = "1.29"
SECRETS = "/run/secrets/ratings-gateway"

pytestmark = pytest.mark.needs("kubectl")


def render(directory: Path) -> list[dict[str, Any]]:
    done = subprocess.run(["kubectl", "kustomize", directory], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


@pytest.fixture(scope="module")
def example() -> dict[tuple[str, str], dict[str, Any]]:
    return {(item["kind"], item["metadata"]["name"]): item for item in render(EXAMPLE)}


@pytest.fixture(scope="module")
def pod(example) -> dict[str, Any]:
    spec: dict[str, Any] = example["Deployment", "storefront"]["spec"]["template"]
    return spec


@pytest.fixture
def sidecar(pod) -> dict[str, Any]:
    (container,) = pod["spec"]["initContainers"]
    found: dict[str, Any] = container
    return found


@pytest.fixture
def settings(sidecar, secrets) -> Settings:
    """What a gateway loads, with its secrets in another place than a pod's."""
    (secrets / "gateway.toml").write_bytes((EXAMPLE / "gateway.toml").read_bytes())
    variables = {variable["name"]: variable["value"] for variable in sidecar["env"]}
    return load(None, {name: value.replace(SECRETS, str(secrets)) for name, value in variables.items()})


def write(path: Path, content: Any) -> None:
    path.write_bytes(msgspec.yaml.encode(content))


def workload(kind: str, name: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "initContainers": [{"name": "migrate", "image": "app"}],
                    "containers": [{"name": "app", "image": "app"}],
                    "volumes": [{"name": "data", "emptyDir": {}}],
                },
            },
        },
    }


@pytest.mark.parametrize("version", [[OLDEST_WITH_SIDECARS], []], ids=["oldest", "newest"])
def test_kubernetes_accepts_what_is_rendered(example, version, tmp_path):
    known = [item for (kind, _), item in example.items() if kind != "PodMonitor"]
    assert len(known) == len(example) - 1
    paths = []
    for number, item in enumerate(known):
        paths.append(tmp_path / f"{number}.yaml")
        write(paths[-1], item)
    chosen = [argument for name in version for argument in ("--kubernetes-version", name)]
    done = subprocess.run(
        [sys.executable, "-m", "kubernetes_validate", "--strict", *chosen, *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_gateway_is_a_native_sidecar(sidecar):
    assert sidecar["name"] == "ratings-gateway"
    assert sidecar["restartPolicy"] == "Always"
    assert "command" not in sidecar
    assert "args" not in sidecar


def test_probes_ask_the_ops_port(sidecar):
    (port,) = sidecar["ports"]
    paths = {
        probe: (sidecar[probe]["httpGet"]["path"], sidecar[probe]["httpGet"]["port"])
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert port == {"name": "gateway-ops", "containerPort": 8081}
    assert paths == {
        "startupProbe": ("/startupz", "gateway-ops"),
        "livenessProbe": ("/livez", "gateway-ops"),
        "readinessProbe": ("/readyz", "gateway-ops"),
    }


def test_the_container_can_do_nothing_but_serve(sidecar):
    assert sidecar["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert sidecar["resources"].keys() == {"requests", "limits"}


def test_the_secret_is_a_directory_so_that_a_swap_of_it_is_seen(pod, sidecar):
    (mount,) = sidecar["volumeMounts"]
    assert mount == {"name": "ratings-gateway", "mountPath": SECRETS, "readOnly": True}
    (volume,) = (volume for volume in pod["spec"]["volumes"] if volume["name"] == mount["name"])
    assert volume["secret"] == {"secretName": "ratings-gateway", "defaultMode": 0o444}


def test_a_gateway_starts_with_the_settings_that_the_manifests_give(sidecar, settings):

    assert settings.server.host == "127.0.0.1"
    assert settings.ops.host == "0.0.0.0"
    assert settings.ops.port == sidecar["ports"][0]["containerPort"]
    assert settings.cache.redis_url is not None
    assert settings.apple.base_url == "https://api.music.apple.com"


def test_the_local_tier_fits_the_memory_limit_twice(sidecar, settings):
    limit = int(sidecar["resources"]["limits"]["memory"].removesuffix("Mi")) * 2**20
    assert settings.cache.local_max_bytes * 2 <= limit


def test_the_application_calls_the_loopback(pod, settings):
    (application,) = pod["spec"]["containers"]
    assert application["env"] == [
        {"name": "APPLE_MUSIC_URL", "value": f"http://127.0.0.1:{settings.server.port}"}
    ]


def test_prometheus_finds_the_sidecar(example, pod, sidecar):
    monitor = example["PodMonitor", "ratings-gateway"]["spec"]
    labels = pod["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    assert labels[monitor["jobLabel"]] == "storefront"
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["port"] == sidecar["ports"][0]["name"]
    assert endpoint["path"] == "/metrics"


def test_redis_is_reached_by_gateways_and_reaches_nobody(example, pod):
    policy = example["NetworkPolicy", "ratings-redis"]["spec"]
    redis = example["Deployment", "ratings-redis"]["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= redis.items()
    (ingress,) = policy["ingress"]
    (peer,) = ingress["from"]
    assert peer["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert ingress["ports"] == [{"port": 6379}]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert "egress" not in policy


def test_nobody_reaches_the_api_from_outside_its_pod(example):
    policy = example["NetworkPolicy", "storefront"]["spec"]
    assert "Ingress" in policy["policyTypes"]
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == {3000, 8081}


def test_apple_is_reached_and_the_nodes_own_services_are_not(example):
    policy = example["NetworkPolicy", "storefront"]["spec"]
    (rule,) = (rule for rule in policy["egress"] if rule["ports"] == [{"port": 443}])
    blocks = {peer["ipBlock"]["cidr"]: peer["ipBlock"]["except"] for peer in rule["to"]}
    assert blocks.keys() == {"0.0.0.0/0", "::/0"}
    assert "169.254.0.0/16" in blocks["0.0.0.0/0"]


def test_redis_has_room_for_more_than_its_maxmemory(example):
    (container,) = example["Deployment", "ratings-redis"]["spec"]["template"]["spec"]["containers"]
    lines = (EXAMPLE / "redis.conf").read_text().splitlines()
    (maxmemory,) = (line.split()[1] for line in lines if line.startswith("maxmemory "))
    limit = int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
    assert limit >= 1.5 * int(maxmemory.removesuffix("mb"))


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_other_workloads_take_the_sidecar_too_and_only_where_they_ask(kind, tmp_path):
    quiet = workload(kind, "quiet", {})
    shutil.copytree(COMPONENT, tmp_path / "component")
    write(tmp_path / "asking.yaml", workload(kind, "asking", {"ratings-gateway/inject": "true"}))
    write(tmp_path / "quiet.yaml", quiet)
    write(
        tmp_path / "kustomization.yaml",
        {"resources": ["asking.yaml", "quiet.yaml"], "components": ["component"]},
    )

    found = {item["metadata"]["name"]: item["spec"]["template"]["spec"] for item in render(tmp_path)}

    assert [container["name"] for container in found["asking"]["initContainers"]] == [
        "ratings-gateway",
        "migrate",
    ]
    assert [volume["name"] for volume in found["asking"]["volumes"]] == ["ratings-gateway", "data"]
    assert found["quiet"] == quiet["spec"]["template"]["spec"]


def test_the_example_takes_its_image_from_one_line(example, sidecar):
    (image,) = document(EXAMPLE / "kustomization.yaml")["images"]
    assert sidecar["image"] == f"{image['newName']}:{image['newTag']}"
