import signal
import socket
from pathlib import Path

import pytest

from gateway.sandbox import standalone


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal(run, monkeypatch, number):
    given = {}

    async def serve(*, stop, out, err, **options):
        given.update(options)
        out.write("NAME=value\n")
        err.write("words\n")
        signal.raise_signal(number)
        await stop.wait()

    monkeypatch.setattr(standalone, "run", serve)
    assert run("sandbox", "--port", "9", "--key-file", "key.p8") == (0, "NAME=value\n", "words\n")
    assert given == {"host": "127.0.0.1", "port": 9, "key_file": Path("key.p8")}


def test_an_address_in_use_is_1_with_a_hint(run, gateway):
    port = gateway.url.rpartition(":")[2]
    ran = run("sandbox", "--port", port)
    said = f"cannot listen on 127.0.0.1:{port}: the address is in use. Try another --port."
    assert ran == (1, "", f"ratings-gateway sandbox: {said}\n")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1:0: no network interface has this address."),
        (["--key-file", "/nowhere/key.p8"], "/nowhere/key.p8 cannot be used: No such file or directory."),
        (["--key-file", "/etc/hostname"], "Try another --key-file."),
    ],
)
def test_what_cannot_be_used_is_named_without_an_error_number(run, options, said):
    ran = run("sandbox", *options)
    assert ran.status == 1
    assert said in ran.err
    assert "Errno" not in ran.err


def test_a_name_without_an_address_is_named(run, monkeypatch):
    async def serve(**_) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(standalone, "run", serve)
    ran = run("sandbox", "--host", "nowhere")
    assert "cannot listen on nowhere:0: Name or service not known. Try another --host" in ran.err
