"""The signing key and the files for TLS are those that the settings name."""

from gateway.credentials import redis_tls, signing_key
from gateway.sandbox import Credentials
from gateway.settings import Settings, load
from tests.cache.redis.certificates import Authority

CREDENTIALS = Credentials.generate()


def settings(**more: object) -> Settings:
    required = {
        "apple__team_id": CREDENTIALS.team_id,
        "apple__key_id": CREDENTIALS.key_id,
        "apple__private_key": CREDENTIALS.private_key_pem,
    }
    return load(None, {f"GATEWAY_{name.upper()}": str(value) for name, value in (required | more).items()})


def test_tokens_are_signed_with_the_key_of_the_settings():
    key = signing_key(settings(apple__token_lifetime_seconds=600), origin="https://a.example")
    assert (key.team_id, key.key_id, key.lifetime_seconds, key.origin) == (
        CREDENTIALS.team_id,
        CREDENTIALS.key_id,
        600,
        "https://a.example",
    )


def test_files_for_tls_are_those_of_the_settings(tmp_path):
    authority = Authority(tmp_path, "authority")
    client = authority.issue("client", "127.0.0.1")
    tls = redis_tls(
        settings(
            cache__redis_url="rediss://127.0.0.1",
            cache__redis_ca_file=authority.file,
            cache__redis_cert_file=client.certificate,
            cache__redis_key_file=client.key,
        )
    )
    assert (tls.ca_file, tls.cert_file, tls.key_file) == (
        str(authority.file),
        str(client.certificate),
        str(client.key),
    )
