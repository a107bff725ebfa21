r"""Reads the company's private key in the shapes that secret stores make of a `.p8` file. Pure.

Apple issues PKCS#8 PEM. On its way through environment files, secret managers and converters it gains a byte
order mark, quotes, text around the PEM ("Bag Attributes"), `\r\n` as text, or becomes base64 of the whole
file, or loses the lines around its body. All of these are accepted: the key in them is unmistakable.
"""

import base64
import binascii
import re
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

LONGEST_LIFETIME: Final = 180 * 86_400
"""Seconds that a token signed with the key may live: Apple documents half a year, and once refused a token of
exactly that. Here, not in `developer_token`: the settings check it, and load no library for tokens."""

NOT_PEM: Final = "this is not a private key as PEM text, which begins with -----BEGIN PRIVATE KEY-----"
DAMAGED: Final = "the private key is damaged"
ENCRYPTED: Final = "the private key is encrypted; it must have no password"
NOT_P256: Final = "this is not a P-256 private key, which ES256 needs"

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)


def read_private_key(text: str) -> ec.EllipticCurvePrivateKey:
    """The key in `text`. Raises `ValueError` with the reason, and no part of the key."""
    text = _plain(text)
    if "-----BEGIN " in text:
        return _from_pem(text)
    decoded = _decode(text)
    if decoded is None:
        raise ValueError(NOT_PEM)
    inner = decoded.decode("ascii", "replace")
    return _from_pem(_plain(inner)) if "-----BEGIN " in inner else _from_der(decoded, NOT_PEM)


def pem_of(key: ec.EllipticCurvePrivateKey) -> str:
    """The key as Apple issues it, from any accepted shape."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _plain(text: str) -> str:
    """`text` without what environment files put around it, and with its line ends restored."""
    text = text.strip("\ufeff \t\r\n\0")
    while len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip("\ufeff \t\r\n")
    return text.replace("\\r", "\n").replace("\\n", "\n").replace("\r", "\n")


def _from_pem(text: str) -> ec.EllipticCurvePrivateKey:
    blocks = _BLOCK.findall(text)
    if not blocks:
        raise ValueError(DAMAGED)
    label, body = next((block for block in blocks if block[0].endswith("PRIVATE KEY")), blocks[0])
    if not label.endswith("PRIVATE KEY"):
        raise ValueError(f"this is a {label.lower()}, not a private key")
    if "ENCRYPTED" in label or "ENCRYPTED" in body:
        raise ValueError(ENCRYPTED)
    decoded = _decode(body)
    if decoded is None:
        raise ValueError(DAMAGED)
    return _from_der(decoded, DAMAGED)


def _from_der(der: bytes, complaint: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_der_private_key(der, password=None)
    except TypeError:
        raise ValueError(ENCRYPTED) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(complaint) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != ec.SECP256R1.name:
        raise ValueError(NOT_P256)
    return key


def _decode(text: str) -> bytes | None:
    """Base64 in either alphabet, with blanks and line ends anywhere; None for anything else."""
    packed = re.sub(r"\s+", "", text).translate({ord("-"): "+", ord("_"): "/"})
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True) or None
    except (binascii.Error, ValueError):
        return None
