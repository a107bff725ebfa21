"""Developer tokens: what is in them, which keys are refused, and when a new one is minted."""

import asyncio

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from gateway.apple.developer_token import DeveloperToken, SigningKey, TokenSource, mint
from gateway.apple.signing_key import LONGEST_LIFETIME
from gateway.telemetry.metrics import Metrics
from tests.hand_clock import HandClock

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


def renewed(source: TokenSource, refused: str) -> DeveloperToken:
    assert source.refuse(refused)
    return source.current()


class TestKey:
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

    def test_blanks_and_line_ends_around_the_ids_are_dropped(self):
        assert key(team_id=" TEAM123456\n", key_id="KEY1234567\r\n") == key()

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
            "iat": 1_699_999_940,
            "exp": 1_700_000_940,
            "origin": ["https://example.com"],
        }
        assert (token.issued_at, token.expires_at) == (claims["iat"], claims["exp"])

    @pytest.mark.parametrize(("lifetime", "back"), [(1, 0), (60, 30), (120, 60), (43200, 60)])
    def test_it_is_dated_back_by_a_minute_or_half_of_a_short_lifetime(self, lifetime, back):
        token = mint(key(lifetime_seconds=lifetime), 1000.0)
        assert (token.issued_at, token.expires_at) == (1000 - back, 1000 - back + lifetime)

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
        clock.move(739.0)
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

    async def test_it_is_renewed_although_no_call_needs_it(self, source, clock, metrics, monkeypatch):
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
        second = renewed(source, refused)
        assert second.text != refused
        assert renewed(source, refused) is second
        assert sample(metrics, "developer_token_mints_total", reason="refused") == 1.0

    def test_it_is_minted_for_a_refusal_at_most_once_in_30_seconds(self, source, clock):
        second = renewed(source, source.current().text)
        clock.move(29.9)
        assert not source.refuse(second.text)
        assert source.current() is second
        clock.move(0.1)
        assert renewed(source, second.text).text != second.text

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

    def test_refusal_and_acceptance_are_reported_once_each(self, clock, metrics):
        told = []
        source = TokenSource(key(), clock, metrics, lambda what, why: told.append((what, why)))
        first = source.current().text
        second = renewed(source, first).text
        source.refuse(first)
        source.refuse(second)
        assert source.refused
        source.accept(first)
        assert source.refused
        source.accept(second)
        source.accept(second)
        assert not source.refused
        assert [what for what, _ in told] == ["minted", "refused", "minted", "accepted"]
        assert (told[0][1], told[2][1]) == ("start", "refused")


class TestClock:
    @pytest.fixture
    def clock(self):
        return HandClock()

    @pytest.fixture
    def metrics(self):
        return Metrics()

    @pytest.mark.parametrize("ahead", [-7200.0, -31.0, 31.0, 7200.0])
    def test_tokens_follow_apples_clock_where_ours_is_off(self, clock, metrics, ahead):
        source = TokenSource(key(), clock, metrics)
        source.observe(clock.time() + ahead, clock.time())
        token = renewed(source, source.current().text)
        assert abs(token.issued_at + 60 - (clock.time() + ahead)) <= 1
        assert sample(metrics, "apple_clock_skew_seconds") == pytest.approx(ahead, abs=1)

    def test_a_token_from_apples_future_is_replaced_before_it_is_refused(self, clock, metrics):
        source = TokenSource(key(), clock, metrics)
        source.observe(clock.time() - 300.0, clock.time())
        assert source.current().issued_at < clock.time() - 300.0

    def test_half_a_minute_is_tolerated(self, clock, metrics):
        source = TokenSource(key(), clock, metrics)
        source.observe(clock.time() + 29.0, clock.time())
        assert renewed(source, source.current().text).issued_at == int(clock.time()) - 60
