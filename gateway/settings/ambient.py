"""The proxy that the environment names for all programs: `HTTPS_PROXY`, with the exceptions of `NO_PROXY`."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from pydantic_settings import BaseSettings

from gateway.settings.model import SETTINGS
from gateway.settings.sources import Given, SettingsSource

_PORTS = {"http": 80, "https": 443}


class AmbientProxy(SettingsSource):
    """`apple.proxy_url` from the environment, for an https upstream at `base_url`. To be the last source."""

    def __init__(
        self, settings_cls: type[BaseSettings], environ: Mapping[str, str], base_url: object
    ) -> None:
        super().__init__(settings_cls)
        self.take(self._given(environ, str(base_url)))

    def _given(self, environ: Mapping[str, str], base_url: str) -> Iterator[Given]:
        # Lower case first, as curl and Python do.
        for variable in ("https_proxy", "HTTPS_PROXY"):
            if environ.get(variable):
                exceptions = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
                if not _is_exempt(base_url, exceptions):
                    yield Given(_SETTING, False, _complete(environ[variable]), f"environment {variable}")
                return


def _is_exempt(base_url: str, exceptions: str) -> bool:
    try:
        url = urlsplit(base_url)
        host, port = url.hostname or "", url.port or _PORTS["https"]
    except ValueError:
        return True
    return url.scheme != "https" or any(_matches(host, port, each) for each in exceptions.split(","))


def _matches(host: str, port: int, exception: str) -> bool:
    """Whether an entry of `NO_PROXY` covers the host: a domain and all below, an address, a network, `*`."""
    exception = exception.strip().lower()
    try:
        return ip_address(host) in ip_network(exception, strict=False)
    except ValueError:
        name = exception.removesuffix(f":{port}").removeprefix("*").removeprefix(".")
        return exception == "*" or (bool(name) and f".{host}".endswith(f".{name}"))


def _complete(proxy: str) -> str:
    """The proxy as a URL with scheme and port, both of which programs leave out."""
    url = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(url)
        if parts.port is None and parts.scheme in _PORTS:
            return f"{parts.scheme}://{parts.netloc.rstrip(':')}:{_PORTS[parts.scheme]}"
    except ValueError:
        pass  # the setting's own check reports it
    return url


_SETTING = next(setting for setting in SETTINGS if setting.name == "apple.proxy_url")
