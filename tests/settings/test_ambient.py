"""The proxy that is taken from the environment: HTTPS_PROXY and NO_PROXY."""

import pytest

from gateway.settings import BadSettings, load


def proxy(required: dict[str, str], **environ: str) -> tuple[str | None, str]:
    settings = load(None, {**required, **environ})
    found = settings.apple.proxy_url
    return None if found is None else found.get_secret_value(), settings.sources["apple.proxy_url"]


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_the_proxy_of_the_environment_is_used(required, variable):
    found = proxy(required, **{variable: "http://proxy:3128"})
    assert found == ("http://proxy:3128", f"environment {variable}")


def test_the_setting_overrides_the_environment(required):
    set_ = "http://own:1"
    found = proxy(required, HTTPS_PROXY="http://proxy:3128", GATEWAY_APPLE__PROXY_URL=set_, NO_PROXY="*")
    assert found == (set_, "environment GATEWAY_APPLE__PROXY_URL")


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("proxy:3128", "http://proxy:3128"),
        ("proxy", "http://proxy:80"),
        ("https://me:word@proxy", "https://me:word@proxy:443"),
    ],
)
def test_a_missing_scheme_or_port_is_added(required, given, used):
    assert proxy(required, HTTPS_PROXY=given)[0] == used


@pytest.mark.parametrize(
    "exceptions", ["*", "apple.com", ".apple.com", "*.apple.com", "a.b, api.music.apple.com", "apple.com:443"]
)
def test_an_exempt_upstream_is_called_directly(required, exceptions):
    assert proxy(required, HTTPS_PROXY="http://proxy:3128", NO_PROXY=exceptions) == (None, "default")


@pytest.mark.parametrize("exceptions", ["", "pple.com", "example.com", "apple.com:8443", "10.0.0.0/8", ","])
def test_exceptions_for_other_hosts_are_ignored(required, exceptions):
    assert proxy(required, HTTPS_PROXY="http://proxy:3128", NO_PROXY=exceptions)[0] == "http://proxy:3128"


@pytest.mark.parametrize(
    ("exceptions", "used"), [("10.0.0.0/8", False), ("10.1.2.3", False), ("11.0.0.0/8", True)]
)
def test_networks_exempt_addresses(required, exceptions, used):
    environ = {
        "GATEWAY_APPLE__BASE_URL": "https://10.1.2.3",
        "HTTPS_PROXY": "http://p:1",
        "NO_PROXY": exceptions,
    }
    assert (proxy(required, **environ)[0] is not None) == used


def test_plain_http_on_loopback_needs_no_proxy(required):
    found = proxy(required, GATEWAY_APPLE__BASE_URL="http://127.0.0.1:1", HTTPS_PROXY="http://proxy:3128")
    assert found == (None, "default")


@pytest.mark.parametrize("broken", ["socks5://me:hunter2@proxy:1080", "http://me:hunter2@[::1", "http://"])
def test_an_invalid_proxy_is_a_fault_that_names_its_source(required, broken):
    with pytest.raises(BadSettings) as caught:
        load(None, {**required, "HTTPS_PROXY": broken})
    (fault,) = caught.value.faults
    assert (fault.setting, fault.source) == ("apple.proxy_url", "environment HTTPS_PROXY")
    assert "hunter2" not in str(fault)
