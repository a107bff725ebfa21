import ssl

import pytest
from redis import exceptions as redis

from gateway.cache.redis.errors import FailureKind, RedisFailed, failure_kind, is_wrong_type, reply_error
from gateway.resolver import ResolutionError, ResolutionTimeout


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RedisFailed(FailureKind.OVERFLOW), FailureKind.OVERFLOW),
        (TimeoutError(), FailureKind.TIMEOUT),
        (ConnectionResetError(), FailureKind.CONNECTION),
        (redis.ConnectionError(), FailureKind.CONNECTION),
        (ResolutionTimeout("redis.test"), FailureKind.DNS_TIMEOUT),
        (ResolutionError("redis.test"), FailureKind.DNS_ERROR),
        (redis.InvalidResponse(), FailureKind.PROTOCOL),
        (redis.AuthenticationError(), FailureKind.DENIED),
        (redis.NoPermissionError(), FailureKind.DENIED),
        (ssl.SSLCertVerificationError(), FailureKind.DENIED),
        (redis.BusyLoadingError(), FailureKind.LOADING),
        (redis.OutOfMemoryError(), FailureKind.FULL),
        (redis.ReadOnlyError(), FailureKind.READONLY),
        (redis.MovedError("1 127.0.0.1:7000"), FailureKind.CLUSTER),
        (redis.AskError("1 127.0.0.1:7000"), FailureKind.CLUSTER),
        (redis.TryAgainError(), FailureKind.CLUSTER),
        (redis.ClusterDownError("Hash slot not served"), FailureKind.CLUSTER),
        (redis.ResponseError("ERR syntax error"), FailureKind.RESPONSE),
        (KeyError("unforeseen"), FailureKind.PROTOCOL),
    ],
    ids=repr,
)
def test_each_error_has_the_kind_that_is_counted(error: Exception, kind: FailureKind) -> None:
    assert failure_kind(error) is kind


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("LOADING Redis is loading the dataset in memory", redis.BusyLoadingError),
        ("NOAUTH Authentication required.", redis.AuthenticationError),
        ("WRONGPASS invalid username-password pair", redis.AuthenticationError),
        ("NOPERM no permissions to access a key", redis.NoPermissionError),
        ("NOSCRIPT No matching script.", redis.NoScriptError),
        ("OOM command not allowed when used memory > 'maxmemory'.", redis.OutOfMemoryError),
        ("READONLY You can't write against a read only replica.", redis.ReadOnlyError),
        ("TRYAGAIN Multiple keys request during rehashing of slot", redis.TryAgainError),
        ("CLUSTERDOWN Hash slot not served", redis.ClusterDownError),
        ("ERR max number of clients reached", redis.ConnectionError),
        ("ERR syntax error", redis.ResponseError),
        ("", redis.ResponseError),
    ],
)
def test_an_error_reply_becomes_the_exception_of_its_code(text: str, error: type[redis.RedisError]) -> None:
    assert type(reply_error(text)) is error


@pytest.mark.parametrize(
    "text",
    [
        "ERR The user executing the script can't run this command or subcommand script: 63de",
        "ERR The user executing the script can't publish to the channel mentioned in the command",
        "ERR Error running script: @user_script:1: -NOPERM The user executing the script can't access a key",
        "ERR ACL failure in script: User gateway has no permissions to run the 'hlen' command",
        "NOPERM ACL failure in script: User gateway has no permissions to run the 'hlen' command",
    ],
)
def test_a_script_that_lacks_a_right_is_denied(text: str) -> None:
    assert failure_kind(reply_error(text)) is FailureKind.DENIED


@pytest.mark.parametrize(("code", "error"), [("MOVED", redis.MovedError), ("ASK", redis.AskError)])
def test_a_redirection_names_slot_and_node(code: str, error: type[redis.AskError]) -> None:
    redirection = reply_error(f"{code} 3999 127.0.0.1:6381")
    assert type(redirection) is error
    assert (redirection.slot_id, redirection.host, redirection.port) == (3999, "127.0.0.1", 6381)


@pytest.mark.parametrize("text", ["MOVED", "MOVED 3999 nowhere", "ASK x 127.0.0.1:6381"])
def test_a_malformed_redirection_is_an_invalid_reply(text: str) -> None:
    assert type(reply_error(text)) is redis.InvalidResponse


def test_a_key_of_another_type_is_recognised_by_the_reply() -> None:
    assert is_wrong_type(reply_error("WRONGTYPE Operation against a key holding the wrong kind of value"))
    assert not is_wrong_type(reply_error("ERR syntax error"))
    assert not is_wrong_type(TimeoutError("WRONGTYPE"))
