"""Names, values and secret files in the environment and in the configuration file."""

import pytest

from gateway.settings import BadSettings, load


def test_variables_that_kubernetes_injects_are_ignored(required):
    injected = {
        "GATEWAY_SERVICE_HOST": "10.0.0.1",
        "GATEWAY_SERVICE_PORT": "8080",
        "GATEWAY_PORT": "tcp://10.0.0.1:8080",
        "GATEWAY_PORT_8080_TCP_ADDR": "10.0.0.1",
        "GATEWAY_SERVER": "tcp://10.0.0.1",
        "GATEWAY_FOO__BAR_SERVICE_HOST": "10.0.0.1",
        "OTHER__SERVER__PORT": "1",
    }
    assert load(None, {**required, **injected}).server.port == 8080


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("GATEWAY_SERVER__PROT", "GATEWAY_SERVER__PORT"),
        ("GATEWAY_SERVR__PORT", "GATEWAY_SERVER__PORT"),
        ("GATEWAY_CACHE__REDISURL", "GATEWAY_CACHE__REDIS_URL"),
        ("GATEWAY_APPLE__PRIVATE_KEYFILE", "GATEWAY_APPLE__PRIVATE_KEY_FILE"),
        ("GATEWAY_SERVER__Port", "GATEWAY_SERVER__PORT"),
        ("GATEWAY_LOG__LEVEL_FILE", "GATEWAY_LOG__LEVEL"),
        ("GATEWAY_SERVER__REDIS_URL", "GATEWAY_CACHE__REDIS_URL"),
    ],
)
def test_an_unknown_gateway_variable_is_a_fault_that_names_the_nearest(faults, variable, meant):
    [fault] = faults({variable: "hunter2"}).values()
    assert fault.source == f"environment {variable}"
    assert f"did you mean {meant}?" in fault.problem
    assert "hunter2" not in str(fault)


@pytest.mark.parametrize(
    ("text", "setting", "meant"),
    [
        ("[server]\nprot = 1", "server.prot", "server.port"),
        ("[servr]\nport = 1", "servr", "[server]"),
        ("port = 1", "port", "server.port"),
        ("[cache]\nredis_url_fil = 'x'", "cache.redis_url_fil", "cache.redis_url_file"),
        ("[cache.redis]\nurl = 'x'", "cache.redis", "cache.redis_url"),
    ],
)
def test_an_unknown_name_in_the_file_is_a_fault_that_names_the_nearest(faults, text, setting, meant):
    assert f"did you mean {meant}?" in faults({}, text)[setting].problem


@pytest.mark.parametrize(
    ("environ", "text", "setting", "accepted"),
    [
        (
            {"GATEWAY_CACHE__UNRELATED": "x"},
            None,
            "cache.unrelated",
            "in [cache]: redis_url, redis_ca_file,",
        ),
        ({"GATEWAY_LOGS__UNRELATED": "x"}, None, "logs.unrelated", "in [log]: level, format, sample_hits"),
        ({"GATEWAY_SERVER__TIMEOUT": "1"}, None, "server.timeout", "in [server]: host, port, unix_socket,"),
        ({}, "[log]\nunrelated = 1", "log.unrelated", "in [log]: level, format, sample_hits"),
        ({}, "[unrelated]\nport = 1", "unrelated", "the tables [server], [ops],"),
        ({}, "unrelated = 1", "unrelated", "the tables [server], [ops],"),
    ],
)
def test_an_unknown_name_that_resembles_none_is_a_fault_that_lists_what_there_is(
    faults, environ, text, setting, accepted
):
    fault = faults(environ, text)[setting]
    assert fault.problem == "no such setting"
    assert fault.accepted.startswith(accepted)


def test_an_unknown_name_hides_no_fault_of_the_setting_it_resembles(required):
    environ = {"GATEWAY_SERVER__Port": "1", "GATEWAY_SERVER__PORT": "70000"}
    with pytest.raises(BadSettings) as caught:
        load(None, {**required, **environ})
    assert [fault.source for fault in caught.value.faults] == [f"environment {name}" for name in environ]


def test_a_section_that_is_not_a_table_is_a_fault(faults):
    assert "[log]" in faults({}, "log = 3")["log"].accepted


def test_an_empty_variable_counts_as_not_set(required, toml):
    path = toml("[server]\nport = 9000\n")
    assert load(path, {**required, "GATEWAY_SERVER__PORT": "", "GATEWAY_CONFIG": ""}).server.port == 9000


@pytest.mark.parametrize("text", ["one,two", " one , two ,", "one\ntwo\n"])
def test_a_list_is_text_with_commas_or_lines(required, text):
    settings = load(None, {**required, "GATEWAY_SERVER__CALLER_TOKENS": text})
    assert [token.get_secret_value() for token in settings.server.caller_tokens] == ["one", "two"]


@pytest.mark.parametrize("value", ['["one", "two"]', '"one,two"'])
def test_a_list_in_the_file_is_an_array_or_text(required, toml, value):
    settings = load(toml(f"[server]\ncaller_tokens = {value}\n"), required)
    assert [token.get_secret_value() for token in settings.server.caller_tokens] == ["one", "two"]


def test_a_list_of_numbers_is_one_fault(faults):
    assert faults({}, "[server]\ncaller_tokens = [1, 2]").keys() == {"server.caller_tokens"}


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_variable_may_name_a_file_that_contains_the_secret(required, tmp_path, ending):
    file = tmp_path / "token"
    file.write_bytes(b"hunter2" + ending.encode())
    settings = load(None, {**required, "GATEWAY_OPS__TOKEN_FILE": str(file)})
    assert settings.ops.token is not None
    assert settings.ops.token.get_secret_value() == "hunter2"
    assert settings.sources["ops.token"] == "environment GATEWAY_OPS__TOKEN_FILE"
    assert settings.secret_files == {"ops.token": file}


def test_the_configuration_file_may_name_a_file_that_contains_the_secret(required, toml, tmp_path):
    secret = tmp_path / "tokens"
    secret.write_text("one\ntwo\n")
    path = toml(f"[server]\ncaller_tokens_file = '{secret}'\n")
    settings = load(path, required)
    assert len(settings.server.caller_tokens) == 2
    assert settings.sources["server.caller_tokens"] == f"file {path} (caller_tokens_file)"


def test_a_secret_and_its_file_in_one_source_are_a_fault(faults, tmp_path):
    file = tmp_path / "token"
    file.write_text("x")
    fault = faults({"GATEWAY_OPS__TOKEN": "x", "GATEWAY_OPS__TOKEN_FILE": str(file)})["ops.token"]
    assert "GATEWAY_OPS__TOKEN" in fault.problem
    fault = faults({}, f"[ops]\ntoken = 'x'\ntoken_file = '{file}'")["ops.token"]
    assert "set twice" in fault.problem


def test_the_environment_overrides_a_secret_of_the_file_in_either_form(required, toml, tmp_path):
    file = tmp_path / "token"
    file.write_text("lower")
    path = toml(f"[ops]\ntoken_file = '{file}'")
    settings = load(path, {**required, "GATEWAY_OPS__TOKEN": "upper"})
    assert settings.ops.token is not None
    assert settings.ops.token.get_secret_value() == "upper"
    assert settings.secret_files == {}


def test_a_secret_file_that_is_missing_is_named(faults, tmp_path):
    missing = tmp_path / "missing"
    fault = faults({"GATEWAY_OPS__TOKEN_FILE": str(missing)})["ops.token"]
    assert fault.source == "environment GATEWAY_OPS__TOKEN_FILE"
    assert fault.problem == f"{missing}: No such file or directory"


def test_a_required_secret_whose_file_is_missing_is_one_fault(required, tmp_path):
    del required["GATEWAY_APPLE__PRIVATE_KEY"]
    with pytest.raises(BadSettings) as caught:
        load(None, {**required, "GATEWAY_APPLE__PRIVATE_KEY_FILE": str(tmp_path / "missing")})
    assert [fault.setting for fault in caught.value.faults] == ["apple.private_key"]


@pytest.mark.parametrize(
    "path", ["AuthKey_FGHIJ67890.p8", "keys/token.txt", "ca.PEM", "a.toml", "a.key", "a.crt"]
)
def test_a_relative_path_that_ends_like_a_file_is_named(faults, path):
    fault = faults({"GATEWAY_OPS__TOKEN_FILE": path})["ops.token"]
    assert fault.problem == f"{path}: No such file or directory"


@pytest.mark.parametrize("secret", ["hunter2", "s3cret.p8x", "a b.p8", "1a+/x==.pem!"])
def test_a_secret_in_place_of_its_path_is_not_repeated(faults, secret):
    fault = faults({"GATEWAY_OPS__TOKEN_FILE": secret})["ops.token"]
    assert fault.problem == "the file that it names: No such file or directory"


@pytest.mark.parametrize(("content", "said"), [(b"\n", "is empty"), (b"\xff\xfe", "is not a text file")])
def test_a_secret_file_without_a_secret_is_a_fault(faults, tmp_path, content, said):
    file = tmp_path / "token"
    file.write_bytes(content)
    assert faults({"GATEWAY_OPS__TOKEN_FILE": str(file)})["ops.token"].problem == f"{file} {said}"


def test_a_key_in_place_of_its_file_is_not_repeated(faults, pem):
    fault = faults({"GATEWAY_APPLE__PRIVATE_KEY": "", "GATEWAY_APPLE__PRIVATE_KEY_FILE": pem})[
        "apple.private_key"
    ]
    assert fault.problem == "expected the path of a file, not the secret itself"


@pytest.mark.parametrize("secret", ["hunter2", "hunter2/but=longer"])
def test_a_token_in_place_of_its_file_is_not_repeated(faults, secret):
    assert "hunter2" not in str(faults({"GATEWAY_OPS__TOKEN_FILE": secret})["ops.token"])


@pytest.mark.parametrize("times", [1, 10])
def test_a_tls_key_in_place_of_its_path_is_not_repeated(faults, pem, times):
    long = times * pem.replace("/", "+")
    environ = {"GATEWAY_CACHE__REDIS_KEY_FILE": long, "GATEWAY_CACHE__REDIS_URL": "rediss://redis"}
    found = faults(environ)["cache.redis_key_file"]
    assert "BEGIN" not in str(found)
    assert "cannot be read" in found.problem


def test_tls_files_are_settings_and_not_secret_files(required, tls):
    environ = {"GATEWAY_CACHE__REDIS_CA_FILE": tls.ca, "GATEWAY_CACHE__REDIS_URL": "rediss://redis"}
    assert str(load(None, {**required, **environ}).cache.redis_ca_file) == tls.ca


@pytest.mark.parametrize("text", ["[ops]\ntoken_file = 3", "[ops]\ntoken = 3"])
def test_a_number_in_place_of_a_secret_is_a_fault(faults, text):
    assert faults({}, text).keys() == {"ops.token"}
