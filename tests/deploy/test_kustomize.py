"""The component and the example, rendered as `kubectl apply -k` would."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.deploy.files import DEPLOY, document, documents

COMPONENT = DEPLOY / "kustomize" / "component"
EXAMPLE = DEPLOY / "kustomize" / "example"
OLDEST_WITH_SIDECARS = "1.29"

pytestmark = pytest.mark.needs("kubectl")


def render(directory: Path) -> list[dict[str, Any]]:
    done = subprocess.run(["kubectl", "kustomize", directory], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


@pytest.fixture(scope="module")
def example() -> list[dict[str, Any]]:
    return render(EXAMPLE)


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
    known = [item for item in example if item["kind"] != "PodMonitor"]
    assert len(known) == len(example) - 1
    paths = [tmp_path / f"{number}.yaml" for number in range(len(known))]
    for path, item in zip(paths, known, strict=True):
        write(path, item)
    chosen = [argument for name in version for argument in ("--kubernetes-version", name)]
    done = subprocess.run(
        [sys.executable, "-m", "kubernetes_validate", "--strict", *chosen, *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_application_gets_the_sidecar_as_it_is_written_and_the_image_of_the_overlay(example):
    (image,) = document(EXAMPLE / "kustomization.yaml")["images"]
    (application,) = (
        item
        for item in example
        if item["metadata"]["name"] == "storefront" and "replicas" in item.get("spec", {})
    )
    template = document(COMPONENT / "sidecar.yaml")["spec"]["template"]
    (written,) = template["spec"]["initContainers"]

    rendered = application["spec"]["template"]
    assert rendered["spec"]["initContainers"] == [
        written | {"image": f"{image['newName']}:{image['newTag']}"}
    ]
    assert rendered["spec"]["volumes"] == template["spec"]["volumes"]
    assert template["metadata"]["labels"].items() <= rendered["metadata"]["labels"].items()


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

    starts = [container["name"] for container in found["asking"]["initContainers"]]
    assert starts == ["ratings-gateway", "migrate"]
    assert [volume["name"] for volume in found["asking"]["volumes"]] == ["ratings-gateway", "data"]
    assert found["quiet"] == quiet["spec"]["template"]["spec"]
