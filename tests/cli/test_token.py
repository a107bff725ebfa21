import io
import json
import sys

import jwt
import pytest

from gateway.cli.token import described

CLAIMS = {"iss": "TEAM123456", "iat": 1_000_000, "exp": 1_043_200}


def unsigned(claims):
    return jwt.encode(claims, "x" * 32, algorithm="HS256", headers={"kid": "KEYID12345"})


@pytest.fixture
def stdin(monkeypatch):
    def holds(text, *, terminal=False):
        stream = io.StringIO(text)
        stream.isatty = lambda: terminal  # type: ignore[method-assign]
        monkeypatch.setattr(sys, "stdin", stream)

    return holds


@pytest.mark.usefixtures("credentials")
def test_only_the_minted_token_is_printed_to_stdout(run, pem):
    ran = run("token")
    assert ran.status == 0
    assert jwt.get_unverified_header(ran.out.strip()) == {"alg": "ES256", "kid": "KEYID12345", "typ": "JWT"}
    assert pem.splitlines()[1] not in ran.out + ran.err


def test_a_token_on_stdin_is_decoded_without_configuration(run, stdin):
    stdin(unsigned(CLAIMS) + "\n")
    ran = run("token", "--decode")
    document, _, words = ran.out.rpartition("}\n")
    assert json.loads(document + "}") == {
        "header": {"alg": "HS256", "kid": "KEYID12345", "typ": "JWT"},
        "claims": CLAIMS,
    }
    assert words.endswith("ago, at 1970-01-13 01:46:40 UTC\n")


@pytest.mark.parametrize(("text", "terminal"), [("", False), ("not read", True)])
@pytest.mark.usefixtures("credentials")
def test_without_a_token_on_stdin_a_new_one_is_decoded(run, stdin, text, terminal):
    stdin(text, terminal=terminal)
    ran = run("token", "--decode")
    assert '"iss": "TEAM123456"' in ran.out
    assert "expires in" in ran.out


def test_text_that_is_not_a_token_is_refused_and_not_repeated(run, stdin):
    stdin("Bearer hunter2")
    ran = run("token", "--decode")
    assert (ran.status, ran.out) == (1, "")
    assert "Pass only the token on stdin" in ran.err
    assert "hunter2" not in ran.err


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_bytes_that_are_not_text_are_refused(run, monkeypatch, encoding, errors):
    stream = io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), encoding=encoding, errors=errors)
    monkeypatch.setattr(sys, "stdin", stream)
    ran = run("token", "--decode")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("ratings-gateway token: not a JSON Web Token (not text).")


@pytest.mark.usefixtures("credentials")
def test_without_stdin_a_new_token_is_decoded(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert "expires in" in run("token", "--decode").out


@pytest.mark.parametrize(
    "expires_at", [1_043_200_000_000_000, 10**30, -(10**17), float("inf"), float("nan"), "1043200"]
)
def test_an_exp_claim_that_is_not_a_time_is_reported(run, stdin, expires_at):
    stdin(unsigned({"iss": "x"} | {"exp": expires_at}))
    ran = run("token", "--decode")
    assert (ran.status, ran.err) == (0, "")
    assert "the exp claim is not a time" in ran.out


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (1_000_000, "expires in 12 h, at"),
        (1_043_199.4, "expires in 1 s, at"),
        (1_043_200 - 90, "expires in 1 min 30 s, at"),
        (1_043_200 - 3 * 86_400 - 3600, "expires in 3 d 1 h, at"),
        (1_043_200, "expired 0 s ago, at"),
        (1_043_260, "expired 1 min ago, at"),
    ],
)
def test_the_expiry_is_shown_in_words(now, words):
    assert words in described(unsigned(CLAIMS), now)


def test_a_token_without_an_exp_claim_is_reported():
    assert "never expires" in described(unsigned({"iss": "x"}), 0)
