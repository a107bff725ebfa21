"""Developer credentials as Apple issues them: team id, key id, and a P-256 private key as PEM."""

from collections.abc import Sequence
from pathlib import Path

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

TEAM_ID = "SANDBOXORG"
KEY_ID = "SANDBOXKEY"


class TrustedKey(msgspec.Struct, frozen=True):
    """Apple's record of a key: team, key id, and the public key as PEM."""

    team_id: str
    key_id: str
    public_key_pem: str


class Credentials(msgspec.Struct, frozen=True):
    """Credentials of a gateway. `private_key_pem` is PKCS#8 PEM, as in Apple's `.p8` files."""

    team_id: str
    key_id: str
    private_key_pem: str

    def __repr__(self) -> str:
        return f"Credentials(team_id={self.team_id!r}, key_id={self.key_id!r})"

    @classmethod
    def generate(cls, *, team_id: str = TEAM_ID, key_id: str = KEY_ID) -> "Credentials":
        """Generate a key pair that is valid only in this sandbox."""
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return cls(team_id, key_id, pem.decode())

    @classmethod
    def kept_in(cls, path: Path) -> "Credentials":
        """Read the key from a file, or generate it there (mode 600), so that it survives restarts.

        Raises ValueError if the file contains no P-256 private key, OSError if it cannot be used.
        """
        if path.exists():
            credentials = cls(TEAM_ID, KEY_ID, path.read_text())
            credentials.trusted()
            return credentials
        credentials = cls.generate()
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(credentials.private_key_pem)
        return credentials

    def trusted(self) -> TrustedKey:
        """The public key. Raises ValueError if the private key is not P-256."""
        key = serialization.load_pem_private_key(self.private_key_pem.encode(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("the private key is not a P-256 key")  # noqa: TRY004 - the text is at fault
        pem = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return TrustedKey(self.team_id, self.key_id, pem.decode())

    def developer_token(self, *, now: float, lifetime_seconds: int = 3600, origin: Sequence[str] = ()) -> str:
        """Sign a developer token at `now` (epoch seconds), for callers without a signer."""
        claims: dict[str, object] = {
            "iss": self.team_id,
            "iat": int(now),
            "exp": int(now) + lifetime_seconds,
        }
        if origin:
            claims["origin"] = list(origin)
        return jwt.encode(claims, self.private_key_pem, algorithm="ES256", headers={"kid": self.key_id})

    def environment(self, *, key_file: Path, base_url: str) -> list[str]:
        """Environment lines that point a gateway at a sandbox; `key_file` contains the private key."""
        return [
            f"GATEWAY_APPLE__BASE_URL={base_url}",
            f"GATEWAY_APPLE__TEAM_ID={self.team_id}",
            f"GATEWAY_APPLE__KEY_ID={self.key_id}",
            f"GATEWAY_APPLE__PRIVATE_KEY_FILE={key_file}",
        ]
