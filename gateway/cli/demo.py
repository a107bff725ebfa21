"""`demo`: the sandbox and a gateway in front of it, and what to try."""

import asyncio
import contextlib
import signal
import socket
import sys
from argparse import Namespace

import uvloop

from gateway.cli.console import coloured, report, say
from gateway.sandbox import ADA, Sandbox
from gateway.server import serving
from gateway.settings import Settings, load
from gateway.telemetry import logs
from gateway.web.rendering import Reply
from gateway.web.request_record import RequestRecord

API_PORT, OPS_PORT = 8080, 8081
LOG_LEVEL = "warning"
"""Requests are shown in a line of the demo's own."""

_TRY = """\
A stand-in for Apple Music runs at {apple}, the gateway in front of it at {api}.
Nothing leaves this machine. Try, in another terminal:

  curl -i -H 'Music-User-Token: {user}' \\
    '{api}/v1/me/ratings/albums?ids=1138988512,475655712'

The first answer says `Cache-Status: ratings-gateway; fwd=miss`; asked again, `hit`. Then:

  curl -i -H 'Music-User-Token: {user}' '{api}/v1/me/ratings/albums/1138988512'

  curl -i -X PUT -H 'Music-User-Token: {user}' \\
    -d '{{"type":"rating","attributes":{{"value":-1}}}}' '{api}/v1/me/ratings/albums/1138988512'

  curl -i -H 'Music-User-Token: {user}' \\
    -d '{{"ids":{{"albums":["1138988512","475655712"],"songs":["900000001"]}}}}' '{api}/v1/me/ratings'

  open {ops}/status    and {ops}/metrics

Ctrl-C ends it. Requests as they come in:
"""


def run(arguments: Namespace) -> int:
    del arguments
    logs.configure(level=LOG_LEVEL, format_="auto", coloured=coloured())
    uvloop.run(_demo())
    return 0


async def _demo() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def show(exchange: RequestRecord, reply: Reply) -> None:
        try:
            report(f"  {exchange.method} {exchange.route}  {reply.status}  {reply.cache_status}")
        except BrokenPipeError:
            stop.set()  # nobody watches any more

    async with Sandbox() as sandbox, serving(_settings(sandbox), observe=show) as served:
        say(_TRY.format(apple=sandbox.url, api=served.api_url, ops=served.ops_url, user=ADA))
        sys.stdout.flush()  # a pipe would keep it until the end
        await stop.wait()
    report("stopped")


def _settings(sandbox: Sandbox) -> Settings:
    credentials = sandbox.credentials
    return load(
        None,
        {
            "GATEWAY_APPLE__BASE_URL": sandbox.url,
            "GATEWAY_APPLE__TEAM_ID": credentials.team_id,
            "GATEWAY_APPLE__KEY_ID": credentials.key_id,
            "GATEWAY_APPLE__PRIVATE_KEY": credentials.private_key_pem,
            "GATEWAY_SERVER__PORT": str(_free(API_PORT)),
            "GATEWAY_OPS__PORT": str(_free(OPS_PORT)),
            "GATEWAY_LOG__LEVEL": LOG_LEVEL,
        },
    )


def _free(port: int) -> int:
    """`port` where nobody listens on it, else 0: any."""
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port
