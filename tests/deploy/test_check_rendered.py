"""deploy/kustomize/check-rendered: mistakes in manifests that Kubernetes would accept."""

import subprocess
import sys
from typing import Any

import msgspec
import pytest

from tests.deploy.files import DEPLOY

LABEL = {"ratings-gateway/inject": "true"}
SIDECAR = {
    "name": "ratings-gateway",
    "image": "registry.example.com/ratings-gateway:0.1.0",
    "ports": [{"name": "gateway-ops", "containerPort": 8081}],
}
APPLICATION: dict[str, Any] = {"name": "app", "image": "app", "ports": [{"containerPort": 3000}]}


def deployment(
    *,
    label: dict[str, str],
    sidecars: tuple[dict[str, Any], ...] = (SIDECAR,),
    application: dict[str, Any] = APPLICATION,
    inner: dict[str, str] | None = None,
) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": label},
        "spec": {
            "template": {
                "metadata": {"labels": inner or {}},
                "spec": {"initContainers": [*sidecars], "containers": [application]},
            }
        },
    }


def check(item: dict[str, Any]) -> tuple[int, str]:
    return run(msgspec.yaml.encode(item))


def run(manifests: bytes) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, DEPLOY / "kustomize" / "check-rendered"],
        input=manifests,
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout.decode()


def test_a_workload_with_the_sidecar_has_no_mistakes():
    assert check(deployment(label=LABEL)) == (0, "no mistakes found\n")


def test_a_workload_that_does_not_ask_has_no_mistakes():
    assert check(deployment(label={}, sidecars=()))[0] == 0


@pytest.mark.parametrize("nothing", [b"", b"---\n"])
def test_no_manifests_are_a_mistake(nothing):
    assert run(nothing) == (1, "no manifests on stdin\n")


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (deployment(label={}, sidecars=(), inner=LABEL), "not of its pod template"),
        (deployment(label={"ratings-gateway/inject": "yes"}, sidecars=()), "no sidecar"),
        (
            deployment(
                label=LABEL,
                sidecars=(SIDECAR | {"image": "ratings-gateway:set-images-in-your-kustomization"},),
            ),
            "images:",
        ),
        (
            deployment(label=LABEL, application=APPLICATION | {"ports": [{"containerPort": 8081}]}),
            "uses port 8081",
        ),
        (
            deployment(label=LABEL, application=APPLICATION | {"ports": [{"containerPort": 8080}]}),
            "uses port 8080",
        ),
        (
            {"kind": "Service", "metadata": {"name": "web", "labels": LABEL}, "spec": {}},
            "no effect on a Service",
        ),
    ],
    ids=["label inside", "another value", "no image", "ops port", "API port", "another kind"],
)
def test_a_mistake_is_named(item, words):
    status, printed = check(item)
    assert status == 1
    assert words in printed
