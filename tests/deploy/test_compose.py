"""The Compose file: everything on the sandbox, nothing but loopback published."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.parser import parse
from gateway.sandbox.credentials import KEY_ID, TEAM_ID
from gateway.settings import Settings, load
from tests.deploy.files import DEPLOY, PROMETHEUS, ROOT, RULES, alerts, document, rules

COMPOSE = DEPLOY / "compose"
SERVICES: dict[str, dict[str, Any]] = document(COMPOSE / "compose.yaml")["services"]
KEYS = "/run/secrets/ratings-gateway"


@pytest.fixture
def settings(secrets: Path) -> Settings:
    environment = SERVICES["gateway"]["environment"]
    return load(None, {name: value.replace(KEYS, str(secrets)) for name, value in environment.items()})


def test_ports_are_published_on_loopback_only():
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_gateway_uses_the_credentials_of_the_sandbox(settings):
    assert (settings.apple.team_id, settings.apple.key_id) == (TEAM_ID, KEY_ID)
    assert settings.cache.redis_url is not None
    assert settings.cache.redis_url.get_secret_value() == "redis://redis:6379/0"


def test_the_sandbox_listens_where_the_gateway_calls_it(settings):
    command = parse(SERVICES["sandbox"]["command"])
    assert command.name == "sandbox"
    assert settings.apple.base_url == f"http://127.0.0.1:{command.arguments.port}"
    assert SERVICES["gateway"]["network_mode"] == "service:sandbox"


def test_both_have_the_same_key_and_only_the_sandbox_writes_it(settings):
    written = parse(SERVICES["sandbox"]["command"]).arguments.key_file
    assert SERVICES["gateway"]["environment"]["GATEWAY_APPLE__PRIVATE_KEY_FILE"] == str(written)
    assert SERVICES["sandbox"]["volumes"] == [f"key:{KEYS}"]
    assert SERVICES["gateway"]["volumes"] == [f"key:{KEYS}:ro"]


def test_the_image_runs_with_a_read_only_root_and_no_capabilities():
    for name in ("sandbox", "gateway"):
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_what_is_mounted_is_in_the_repository():
    assert (COMPOSE / SERVICES["sandbox"]["build"]["context"]).resolve() == ROOT
    sources = [
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", ())
        if volume.startswith(".")
    ]
    assert sources
    assert all((COMPOSE / source).exists() for source in sources)


def test_prometheus_scrapes_the_ops_port_and_loads_the_rules(settings):
    config = document(COMPOSE / "prometheus.yaml")
    job, redis = config["scrape_configs"]
    (alias,) = SERVICES["sandbox"]["networks"]["default"]["aliases"]
    assert job["static_configs"] == [{"targets": [f"{alias}:{settings.ops.port}"]}]
    assert redis["static_configs"] == [{"targets": ["redis-exporter:9121"]}]
    assert "redis-exporter" in SERVICES
    assert "../prometheus:/etc/prometheus/rules:ro" in SERVICES["prometheus"]["volumes"]
    assert [PROMETHEUS / Path(name).relative_to("/prometheus") for name in config["rule_files"]] == list(
        RULES
    )


@pytest.mark.needs("promtool")
def test_prometheus_accepts_its_configuration_and_the_alerts_link_to_the_runbook_of_the_gateway(tmp_path):
    (script,) = SERVICES["prometheus"]["command"]
    script = script.replace("$$", "$").replace("/etc/prometheus/rules", str(PROMETHEUS))
    script = script.replace('"/prometheus/', f'"{tmp_path}/').replace("exec /bin/prometheus", "exec true")
    subprocess.run(["sh", "-euc", script], check=True)
    config = (COMPOSE / "prometheus.yaml").read_text().replace("/prometheus/", f"{tmp_path}/")
    (tmp_path / "prometheus.yaml").write_text(config)
    done = subprocess.run(
        ["promtool", "check", "config", tmp_path / "prometheus.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "alerts.yaml" in done.stdout
    links = {
        rule["annotations"]["runbook_url"] for rule in rules(tmp_path / "alerts.yaml") if "alert" in rule
    }
    assert links == {f"http://127.0.0.1:8081/runbook#{alert['alert'].lower()}" for alert in alerts()}


def test_grafana_shows_the_dashboard_from_that_prometheus():
    (source,) = document(COMPOSE / "grafana" / "datasource.yaml")["datasources"]
    (provider,) = document(COMPOSE / "grafana" / "dashboards.yaml")["providers"]
    assert source["url"] == "http://prometheus:9090"
    assert f"../grafana:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]
