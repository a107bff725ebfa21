"""The sidecar and the example around it, read as they stand in deploy/kustomize."""

from pathlib import Path
from typing import Any

import pytest

from gateway.settings import Settings, load
from tests.deploy.files import DEPLOY, document, documents

COMPONENT = DEPLOY / "kustomize" / "component"
EXAMPLE = DEPLOY / "kustomize" / "example"
SECRETS = "/run/secrets/ratings-gateway"

TEMPLATE: dict[str, Any] = document(COMPONENT / "sidecar.yaml")["spec"]["template"]
(SIDECAR,) = TEMPLATE["spec"]["initContainers"]
EXAMPLES: dict[tuple[str, str], dict[str, Any]] = {
    (item["kind"], item["metadata"]["name"]): item
    for path in EXAMPLE.glob("*.yaml")
    for item in documents(path.read_text())
    if "metadata" in item
}
APPLICATION = EXAMPLES["Deployment", "storefront"]
POD_LABELS = APPLICATION["spec"]["template"]["metadata"]["labels"] | TEMPLATE["metadata"]["labels"]


@pytest.fixture
def settings(secrets: Path) -> Settings:
    """What a gateway loads, with its secrets in another place than a pod's."""
    (secrets / "gateway.toml").write_bytes((EXAMPLE / "gateway.toml").read_bytes())
    (secrets / "ops-token").write_text("of-the-deploy-step")
    variables = {variable["name"]: variable["value"] for variable in SIDECAR["env"]}
    return load(None, {name: value.replace(SECRETS, str(secrets)) for name, value in variables.items()})


def test_the_gateway_is_a_native_sidecar():
    assert SIDECAR["name"] == "ratings-gateway"
    assert SIDECAR["restartPolicy"] == "Always"
    assert "command" not in SIDECAR
    assert "args" not in SIDECAR


def test_probes_ask_the_ops_port():
    (port,) = SIDECAR["ports"]
    paths = {
        probe: (SIDECAR[probe]["httpGet"]["path"], SIDECAR[probe]["httpGet"]["port"])
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert port == {"name": "gateway-ops", "containerPort": 8081}
    assert paths == {
        "startupProbe": ("/startupz", "gateway-ops"),
        "livenessProbe": ("/livez", "gateway-ops"),
        "readinessProbe": ("/readyz", "gateway-ops"),
    }


def test_the_container_can_do_nothing_but_serve():
    assert SIDECAR["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert SIDECAR["resources"].keys() == {"requests", "limits"}


def test_the_secret_is_a_directory_so_that_a_swap_of_it_is_seen():
    (mount,) = SIDECAR["volumeMounts"]
    assert mount == {"name": "ratings-gateway", "mountPath": SECRETS, "readOnly": True}
    (volume,) = (volume for volume in TEMPLATE["spec"]["volumes"] if volume["name"] == mount["name"])
    assert volume["secret"] == {"secretName": "ratings-gateway", "defaultMode": 0o444}


def test_a_gateway_starts_with_the_settings_that_the_manifests_give(settings):
    assert settings.server.host == "127.0.0.1"
    assert settings.ops.host == "0.0.0.0"
    assert settings.ops.port == SIDECAR["ports"][0]["containerPort"]
    assert settings.cache.redis_url is not None
    assert settings.apple.base_url == "https://api.music.apple.com"


def test_on_call_needs_the_ops_token(settings):
    assert settings.ops.token is not None
    assert settings.ops.token.get_secret_value() == "of-the-deploy-step"


def test_the_same_sidecar_is_in_every_kind_of_workload():
    template = TEMPLATE
    cron_job = document(COMPONENT / "cronjob.yaml")["spec"]["jobTemplate"]["spec"]["template"]
    pod = document(COMPONENT / "pod.yaml")
    assert cron_job == template
    assert pod["spec"] == template["spec"]
    assert pod["metadata"]["labels"] == template["metadata"]["labels"]


def test_dns_is_reached_wherever_it_answers():
    policy = EXAMPLES["NetworkPolicy", "storefront"]["spec"]
    (rule,) = (rule for rule in policy["egress"] if {"port": 53, "protocol": "UDP"} in rule["ports"])
    assert "to" not in rule


def test_the_local_tier_fits_the_memory_limit_twice(settings):
    limit = int(SIDECAR["resources"]["limits"]["memory"].removesuffix("Mi")) * 2**20
    assert settings.cache.local_max_bytes * 2 <= limit


def test_the_application_calls_the_loopback(settings):
    (application,) = APPLICATION["spec"]["template"]["spec"]["containers"]
    assert application["env"] == [
        {"name": "APPLE_MUSIC_URL", "value": f"http://127.0.0.1:{settings.server.port}"}
    ]


def test_prometheus_finds_the_sidecar():
    monitor = EXAMPLES["PodMonitor", "ratings-gateway"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= POD_LABELS.items()
    assert POD_LABELS[monitor["jobLabel"]] == "storefront"
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["port"] == SIDECAR["ports"][0]["name"]
    assert endpoint["path"] == "/metrics"


def test_redis_accepts_only_gateways_and_connects_to_nothing():
    policy = EXAMPLES["NetworkPolicy", "ratings-redis"]["spec"]
    redis = EXAMPLES["Deployment", "ratings-redis"]["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= redis.items()
    (ingress,) = policy["ingress"]
    (peer,) = ingress["from"]
    assert peer["podSelector"]["matchLabels"].items() <= POD_LABELS.items()
    assert ingress["ports"] == [{"port": 6379}]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert "egress" not in policy


def test_the_api_is_not_reachable_from_outside_its_pod():
    policy = EXAMPLES["NetworkPolicy", "storefront"]["spec"]
    assert "Ingress" in policy["policyTypes"]
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == {3000, 8081}


def test_apple_is_reached_and_the_nodes_own_services_are_not():
    policy = EXAMPLES["NetworkPolicy", "storefront"]["spec"]
    (rule,) = (rule for rule in policy["egress"] if rule["ports"] == [{"port": 443}])
    blocks = {peer["ipBlock"]["cidr"]: peer["ipBlock"]["except"] for peer in rule["to"]}
    assert blocks.keys() == {"0.0.0.0/0", "::/0"}
    assert "169.254.0.0/16" in blocks["0.0.0.0/0"]


def test_redis_has_room_for_more_than_its_maxmemory():
    (container,) = EXAMPLES["Deployment", "ratings-redis"]["spec"]["template"]["spec"]["containers"]
    lines = (EXAMPLE / "redis.conf").read_text().splitlines()
    (maxmemory,) = (line.split()[1] for line in lines if line.startswith("maxmemory "))
    limit = int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
    assert limit >= 1.5 * int(maxmemory.removesuffix("mb"))
