import stat

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.sandbox.credentials import Credentials


def test_generated_credentials_have_apples_format():
    credentials = Credentials.generate()
    assert (len(credentials.team_id), len(credentials.key_id)) == (10, 10)
    assert credentials.private_key_pem.startswith("-----BEGIN PRIVATE KEY-----")


def test_two_generated_keys_differ():
    assert Credentials.generate().private_key_pem != Credentials.generate().private_key_pem


def test_the_private_key_is_not_shown():
    credentials = Credentials.generate()
    assert credentials.private_key_pem not in repr(credentials)
    assert "PRIVATE" not in f"{credentials}"


def test_the_trusted_key_is_the_public_half():
    assert "PRIVATE" not in Credentials.generate().trusted().public_key_pem


def test_a_key_of_another_curve_is_refused():
    pem = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(ValueError, match="P-256"):
        Credentials("TEAM000001", "KEY0000001", pem.decode()).trusted()


def test_a_missing_key_file_is_created_for_its_owner_only(tmp_path):
    path = tmp_path / "key.p8"
    credentials = Credentials.kept_in(path)
    assert path.read_text() == credentials.private_key_pem
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_file_is_read_again(tmp_path):
    path = tmp_path / "key.p8"
    assert Credentials.kept_in(path) == Credentials.kept_in(path)


def test_a_file_without_a_key_is_refused_and_unchanged(tmp_path):
    path = tmp_path / "key.p8"
    path.write_text("no key")
    with pytest.raises(ValueError):
        Credentials.kept_in(path)
    assert path.read_text() == "no key"


def test_a_developer_token_has_the_claims_that_apple_requires():
    credentials = Credentials.generate()
    token = credentials.developer_token(now=1000.9, lifetime_seconds=60, origin=["https://a.example"])
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": credentials.key_id, "typ": "JWT"}
    assert jwt.decode(token, options={"verify_signature": False}) == {
        "iss": credentials.team_id,
        "iat": 1000,
        "exp": 1060,
        "origin": ["https://a.example"],
    }


def test_the_environment_names_the_settings_of_a_gateway(tmp_path):
    lines = Credentials.generate().environment(key_file=tmp_path / "k", base_url="http://127.0.0.1:1")
    assert dict(line.split("=", 1) for line in lines) == {
        "GATEWAY_APPLE__BASE_URL": "http://127.0.0.1:1",
        "GATEWAY_APPLE__TEAM_ID": "SANDBOXORG",
        "GATEWAY_APPLE__KEY_ID": "SANDBOXKEY",
        "GATEWAY_APPLE__PRIVATE_KEY_FILE": str(tmp_path / "k"),
    }
