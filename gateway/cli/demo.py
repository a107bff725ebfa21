"""`demo`: run the sandbox and a gateway in front of it, and print what to try."""

import asyncio
import contextlib
import signal
import socket
from argparse import ArgumentParser, Namespace

import uvloop

from gateway.cli.console import CommandFailed, cannot_listen, coloured, flush, report, say
from gateway.cli.parser import port
from gateway.sandbox import ADA, Sandbox
from gateway.server import CannotListen, serving
from gateway.settings import Settings, load
from gateway.telemetry import logs
from gateway.web.request_record import RequestRecord
from gateway.web.response import Reply

API_PORT, OPS_PORT = 8080, 8081
LOG_LEVEL = "warning"
"""The demo prints a line of its own per request."""

DESCRIPTION = (
    "Needs no credentials and no servers. Prints curl lines whose answers show a miss and then a hit."
)
EXAMPLES = """
    ratings-gateway demo
    ratings-gateway demo --port 9000
"""

_TRY = """\
A stand-in for Apple Music runs at {apple}, the gateway in front of it at {api}.
Nothing leaves this machine. Try, in another terminal:

  curl -i -H 'Music-User-Token: {user}' \\
    '{api}/v1/me/ratings/albums?ids=1138988512,475655712'

The first answer has `Cache-Status: ratings-gateway; fwd=miss`, the second `hit`. Then:

  curl -i -H 'Music-User-Token: {user}' '{api}/v1/me/ratings/albums/1138988512'

  curl -i -X PUT -H 'Music-User-Token: {user}' \\
    -d '{{"type":"rating","attributes":{{"value":-1}}}}' '{api}/v1/me/ratings/albums/1138988512'

  curl -i -H 'Music-User-Token: {user}' \\
    -d '{{"ids":{{"albums":["1138988512","475655712"],"songs":["900000001"]}}}}' '{api}/v1/me/ratings'

Pages:

  {ops}/docs      API reference
  {ops}/status    status of the gateway
  {ops}/          every page

Ctrl-C stops it. Requests as they come in:
"""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--port", type=port, help=f"port of the gateway's API (default: {API_PORT}, or a free one)"
    )


def run(arguments: Namespace) -> int:
    logs.configure(level=LOG_LEVEL, format_="auto", coloured=coloured())
    try:
        uvloop.run(_demo(arguments.port))
    except BrokenPipeError:
        raise
    except CannotListen as error:
        raise CommandFailed(cannot_listen(error, error.address)) from None
    except OSError as error:
        raise CommandFailed(f"{error.strerror or error}. Try another --port.") from None
    return 0


async def _demo(api_port: int | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def show(record: RequestRecord, reply: Reply) -> None:
        try:
            report(f"  {record.method} {record.route}  {reply.status}  {reply.cache_status}")
        except BrokenPipeError:
            stop.set()  # the reader of the output is gone

    api_port = _free(API_PORT) if api_port is None else api_port
    async with Sandbox() as sandbox, serving(_settings(sandbox, api_port), observe=show) as served:
        say(_TRY.format(apple=sandbox.url, api=served.api_url, ops=served.ops_url, user=ADA))
        flush()  # a pipe is buffered
        await stop.wait()
    report("stopped")


def _settings(sandbox: Sandbox, api_port: int) -> Settings:
    credentials = sandbox.credentials
    return load(
        None,
        {
            "GATEWAY_APPLE__BASE_URL": sandbox.url,
            "GATEWAY_APPLE__TEAM_ID": credentials.team_id,
            "GATEWAY_APPLE__KEY_ID": credentials.key_id,
            "GATEWAY_APPLE__PRIVATE_KEY": credentials.private_key_pem,
            "GATEWAY_SERVER__PORT": str(api_port),
            "GATEWAY_OPS__PORT": str(_free(OPS_PORT)),
            "GATEWAY_LOG__LEVEL": LOG_LEVEL,
        },
    )


def _free(preferred: int) -> int:
    """Return `preferred` if it can be bound, else 0, which picks a free port."""
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            return 0
    return preferred
