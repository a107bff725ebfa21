"""Developer tokens: what is in them, which keys are refused, and when a new one is minted."""

import asyncio

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.apple.developer_token import LONGEST_LIFETIME, SigningKey, TokenSource, mint
from gateway.telemetry.metrics import Metrics
from tests.user_input import HandClock

PRIVATE = ec.generate_private_key(ec.SECP256R1())


def pem_of(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    encryption: KeySerializationEncryption | None = None,
) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()).decode()


def key(**changes) -> SigningKey:
    values = {"team_id": "TEAM123456", "key_id": "KEY1234567", "private_key": pem_of(PRIVATE)}
    return SigningKey.parse(**(values | {"lifetime_seconds": 1000} | changes))


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"gateway_{name}", labels)


class TestKey:
    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("", "not PEM text"),
            ("MIGTAgEAMBMGByqGSM49AgEGCCqG", "not PEM text"),
            ("-----BEGIN PRIVATE KEY-----\nMIGT\n-----END PRIVATE KEY-----", "damaged"),
            (
                PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
                "holds no",
            ),
            (pem_of(ec.generate_private_key(ec.SECP384R1())), "not an EC P-256"),
            (pem_of(rsa.generate_private_key(65537, 2048)), "not an EC P-256"),
            (pem_of(PRIVATE, BestAvailableEncryption(b"secret")), "encrypted"),
        ],
    )
    def test_what_cannot_sign_es256_is_refused_with_a_reason(self, text, complaint):
        with pytest.raises(ValueError, match=complaint):
            key(private_key=text)

    @pytest.mark.parametrize("changes", [{"team_id": ""}, {"key_id": ""}])
    def test_both_ids_are_needed(self, changes):
        with pytest.raises(ValueError, match="team id and a key id"):
            key(**changes)

    @pytest.mark.parametrize("seconds", [0, -1, LONGEST_LIFETIME + 1])
    def test_a_lifetime_that_apple_would_refuse_is_refused(self, seconds):
        with pytest.raises(ValueError, match="15,552,000"):
            key(lifetime_seconds=seconds)

    def test_the_longest_lifetime_is_accepted(self):
        assert key(lifetime_seconds=LONGEST_LIFETIME).lifetime_seconds == LONGEST_LIFETIME

    def test_escaped_line_ends_are_understood(self):
        assert key(private_key=pem_of(PRIVATE).replace("\n", "\\n")) == key()

    def test_nothing_secret_is_printed(self):
        signing = key()
        shown = repr(signing) + repr(mint(signing, 0.0))
        assert "BEGIN" not in shown
        assert mint(signing, 0.0).text[:10] not in shown


class TestMint:
    def test_header_and_claims_are_apples(self):
        token = mint(key(origin="https://example.com"), 1_700_000_000.9)
        assert jwt.get_unverified_header(token.text) == {"alg": "ES256", "kid": "KEY1234567", "typ": "JWT"}
        claims = jwt.decode(token.text, PRIVATE.public_key(), ["ES256"], options={"verify_exp": False})
        assert claims == {
            "iss": "TEAM123456",
            "iat": 1_700_000_000,
            "exp": 1_700_001_000,
            "origin": ["https://example.com"],
        }
        assert (token.issued_at, token.expires_at) == (claims["iat"], claims["exp"])

    def test_there_is_no_origin_where_none_is_set(self):
        claims = jwt.decode(mint(key(), 0.0).text, options={"verify_signature": False})
        assert "origin" not in claims


class TestSource:
    @pytest.fixture
    def clock(self):
        return HandClock()

    @pytest.fixture
    def metrics(self):
        return Metrics()

    @pytest.fixture
    def source(self, clock, metrics):
        return TokenSource(key(), clock, metrics)

    def test_one_token_serves_until_it_is_due(self, source, clock):
        first = source.current()
        clock.move(799.0)
        assert source.current() is first

    def test_it_is_renewed_well_before_its_end(self, source, clock, metrics):
        first = source.current()
        clock.move(801.0)
        second = source.current()
        assert second.text != first.text
        assert first.expires_at - clock.time() > 100
        assert source.current() is second
        assert sample(metrics, "developer_token_mints_total", reason="renewal") == 1.0
        assert sample(metrics, "developer_token_expiry_timestamp_seconds") == second.expires_at

    async def test_it_is_renewed_though_nobody_asks_for_it(self, source, clock, metrics, monkeypatch):
        monkeypatch.setattr("gateway.apple.developer_token.LOOK_SECONDS", 0.0)
        keeping = asyncio.ensure_future(source.keep())
        clock.move(801.0)
        for _ in range(10):
            await asyncio.sleep(0)
        keeping.cancel()
        assert sample(metrics, "developer_token_mints_total", reason="renewal") == 1.0
        assert sample(metrics, "developer_token_expiry_timestamp_seconds") > clock.time() + 900

    def test_a_wall_clock_set_back_leaves_no_token_from_the_future(self, source, clock):
        clock.set_wall(clock.time() - 3600)
        assert source.current().issued_at <= clock.time()

    def test_the_first_token_is_there_from_the_start(self, source, metrics):
        assert sample(metrics, "developer_token_mints_total", reason="start") == 1.0
        assert sample(metrics, "developer_token_expiry_timestamp_seconds") == source.current().expires_at

    def test_a_refused_token_is_minted_anew_once_for_all_who_held_it(self, source, metrics):
        refused = source.current().text
        renewed = source.renew(refused)
        assert renewed is not None
        assert renewed.text != refused
        assert source.renew(refused) is renewed
        assert source.current() is renewed
        assert sample(metrics, "developer_token_mints_total", reason="refused") == 1.0

    def test_it_is_minted_for_a_refusal_at_most_once_in_30_seconds(self, source, clock):
        second = source.renew(source.current().text)
        clock.move(29.9)
        assert source.renew(second.text) is None
        assert source.current() is second
        clock.move(0.1)
        assert source.renew(second.text).text != second.text

    def test_another_key_signs_at_once(self, source, metrics):
        other = ec.generate_private_key(ec.SECP256R1())
        source.replace(key(private_key=pem_of(other)))
        jwt.decode(
            source.current().text,
            other.public_key(),
            ["ES256"],
            options={"verify_exp": False, "verify_iat": False},
        )
        assert sample(metrics, "developer_token_mints_total", reason="key") == 1.0

    def test_the_same_key_again_changes_nothing(self, source):
        first = source.current()
        source.replace(key())
        assert source.current() is first
