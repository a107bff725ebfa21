"""Which gateway a command calls, and with what tokens."""

import pytest

from gateway.cli.access import api_url, caller_token, ops_token, ops_url, secret, user_token
from gateway.cli.console import WrongUsage

VARIABLE = "MUSIC_USER_TOKEN"


def test_a_secret_comes_from_the_option_then_the_named_file_then_the_variable(monkeypatch, tmp_path):
    option, named = tmp_path / "option", tmp_path / "named"
    option.write_text("from-option\n")
    named.write_text("from-named\n")
    assert secret(None, VARIABLE) is None
    monkeypatch.setenv(VARIABLE, "from-variable")
    assert secret(None, VARIABLE) == "from-variable"
    monkeypatch.setenv(f"{VARIABLE}_FILE", str(named))
    assert secret(None, VARIABLE) == "from-named"
    assert secret(option, VARIABLE) == "from-option"


@pytest.mark.parametrize("token", ["hunter2\nX-More: hunter3", "hunter2 \u20ac"])
def test_a_token_that_no_header_can_carry_is_wrong_usage_and_not_repeated(monkeypatch, token):
    monkeypatch.setenv(VARIABLE, token)
    with pytest.raises(WrongUsage) as caught:
        secret(None, VARIABLE)
    assert str(caught.value) == f"{VARIABLE} contains no token: expected one line of ASCII"


@pytest.mark.parametrize("content", [b"two\nlines", b"", b"\n"])
def test_a_token_file_without_one_token_is_wrong_usage(tmp_path, content):
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(WrongUsage, match="token contains no token"):
        user_token(file)


@pytest.mark.parametrize("content", ["first,second", " first ,\nsecond\n", "first\r\nsecond\r\n", "\n,first"])
def test_the_first_of_several_caller_tokens_is_sent(monkeypatch, tmp_path, content):
    file = tmp_path / "tokens"
    file.write_text(content)
    assert caller_token(file) == "first"
    monkeypatch.setenv("GATEWAY_CALLER_TOKEN_FILE", str(file))
    assert caller_token(None) == "first"


def test_a_file_of_no_caller_token_is_wrong_usage(tmp_path):
    file = tmp_path / "tokens"
    file.write_text(" ,\n")
    with pytest.raises(WrongUsage, match="tokens contains no token"):
        caller_token(file)


def test_a_token_file_that_cannot_be_read_is_named_if_its_path_is_absolute(tmp_path):
    with pytest.raises(WrongUsage, match=f"{tmp_path}/missing cannot be read: No such file"):
        user_token(tmp_path / "missing")


def test_a_token_in_place_of_its_file_is_not_repeated(monkeypatch):
    monkeypatch.setenv(f"{VARIABLE}_FILE", "hunter2")
    with pytest.raises(WrongUsage, match=f"the file for {VARIABLE} cannot be read") as caught:
        secret(None, VARIABLE)
    assert "hunter2" not in str(caught.value)


def test_the_user_token_comes_from_its_variable(monkeypatch):
    monkeypatch.setenv(VARIABLE, "an-ordinary-token")
    assert user_token(None) == "an-ordinary-token"


def test_a_missing_user_token_is_wrong_usage():
    with pytest.raises(WrongUsage, match="--user-token-file"):
        user_token(None)


@pytest.mark.parametrize("url_of", [api_url, ops_url])
def test_a_given_url_loses_its_last_slash(url_of):
    assert url_of("http://gateway:1/") == "http://gateway:1"


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
def test_the_ops_url_follows_the_gateways_variables(monkeypatch, environ, url):
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
def test_the_ops_url_follows_the_gateways_file(monkeypatch, tmp_path, text, url):
    (tmp_path / "gateway.toml").write_text(text)
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "gateway.toml"))
    assert ops_url(None) == url


def test_variables_override_the_file(monkeypatch, tmp_path):
    (tmp_path / "gateway.toml").write_text("[ops]\nport = 9191\n[server]\nport = 8181")
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "gateway.toml"))
    assert api_url(None) == "http://127.0.0.1:8181"
    monkeypatch.setenv("GATEWAY_OPS__PORT", "9090")
    assert ops_url(None) == "http://127.0.0.1:9090"


def test_a_file_that_is_missing_leaves_the_defaults(monkeypatch, tmp_path):
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "gateway.toml"))
    assert (api_url(None), ops_url(None)) == ("http://127.0.0.1:8080", "http://127.0.0.1:8081")


def test_the_api_url_is_the_socket_that_the_gateway_listens_on(monkeypatch, tmp_path):
    (tmp_path / "gateway.toml").write_text('[server]\nunix_socket = "/run/file.sock"')
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "gateway.toml"))
    assert api_url(None) == "unix://%2Frun%2Ffile.sock"
    monkeypatch.setenv("GATEWAY_SERVER__UNIX_SOCKET", "/run/variable.sock")
    assert api_url(None) == "unix://%2Frun%2Fvariable.sock"
    assert api_url("unix:///run/option.sock") == "unix://%2Frun%2Foption.sock"
    assert api_url("http://gateway:1") == "http://gateway:1"


@pytest.mark.parametrize("given", ["token = 'from-config'", "token_file = '{folder}/token'"])
def test_the_ops_token_comes_from_the_gateways_file_where_no_variable_is_set(monkeypatch, tmp_path, given):
    (tmp_path / "token").write_text("from-config\n")
    (tmp_path / "gateway.toml").write_text(f"[ops]\n{given.format(folder=tmp_path)}")
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "gateway.toml"))
    assert ops_token(None) == "from-config"
    monkeypatch.setenv("GATEWAY_OPS__TOKEN", "from-variable")
    assert ops_token(None) == "from-variable"


def test_there_is_no_ops_token_where_the_gateways_file_sets_none(monkeypatch, tmp_path):
    (tmp_path / "gateway.toml").write_text("[ops]\nport = 9191")
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "gateway.toml"))
    assert ops_token(None) is None


def test_an_ops_token_in_place_of_its_file_is_not_repeated(monkeypatch, tmp_path):
    (tmp_path / "gateway.toml").write_text("[ops]\ntoken_file = 'hunter2'")
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "gateway.toml"))
    with pytest.raises(WrongUsage, match=r"the file for ops\.token cannot be read") as caught:
        ops_token(None)
    assert "hunter2" not in str(caught.value)
