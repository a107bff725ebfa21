"""Clients that others wrote for Apple's API, with nothing changed but the base URL.

Apple's own MusicKit JS is not among them: its licence forbids copies, and no npm package was found that ships
it. `test_compatibility.py` tests what it sends: `Media-User-Token`, `platform=web`, `omit[…]`, a last slash.
"""

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.sandbox import ADA, Credentials, Sandbox
from tests.e2e.harness import Caller

PYTHON_CLIENTS = Path(__file__).with_name("clients.lock")
NODE_CLIENT = "capacitor-plugin-musickit@0.0.81"
NODE_CLIENT_SHA256 = "64ad53a78973d19b35faa5efbe8c67a4a6d82a854c9f601830a285ac042679da"
INSTALL_SECONDS = 60

USES_APPLEMUSIC_MCP = """
import json, sys
from applemusic_mcp import amp_api, auth
amp_api.AMP = sys.argv[1] + "/v1"
auth.resolve_web_token = lambda: "a token that the gateway replaces"
auth.get_user_token = lambda: sys.argv[2]
said = [amp_api.get_rating("77")]
for value in (1, -1, 0):
    said += [amp_api.rate("77", value), amp_api.get_rating("77")]
said += [amp_api.rate("77", 1, "stations")[0], amp_api.get_rating("1138988512", "albums")]
json.dump(said, sys.stdout)
"""

USES_MCP_APPLE_MUSIC_SERVER = """
import asyncio, json, sys
from mcp_apple_music import client, server
client.API_HOST, client.BASE_URL = sys.argv[1], sys.argv[1] + "/v1"
async def main():
    said = [await server.get_song_favorite_status("77, 78")]
    star, unstar = server.favorite_song, server.unfavorite_song
    for change, song in ((star, "77"), (star, "78"), (unstar, "77")):
        await change(song)
        said.append(await server.get_song_favorite_status("77,78"))
    json.dump([[line.split(": ")[1] for line in text.splitlines()[2:]] for text in said], sys.stdout)
asyncio.run(main())
"""

FASTMCP = (
    "class FastMCP:\n    def __init__(self, *_, **__): ...\n    def tool(self): return lambda tool: tool\n"
)
"""Stands in for the package `mcp`, whose transport is not needed to call the client's functions."""

USES_NODE_CLIENT = """
import { CapacitorMusicKitWeb } from "./web.mjs";
const [base, token] = process.argv.slice(2);
async function music(path, parameters = {}, { fetchOptions = {} } = {}) {
  const query = new URLSearchParams(parameters).toString();
  const headers = { Authorization: "Bearer none", "Music-User-Token": token };
  const response = await fetch(base + path + (query && "?" + query), { headers, ...fetchOptions });
  if (!response.ok) throw new Error(String(response.status));
  return { data: response.status === 204 ? null : await response.json() };
}
globalThis.MusicKit = { getInstance: () => ({ api: { music } }) };
const client = new CapacitorMusicKitWeb();
const values = async () => {
  const { data } = await client.getRatings({ type: "songs", ids: ["77", "78"] });
  return data.map((rating) => [rating.id, rating.attributes.value]);
};
const said = [await values()];
await client.addRating({ type: "songs", id: "77", value: 1 });
said.push(await values());
await client.addRating({ type: "songs", id: "78", value: -1 });
said.push(await values());
await client.deleteRating({ type: "songs", id: "77" });
said.push(await values());
process.stdout.write(JSON.stringify(said));
"""

WITHOUT_A_BROWSER = {
    "@capacitor/core": "export class WebPlugin {}",
    "howler": "export class Howl {}",
}


def install(command: Sequence[str], folder: Path) -> None:
    """Skip where it cannot be had."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{command[0]} did not answer in {INSTALL_SECONDS} s")
    if done.returncode:
        pytest.skip(f"cannot be installed: {done.stderr.strip().splitlines()[-1:]}")


def unpack_node_client(folder: Path) -> None:
    """The client's web build, beside stand-ins for what only a browser has."""
    install(["npm", "pack", "--silent", NODE_CLIENT], folder)
    (archive,) = folder.glob("*.tgz")
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == NODE_CLIENT_SHA256
    subprocess.run(["tar", "-xzf", archive, "-C", folder], check=True)
    shutil.copy(folder / "package" / "dist" / "web.js", folder / "web.mjs")
    for name, source in WITHOUT_A_BROWSER.items():
        module = folder / "node_modules" / name
        module.mkdir(parents=True)
        (module / "package.json").write_text('{"type":"module","exports":"./index.js"}')
        (module / "index.js").write_text(source)
    (folder / "main.mjs").write_text(USES_NODE_CLIENT)


@pytest.fixture(scope="module")
def python_clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages of `clients.lock`, and a stand-in for what they need besides."""
    folder = tmp_path_factory.mktemp("clients")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--target",
        ".",
    ]
    install([*pip, "--requirement", str(PYTHON_CLIENTS)], folder)
    fastmcp = folder / "mcp" / "server" / "fastmcp.py"
    fastmcp.parent.mkdir(parents=True)
    fastmcp.write_text(FASTMCP)
    return folder


async def said_by(*command: str | Path, cwd: Path, env: Mapping[str, str] = os.environ) -> Any:
    """The JSON that a client prints."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return json.loads(out)


async def test_mcp_apple_music_server_rates_through_the_gateway(
    gateway: Caller, sandbox: Sandbox, python_clients: Path
):
    own = Credentials.generate()
    credentials = {
        "APPLE_TEAM_ID": own.team_id,
        "APPLE_KEY_ID": own.key_id,
        "APPLE_PRIVATE_KEY": own.private_key_pem,
        "APPLE_MUSIC_USER_TOKEN": ADA,
    }
    said = await said_by(
        sys.executable, "-c", USES_MCP_APPLE_MUSIC_SERVER, gateway.served.api_url,
        cwd=python_clients, env={**os.environ, **credentials},
    )  # fmt: skip
    yes, no = "⭐ favorited", "not favorited"
    assert said == [[no, no], [yes, no], [yes, yes], [no, yes]]
    assert sandbox.calls.total == 4, "one read and three writes: what was written is not read again"


async def test_applemusic_mcp_rates_through_the_gateway(gateway: Caller, python_clients: Path):
    said = await said_by(
        sys.executable, "-c", USES_APPLEMUSIC_MCP, gateway.served.api_url, ADA, cwd=python_clients
    )
    assert said == [
        None,
        [True, "Loved"],
        1,
        [True, "Disliked"],
        -1,
        [True, "Cleared rating"],
        None,
        False,
        1,
    ]


@pytest.mark.needs("npm", "node")
async def test_capacitor_plugin_musickit_rates_through_the_gateway(gateway: Caller, tmp_path: Path):
    unpack_node_client(tmp_path)
    said = await said_by("node", "main.mjs", gateway.served.api_url, ADA, cwd=tmp_path)
    assert said == [
        [],
        [["77", 1]],
        [["77", 1], ["78", -1]],
        [["78", -1]],
    ]
