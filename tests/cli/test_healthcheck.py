import pytest

from gateway.cli.http import api_url, ops_url


def test_a_ready_gateway_is_0(run, gateway):
    assert run("healthcheck", "--ops-url", gateway.url + "/") == (0, "ready\n", "")
    assert [(asked.method, asked.path) for asked in gateway.asked] == [("GET", "/readyz")]


def test_a_gateway_that_is_not_ready_is_1_and_says_where_to_look(run, gateway):
    gateway.always(503, "draining\n")
    ran = run("healthcheck", "--ops-url", gateway.url)
    assert ran.status == 1
    assert "answered 503: draining" in ran.err
    assert "/readyz?verbose" in ran.err


def test_no_gateway_is_1(run):
    ran = run("healthcheck", "--ops-url", "http://127.0.0.1:1")
    assert ran.status == 1
    assert "no answer from http://127.0.0.1:1/readyz: Connection refused" in ran.err


def test_what_is_no_url_is_wrong_usage(run):
    assert run("healthcheck", "--ops-url", "127.0.0.1:8081").status == 2


def test_a_url_with_a_bad_port_is_1_and_says_what_is_bad(run):
    ran = run("healthcheck", "--ops-url", "http://127.0.0.1:port")
    assert ran.status == 1
    assert "nonnumeric port: 'port" in ran.err


def test_redirects_are_not_followed(run, gateway):
    gateway.always(302, Location="http://127.0.0.1:1/")
    assert "answered 302" in run("healthcheck", "--ops-url", gateway.url).err
    assert len(gateway.asked) == 1


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://127.0.0.1:8081"),
        ({"GATEWAY_OPS__PORT": "9090"}, "http://127.0.0.1:9090"),
        ({"GATEWAY_OPS__HOST": "0.0.0.0", "GATEWAY_OPS__PORT": "9090"}, "http://127.0.0.1:9090"),
        ({"GATEWAY_OPS__HOST": "::"}, "http://[::1]:8081"),
        ({"GATEWAY_OPS__HOST": "10.0.0.1"}, "http://10.0.0.1:8081"),
    ],
)
def test_the_gateways_own_variables_say_where_it_listens(monkeypatch, environ, url):
    for name, text in environ.items():
        monkeypatch.setenv(name, text)
    assert ops_url(None) == url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ('[ops]\nhost = "0.0.0.0"\nport = 9191', "http://127.0.0.1:9191"),
        ("[server]\nport = 9191", "http://127.0.0.1:8081"),
        ("ops = 9191", "http://127.0.0.1:8081"),
        ("no toml", "http://127.0.0.1:8081"),
    ],
)
def test_the_gateways_own_file_says_where_it_listens(monkeypatch, tmp_path, text, url):
    (tmp_path / "gateway.toml").write_text(text)
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "gateway.toml"))
    assert ops_url(None) == url


def test_variables_go_before_the_file(monkeypatch, tmp_path):
    (tmp_path / "gateway.toml").write_text("[ops]\nport = 9191\n[server]\nport = 8181")
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "gateway.toml"))
    assert api_url(None) == "http://127.0.0.1:8181"
    monkeypatch.setenv("GATEWAY_OPS__PORT", "9090")
    assert ops_url(None) == "http://127.0.0.1:9090"


def test_a_file_that_is_gone_leaves_the_defaults(monkeypatch, tmp_path):
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "gateway.toml"))
    assert (api_url(None), ops_url(None)) == ("http://127.0.0.1:8080", "http://127.0.0.1:8081")
