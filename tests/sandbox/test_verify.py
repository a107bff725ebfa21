import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.sandbox.credentials import Credentials, TrustedKey
from gateway.sandbox.verify import MAX_LIFETIME_SECONDS, TokenVerifier

NOW = 1_800_000_000.0
OURS = Credentials.generate(team_id="TEAM000001", key_id="KEY0000001")


@pytest.fixture
def verifier() -> TokenVerifier:
    return TokenVerifier([OURS.trusted()])


def signed(*, credentials: Credentials = OURS, kid: str | None = OURS.key_id, **changes: object) -> str:
    claims = {"iss": OURS.team_id, "iat": int(NOW), "exp": int(NOW) + 600} | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(claims, credentials.private_key_pem, algorithm="ES256", headers=headers)


def objection(
    verifier: TokenVerifier, token: str, *, origin: str | None = None, now: float = NOW
) -> str | None:
    return verifier.objection(f"Bearer {token}", origin=origin, now=now)


def public_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def test_a_valid_token_is_accepted(verifier):
    assert objection(verifier, signed()) is None


def test_the_scheme_is_case_insensitive(verifier):
    assert verifier.objection(f"bearer {signed()}", origin=None, now=NOW) is None


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer no.jwt.here"])
def test_a_header_without_a_bearer_token_is_refused(verifier, header):
    assert verifier.objection(header, origin=None, now=NOW) is not None


def test_only_es256_is_accepted(verifier):
    token = jwt.encode(
        {"iss": OURS.team_id, "iat": int(NOW), "exp": int(NOW) + 600},
        "a secret of more than thirty-two bytes",
        algorithm="HS256",
        headers={"kid": OURS.key_id},
    )
    assert "not ES256" in (objection(verifier, token) or "")


@pytest.mark.parametrize("kid", [None, "KEY0000002"])
def test_a_missing_or_unknown_kid_is_refused(verifier, kid):
    assert "unknown" in (objection(verifier, signed(kid=kid)) or "")


def test_a_signature_of_another_key_is_refused(verifier):
    assert "Signature" in (objection(verifier, signed(credentials=Credentials.generate())) or "")


@pytest.mark.parametrize("iss", [None, "TEAM000002"])
def test_the_issuer_must_be_the_team_of_the_key(verifier, iss):
    assert "iss" in (objection(verifier, signed(iss=iss)) or "")


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"iat": int(NOW) + 1}, "future"),
        ({"exp": int(NOW)}, "expired"),
        ({"exp": int(NOW) + MAX_LIFETIME_SECONDS + 1}, "ahead"),
        ({"iat": None}, "iat or exp"),
        ({"exp": None}, "iat or exp"),
        ({"exp": "1800000600"}, "iat or exp"),
        ({"iat": True}, "iat or exp"),
        ({"exp": float("nan")}, "iat or exp"),
    ],
)
def test_missing_future_or_distant_times_are_refused(verifier, claims, why):
    assert why in (objection(verifier, signed(**claims)) or "")


def test_the_longest_lifetime_is_accepted(verifier):
    assert objection(verifier, signed(exp=int(NOW) + MAX_LIFETIME_SECONDS)) is None


def test_a_token_that_was_accepted_before_expires(verifier):
    token = signed()
    assert objection(verifier, token) is None
    assert objection(verifier, token, now=NOW + 600) == "expired"


@pytest.mark.parametrize("origin", [None, "https://other.example"])
def test_a_token_bound_to_an_origin_is_refused_from_others(verifier, origin):
    assert "Origin" in (objection(verifier, signed(origin=["https://a.example"]), origin=origin) or "")


def test_a_token_bound_to_an_origin_is_accepted_from_it(verifier):
    token = signed(origin=["https://a.example", "https://b.example"])
    assert objection(verifier, token, origin="https://b.example") is None


def test_an_origin_claim_that_is_not_a_list_is_refused(verifier):
    token = signed(origin="https://a.example")
    assert objection(verifier, token, origin="https://a.example") == "origin is not a list"


def test_a_token_without_an_origin_is_accepted_from_everywhere(verifier):
    assert objection(verifier, signed(), origin="https://a.example") is None


def test_a_distrusted_key_is_refused_although_its_token_was_accepted_before(verifier):
    token = signed()
    assert objection(verifier, token) is None
    verifier.distrust(OURS.key_id)
    assert "unknown" in (objection(verifier, token) or "")


def test_a_key_can_be_trusted_later(verifier):
    new = Credentials.generate(team_id=OURS.team_id, key_id="KEY0000002")
    verifier.trust(new.trusted())
    assert objection(verifier, signed(credentials=new, kid=new.key_id)) is None


def test_after_a_reset_only_the_given_keys_are_trusted(verifier):
    verifier.reset([])
    assert objection(verifier, signed()) is not None


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)]
)
def test_only_p256_keys_can_be_trusted(verifier, key):
    with pytest.raises(ValueError, match="P-256"):
        verifier.trust(TrustedKey("TEAM000001", "KEY0000003", public_pem(key)))


def test_more_tokens_than_are_remembered_are_verified_correctly(verifier):
    tokens = [signed(n=n) for n in range(70)]
    assert [objection(verifier, token) for token in tokens] == [None] * 70
    assert objection(verifier, tokens[0]) is None
    assert objection(verifier, tokens[0][:-4]) is not None
