"""The component and the example, rendered as `kubectl apply -k` would."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.deploy.files import DEPLOY, ROOT, document, documents

COMPONENT = DEPLOY / "kustomize" / "component"
EXAMPLE = DEPLOY / "kustomize" / "example"
GUIDE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
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


def template_of(item: dict[str, Any]) -> dict[str, Any]:
    spec = item["spec"]
    template: dict[str, Any] = {
        "Pod": lambda: item,
        "CronJob": lambda: spec["jobTemplate"]["spec"]["template"],
    }.get(item["kind"], lambda: spec["template"])()
    return template


def test_jobs_cron_jobs_and_pods_get_the_same_sidecar(tmp_path):
    shutil.copytree(COMPONENT, tmp_path / "component")
    label = {"ratings-gateway/inject": "true"}
    pod = {"containers": [{"name": "app", "image": "app"}], "restartPolicy": "Never"}
    job = {"template": {"spec": pod}}
    cron_job = {"schedule": "0 4 * * *", "jobTemplate": {"spec": job}}
    workloads = {
        "Pod": ("v1", pod),
        "Job": ("batch/v1", job),
        "CronJob": ("batch/v1", cron_job),
    }
    for kind, (version, spec) in workloads.items():
        metadata = {"name": "asking", "labels": label}
        write(
            tmp_path / f"{kind}.yaml",
            {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec},
        )
    write(
        tmp_path / "kustomization.yaml",
        {"resources": [f"{kind}.yaml" for kind in workloads], "components": ["component"]},
    )

    template = document(COMPONENT / "sidecar.yaml")["spec"]["template"]
    rendered = [template_of(item) for item in render(tmp_path)]

    assert len(rendered) == len(workloads)
    for pod_template in rendered:
        assert pod_template["spec"]["initContainers"] == template["spec"]["initContainers"]
        assert pod_template["spec"]["volumes"] == template["spec"]["volumes"]
        assert template["metadata"]["labels"].items() <= pod_template["metadata"]["labels"].items()


def test_another_ops_port_is_one_patch_of_the_overlay(tmp_path):
    (patch,) = (block for block in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL) if "18081" in block)
    shutil.copytree(COMPONENT, tmp_path / "component")
    write(tmp_path / "asking.yaml", workload("Deployment", "asking", {"ratings-gateway/inject": "true"}))
    overlay = {"resources": ["asking.yaml"], "components": ["component"]}
    write(tmp_path / "kustomization.yaml", overlay | msgspec.yaml.decode(patch.encode()))

    ((sidecar, _),) = (item["spec"]["template"]["spec"]["initContainers"] for item in render(tmp_path))

    assert sidecar["ports"] == [{"name": "gateway-ops", "containerPort": 18081}]
    assert {"name": "GATEWAY_OPS__PORT", "value": "18081"} in sidecar["env"]
