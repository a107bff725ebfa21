"""The signing key and the files for TLS are those that the settings name."""

from gateway.credentials import redis_tls, signing_key
from tests.cache.redis.certificates import Authority
from tests.minimal_settings import CREDENTIALS, settings


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
