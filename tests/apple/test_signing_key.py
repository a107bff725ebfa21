"""Private keys in the shapes that secret stores give them."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.apple.signing_key import pem_of, read_private_key

KEY = ec.generate_private_key(ec.SECP256R1())
PEM = pem_of(KEY)
BODY = "".join(PEM.splitlines()[1:-1])
SEC1 = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def protected(kind: PrivateFormat) -> str:
    return KEY.private_bytes(Encoding.PEM, kind, BestAvailableEncryption(b"secret")).decode()


SHAPES = {
    "as issued": PEM,
    "without a last line end": PEM.strip(),
    "windows line ends": PEM.replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + PEM,
    "double quotes": f'"{PEM}"',
    "single quotes around escapes": "'" + PEM.replace("\n", "\\n") + "'",
    "escaped windows line ends": PEM.replace("\n", "\\r\\n"),
    "one line": PEM.replace("\n", " "),
    "no line ends at all": PEM.replace("\n", ""),
    "indented": PEM.replace("\n", "\n    "),
    "text before it": "My MusicKit key\n\n" + PEM,
    "bag attributes": "Bag Attributes\n    friendlyName: x\nKey Attributes: <No Attributes>\n" + PEM,
    "a certificate's public key before it": PUBLIC + PEM,
    "base64 of the file": base64.b64encode(PEM.encode()).decode(),
    "base64 of the file in lines": base64.encodebytes(PEM.encode()).decode(),
    "base64 of a file with a mark": base64.b64encode(("\ufeff" + PEM).encode()).decode(),
    "url-safe base64 without padding": base64.urlsafe_b64encode(PEM.encode()).decode().rstrip("="),
    "the body alone": BODY,
    "the body in lines": "\n".join(PEM.splitlines()[1:-1]),
    "SEC1": SEC1,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_key_is_read_in_every_shape(shape):
    assert pem_of(read_private_key(SHAPES[shape])) == PEM


BROKEN = {
    "nothing": ("", "not a private key as PEM"),
    "text": ("hunter2", "not a private key as PEM"),
    "some base64": ("MIGTAgEAMBMGByqGSM49AgEGCCqG", "not a private key as PEM"),
    "base64 of text": (base64.b64encode(b"hunter2").decode(), "not a private key as PEM"),
    "a short body": ("-----BEGIN PRIVATE KEY-----\nMIGT\n-----END PRIVATE KEY-----", "damaged"),
    "a body that is not base64": ("-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----", "damaged"),
    "half a file": (PEM[:100], "damaged"),
    "a public key": (PUBLIC, "public key"),
    "P-384": (
        ec.generate_private_key(ec.SECP384R1())
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode(),
        "not a P-256 private key",
    ),
    "RSA": (
        rsa.generate_private_key(65537, 2048)
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode(),
        "not a P-256 private key",
    ),
    "encrypted": (protected(PrivateFormat.PKCS8), "encrypted"),
    "encrypted the old way": (protected(PrivateFormat.TraditionalOpenSSL), "encrypted"),
    "not ASCII": ("\u00e9\u00e8" * 20, "not a private key as PEM"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_anything_else_is_refused_in_words_that_hold_nothing_of_it(name):
    text, complaint = BROKEN[name]
    with pytest.raises(ValueError, match=complaint) as caught:
        read_private_key(text)
    assert text[:40].strip() not in str(caught.value) or not text
