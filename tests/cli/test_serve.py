"""`serve`: what it reports before it listens."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.usefixtures("credentials")
def test_a_name_with_a_single_underscore_is_logged_as_a_warning():
    environ = {
        **os.environ,
        "GATEWAY_SERVER__PORT": "0",
        "GATEWAY_OPS__PORT": "0",
        "GATEWAY_CACHE_FRESH_SECONDS": "60",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve"], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environ
    ) as process:
        assert process.stdout
        lines = [json.loads(process.stdout.readline())]
        while lines[-1]["event"] != "listening":
            lines.append(json.loads(process.stdout.readline()))
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait(10) == 0
    assert lines[0]["event"] == "setting_ignored"
    assert lines[0]["level"] == "warning"
    assert "GATEWAY_CACHE__FRESH_SECONDS" in lines[0]["message"]


def test_a_bad_configuration_is_78(run):
    ran = run("serve")
    assert (ran.status, ran.out) == (78, "")
    assert "GATEWAY_APPLE__TEAM_ID" in ran.err
