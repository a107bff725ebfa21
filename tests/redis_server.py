"""Real redis-server processes on free loopback ports."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import redis

from tests.ports import free_port

READY = ("Ready to accept connections", "+monitor", "Sentinel ID is")


class RedisServer:
    """One redis-server; a context manager that starts it, and kills it and deletes its data."""

    def __init__(self, *options: str, port: int | None = None, sentinel: Sequence[str] | None = None) -> None:
        self.port = port or free_port()
        self.tls_port = 0
        self._options = options
        self._sentinel = sentinel
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def socket_path(self) -> Path:
        return self._folder / "redis.sock"

    def client(self, **options: object) -> redis.Redis:
        """A plain blocking client, to look at the server from outside."""
        return redis.Redis(host="127.0.0.1", port=self.port, **options)  # type: ignore[arg-type]

    def start(self) -> Self:
        """Start without data from before; returns when it accepts connections."""
        command = ["redis-server"]
        if self._sentinel is not None:
            config = self._folder / "sentinel.conf"
            config.write_text("\n".join((f"port {self.port}", "bind 127.0.0.1", *self._sentinel)) + "\n")
            command += [str(config), "--sentinel"]
        else:
            command += ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
            command += ["--dir", str(self._folder), "--unixsocket", str(self.socket_path), *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if any(ready in line for ready in READY):
                return self
        self.kill()
        raise RuntimeError(f"redis-server did not start:\n{''.join(said)}")

    def kill(self) -> None:
        """Kill it, as in a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def pause(self) -> None:
        """Suspend it; its connections stay open."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder)
