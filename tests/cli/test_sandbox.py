import signal
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
    ran = run("sandbox", "--port", gateway.url.rpartition(":")[2])
    assert ran.status == 1
    assert "Try another --port" in ran.err
