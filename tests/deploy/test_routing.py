"""The configurations of proxies that README.md and docs/deploy.md show are accepted by those proxies."""

import re
import subprocess

import msgspec
import pytest

from tests.deploy.files import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
TOKEN_HEADERS = {"music-user-token", "media-user-token"}


def block(text: str, language: str, containing: str) -> str:
    """The one code block in `language` with that text in it, its names replaced by loopback addresses."""
    (found,) = (one for one in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) if containing in one)
    return re.sub(r"gateway-([12]):8080", r"127.0.0.\1:8080", found)


@pytest.mark.needs("nginx")
@pytest.mark.parametrize(
    ("text", "containing"), [(README, "ratings|favorites"), (GUIDE, "consistent")], ids=["paths", "users"]
)
def test_nginx_accepts_the_configuration(text, containing, tmp_path):
    folders = "".join(
        f"{name}_temp_path {tmp_path}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    written = block(text, "nginx", containing).replace(
        # The name is resolved when the configuration is read.
        "proxy_pass https://api.music.apple.com",
        "proxy_pass https://127.0.0.1",
    )
    path = tmp_path / "nginx.conf"
    http = f"access_log off;\n{folders}{written}"
    path.write_text(f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\n{http}}}\n", encoding="utf-8")
    done = subprocess.run(
        ["nginx", "-t", "-p", tmp_path, "-c", path, "-e", "stderr"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.needs("haproxy")
def test_haproxy_accepts_the_configuration(tmp_path):
    path = tmp_path / "haproxy.cfg"
    path.write_text(block(GUIDE, "haproxy", "balance"), encoding="utf-8")
    done = subprocess.run(["haproxy", "-c", "-f", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_balancer_uses_whichever_token_is_sent():
    envoy = msgspec.yaml.decode(block(GUIDE, "yaml", "RING_HASH").encode())
    (route,) = envoy["routes"]
    assert {policy["header"]["header_name"] for policy in route["route"]["hash_policy"]} == TOKEN_HEADERS
    haproxy, nginx = block(GUIDE, "haproxy", "balance"), block(GUIDE, "nginx", "consistent")
    for header in TOKEN_HEADERS:
        assert f"req.hdr({header.title()})" in haproxy
        assert f"$http_{header.replace('-', '_')}" in nginx


def test_envoys_routes_send_ratings_and_favorites_to_the_gateway_and_the_rest_to_apple():
    first, rest = msgspec.yaml.decode(block(README, "yaml", "ratings-gateway").encode())["routes"]
    pattern = re.compile(first["match"]["safe_regex"]["regex"])
    for path in ("/v1/me/ratings/albums", "/v1/me/ratings", "/v1/me/favorites"):
        assert pattern.fullmatch(path)
    for path in ("/v1/me/ratingsx", "/v1/catalog/us/albums/1", "/v1/me/library/albums"):
        assert not pattern.fullmatch(path)
    assert rest["match"] == {"prefix": "/"}
