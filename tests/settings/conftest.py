from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.settings import BadSettings, SettingsFault, load
from tests.cache.redis.certificates import Authority

Faults = Callable[..., dict[str, SettingsFault]]


@pytest.fixture(scope="session")
def pem() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture
def required(pem) -> dict[str, str]:
    """The smallest environment with which the gateway starts."""
    return {
        "GATEWAY_APPLE__TEAM_ID": "TEAM123456",
        "GATEWAY_APPLE__KEY_ID": "KEYID12345",
        "GATEWAY_APPLE__PRIVATE_KEY": pem,
    }


class Tls(NamedTuple):
    """Files for TLS: an authority, a certificate that it issued, its key, and the key of another."""

    ca: str
    cert: str
    key: str
    other_key: str


@pytest.fixture(scope="session")
def tls(tmp_path_factory) -> Tls:
    authority = Authority(tmp_path_factory.mktemp("tls"), "authority")
    other = authority.issue("other", "127.0.0.1")
    return Tls(authority.file, *authority.issue("client", "127.0.0.1"), other.key)


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "gateway.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def faults(required, toml) -> Faults:
    """The faults of `required` with these variables and this file, by setting."""

    def found(environ: Mapping[str, str] | None = None, text: str | None = None) -> dict[str, SettingsFault]:
        with pytest.raises(BadSettings) as caught:
            load(toml(text) if text is not None else None, {**required, **(environ or {})})
        return {fault.setting: fault for fault in caught.value.faults}

    return found
