"""A developer's credentials as Apple hands them out: team, key id, and a P-256 private key as PEM."""

from collections.abc import Sequence
from pathlib import Path

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

TEAM_ID = "SANDBOXORG"
KEY_ID = "SANDBOXKEY"


class TrustedKey(msgspec.Struct, frozen=True):
    """What Apple keeps of a key: whose it is, its id, and the public half as PEM."""

    team_id: str
    key_id: str
    public_key_pem: str


class Credentials(msgspec.Struct, frozen=True):
    """What a gateway signs with. `private_key_pem` is PKCS#8 PEM, as in Apple's `.p8` files."""

    team_id: str
    key_id: str
    private_key_pem: str

    def __repr__(self) -> str:
        return f"Credentials(team_id={self.team_id!r}, key_id={self.key_id!r})"

    @classmethod
    def generate(cls, *, team_id: str = TEAM_ID, key_id: str = KEY_ID) -> "Credentials":
        """Make a fresh key pair, good for this sandbox and nothing else."""
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return cls(team_id, key_id, pem.decode())

    @classmethod
    def kept_in(cls, path: Path) -> "Credentials":
        """The key in that file, so that a restart asks nothing of its callers; made (mode 600) where missing.

        Raises ValueError where the file holds no P-256 private key, OSError where it cannot be used.
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
        """The public half. Raises ValueError where the private half is no P-256 key."""
        key = serialization.load_pem_private_key(self.private_key_pem.encode(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("the private key is no EC P-256 key")  # noqa: TRY004 - the text is at fault
        pem = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return TrustedKey(self.team_id, self.key_id, pem.decode())

    def developer_token(self, *, now: float, lifetime_seconds: int = 3600, origin: Sequence[str] = ()) -> str:
        """A token signed now (seconds since the epoch), for callers that bring no signer of their own."""
        claims: dict[str, object] = {
            "iss": self.team_id,
            "iat": int(now),
            "exp": int(now) + lifetime_seconds,
        }
        if origin:
            claims["origin"] = list(origin)
        return jwt.encode(claims, self.private_key_pem, algorithm="ES256", headers={"kid": self.key_id})

    def environment(self, *, key_file: Path, base_url: str) -> list[str]:
        """The lines that point a gateway at a sandbox; `key_file` is where the private key was written."""
        return [
            f"GATEWAY_APPLE__BASE_URL={base_url}",
            f"GATEWAY_APPLE__TEAM_ID={self.team_id}",
            f"GATEWAY_APPLE__KEY_ID={self.key_id}",
            f"GATEWAY_APPLE__PRIVATE_KEY_FILE={key_file}",
        ]
