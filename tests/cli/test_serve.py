"""`serve`: what it reports before it listens."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import uvloop

from gateway.cli.serve import refusal
from gateway.server import CannotListen, serving
from gateway.settings import load

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


SLOW_IMPORT = """
import sys
print("importing", flush=True)
sys.exit(sys.stdin.readline())
"""
CONSOLE_SCRIPT = "import sys; from gateway.__main__ import main; sys.exit(main())"


@pytest.fixture(params=[("-m", "gateway"), ("-c", CONSOLE_SCRIPT)], ids=["module", "script"])
def importing(request, tmp_path):
    """`serve` while it imports what it needs; a line on its stdin ends it with status 1."""
    (tmp_path / "uvloop.py").write_text(SLOW_IMPORT)
    with subprocess.Popen(
        [sys.executable, *request.param, "serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"importing\n"
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop_during_the_imports_ends_it_at_once_with_status_0(importing, number):
    importing.send_signal(number)
    assert importing.wait(10) == 0
    assert importing.stderr.read() == b""


def test_sighup_during_the_imports_is_ignored(importing):
    importing.send_signal(signal.SIGHUP)
    _, said = importing.communicate(b"went on\n", timeout=10)
    assert (importing.returncode, said) == (1, b"went on\n\n")


def test_a_bad_configuration_is_78(run):
    ran = run("serve")
    assert (ran.status, ran.out) == (78, "")
    assert "GATEWAY_APPLE__TEAM_ID" in ran.err


@pytest.fixture
def serve(credentials, monkeypatch):
    """What `serve` reports with these settings, which no listener can use."""

    async def start() -> None:
        async with serving(load(None, os.environ)):
            pass

    def report(**settings: object) -> str:
        ports = {"server__port": 0, "ops__port": 0}
        for name, value in (ports | settings).items():
            monkeypatch.setenv(f"GATEWAY_{name.upper()}", str(value))
        with pytest.raises(CannotListen) as caught:
            uvloop.run(start())
        return refusal(caught.value)

    return report


@pytest.mark.parametrize("section", ["server", "ops"])
def test_an_address_in_use_is_named_with_its_setting(serve, gateway, section):
    port = gateway.url.rpartition(":")[2]
    said = serve(**{f"{section}__port": port})
    assert said.startswith(f"cannot listen on 127.0.0.1:{port} ({section}.host, {section}.port): ")
    assert said.endswith(f"in use. Is another gateway running? Stop it, or set another {section}.port.")


@pytest.mark.parametrize(
    ("host", "address", "cause"),
    [("192.0.2.1", "192.0.2.1:0", "no network interface"), ("a.invalid", "a.invalid:0", "has no address")],
)
def test_an_address_of_another_machine_is_not_taken_for_one_in_use(serve, host, address, cause):
    said = serve(ops__host=host)
    assert said.startswith(f"cannot listen on {address} (ops.host, ops.port): ")
    assert cause in said
    assert "Set ops.host to" in said
    assert "another gateway" not in said


def test_a_socket_in_a_directory_that_does_not_exist_is_named_with_the_directory(serve, tmp_path):
    path = tmp_path / "missing" / "api.sock"
    said = serve(server__unix_socket=path)
    assert said.startswith(f"cannot listen on {path} (server.unix_socket): ")
    assert f"the directory {path.parent} does not exist. Create it" in said


def test_a_file_in_the_place_of_a_socket_is_named_as_that(serve, tmp_path):
    path = tmp_path / "api.sock"
    path.touch()
    assert "a file that is not a socket is in the way" in serve(server__unix_socket=path)


def test_a_socket_that_another_process_answers_is_in_use(serve, tmp_path):
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        assert "Is another gateway running?" in serve(server__unix_socket=path)


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        (None, "may not use this port. Set server.port to 1024 or above."),
        (Path("/run/api.sock"), "may not create files in /run. Allow it, or set another path."),
    ],
)
def test_a_missing_right_is_named(path, cause):
    error = PermissionError(errno.EACCES, "Permission denied")
    assert refusal(CannotListen(error, "server", "there", path)).endswith(cause)


@pytest.mark.parametrize(("path", "setting"), [(None, "server.host"), (Path("/run/api.sock"), "path")])
def test_any_other_reason_is_given_in_the_words_of_the_system(path, setting):
    error = OSError(errno.EAFNOSUPPORT, "Address family not supported")
    said = refusal(CannotListen(error, "server", "there", path))
    assert said.endswith(f"Address family not supported. Set another {setting}.")
