"""Every setting: its name, default, bounds and meaning, one frozen model per section.

Only TLS files are read here. A check of two settings sits on the later of the two: pydantic has validated the
earlier one by then, and still reports every other fault in the same pass.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from gateway.apple.signing_key import LONGEST_LIFETIME
from gateway.settings import values
from gateway.settings.value_types import AppleId, Authorities, Fraction, Host, Port, ReadableFile, Token
from gateway.settings.values import Accepts

DAY = 86_400


class Section(BaseModel):
    """One table of the TOML file and one prefix of environment variables."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _reject_booleans_elsewhere(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError("a boolean is not accepted here")
        return value


class ServerSettings(Section):
    """API listener."""

    host: Host = Field("127.0.0.1", description="Address of the API listener.")
    port: Port = Field(8080, description="Port of the API listener; 0 picks a free one.")
    unix_socket: Annotated[
        Path | None, AfterValidator(values.socket_path), Accepts("the path of a socket, at most 107 bytes")
    ] = Field(None, description="Unix socket to listen on instead of host and port.")
    caller_tokens: Annotated[
        tuple[Token, ...],
        BeforeValidator(values.split),
        Accepts("tokens of visible ASCII, separated by commas"),
    ] = Field((), description="Tokens that callers authenticate with; every request must carry one of them.")
    allow_unauthenticated: bool = Field(
        default=False,
        validate_default=True,
        description="Allow a non-loopback address without caller tokens.",
    )
    max_ids: int = Field(10_000, ge=1, le=100_000, description="Most distinct ids in one request.")
    request_timeout_seconds: float = Field(
        10, gt=0, le=3600, description="Time limit of a request that sets no X-Request-Timeout-Ms."
    )
    drain_delay_seconds: float = Field(
        0,
        ge=0,
        le=3600,
        description="After SIGTERM: seconds to keep accepting requests, with `Connection: close`.",
    )
    drain_seconds: float = Field(
        20, ge=0, le=3600, description="After that delay: seconds to finish requests in flight."
    )

    @field_validator("allow_unauthenticated", mode="after")
    @classmethod
    def _callers_must_authenticate(cls, allowed: bool, info: ValidationInfo) -> bool:
        found = info.data
        if not allowed and found.keys() >= {"host", "unix_socket", "caller_tokens"}:
            guarded = found["unix_socket"] or found["caller_tokens"] or values.is_loopback(found["host"])
            if not guarded:
                raise values.Contradiction(
                    "server.host",
                    "anyone who reaches this address could use the gateway's Apple credential",
                    "a loopback address; or set server.caller_tokens; or, if this is intended, "
                    "server.allow_unauthenticated = true",
                )
        return allowed


class OpsSettings(Section):
    """Ops listener: probes, metrics, status page."""

    host: Host = Field("127.0.0.1", description="Address of the ops listener; a pod sets 0.0.0.0.")
    port: Port = Field(8081, description="Port of the ops listener; 0 picks a free one.")
    token: Annotated[Token | None, Accepts("a token of visible ASCII")] = Field(
        None, description="Bearer token for ops routes that change something or show user data."
    )


class AppleSettings(Section):
    """Apple Music API and the credential for it."""

    base_url: Annotated[
        str,
        AfterValidator(values.base_url),
        Accepts("https://host[:port][/path]; http:// only for a loopback address"),
    ] = Field("https://api.music.apple.com", description="Base URL of the upstream.")
    team_id: AppleId = Field(description="Apple developer team id, 10 characters.")
    key_id: AppleId = Field(description="Id of the MusicKit key, 10 characters.")
    private_key: Annotated[
        SecretStr,
        AfterValidator(values.private_key_pem),
        Accepts("the text of the .p8 file that Apple issued: an EC P-256 key as PEM (PKCS#8, not encrypted)"),
    ] = Field(description="The MusicKit key (.p8) as PEM text.")
    token_lifetime_seconds: int = Field(
        43_200, ge=1, le=LONGEST_LIFETIME, description="Lifetime of a developer token, at most 180 days."
    )
    origin: Annotated[
        str | None,
        AfterValidator(values.origin),
        Accepts("an origin such as https://example.com, without a path"),
    ] = Field(None, description="Adds the `origin` claim to tokens and the `Origin` header to calls.")
    proxy_url: Annotated[
        SecretStr | None,
        BeforeValidator(values.stripped),
        AfterValidator(values.proxy_url),
        Accepts("http://host:port or https://host:port; user:password@ may precede the host"),
    ] = Field(None, description="Forward proxy on the way to Apple; default: HTTPS_PROXY and NO_PROXY.")


class UpstreamSettings(Section):
    """Calls to Apple."""

    max_ids_per_call: int = Field(
        100, ge=1, le=1000, description="Most ids in one call; halved when Apple rejects a call as too large."
    )
    batch_window_ms: float = Field(
        5, ge=0, le=1000, description="Longest wait of a miss for others of its user, type and variant."
    )
    top_up: bool = Field(
        default=True, description="Fill free seats of a call with cached ids that expire soon."
    )
    call_timeout_seconds: float = Field(3, gt=0, le=300, description="Timeout of one try of a call.")
    attempts: int = Field(5, ge=1, le=20, description="Most tries of one call, within the deadline.")
    max_concurrency: int = Field(
        64, ge=1, le=10_000, description="Most calls in flight; the limit adapts below this."
    )
    breaker_error_rate: float = Field(
        0.5, gt=0, le=1, description="Share of failed calls that opens the circuit breaker; 4xx never count."
    )
    breaker_window_seconds: float = Field(
        10, gt=0, le=3600, description="Seconds of calls that the breaker evaluates."
    )
    breaker_min_calls: int = Field(
        20, ge=1, le=100_000, description="Calls below which the breaker never opens."
    )
    breaker_open_seconds: float = Field(
        5, gt=0, le=3600, description="Seconds until an open breaker sends a probe."
    )
    quarantine_seconds: float = Field(
        10,
        ge=0,
        le=3600,
        description="Seconds without calls to Apple for a user whom it refused, or failed for alone.",
    )


class CacheSettings(Section):
    """Cache: in this process and, optionally, in Redis."""

    redis_url: Annotated[
        SecretStr | None,
        BeforeValidator(values.stripped),
        AfterValidator(values.redis_url),
        Accepts(
            "redis://host:port/db, rediss://host:port/db, unix:///path, redis+cluster://host:port,host:port, "
            "redis+sentinel://host:port,host:port/service (these two with ?ssl=true for TLS, the last "
            "also with sentinel_username and sentinel_password); user:password@ may precede the first host"
        ),
    ] = Field(None, description="Redis, shared by all gateways; without it the cache is in-process only.")
    redis_ca_file: Authorities = Field(None, description="CA certificates that verify Redis (TLS).")
    redis_cert_file: ReadableFile = Field(None, description="Client certificate for Redis (TLS).")
    redis_key_file: ReadableFile = Field(
        None, validate_default=True, description="Private key of the client certificate for Redis (TLS)."
    )
    redis_timeout_ms: float = Field(
        50, gt=0, le=60_000, description="Timeout of a Redis lookup, which is then a miss; writes get 1 s."
    )
    fresh_seconds: float = Field(
        300, gt=0, le=30 * DAY, description="Seconds that an entry is fresh and served as a hit."
    )
    stale_while_revalidate_seconds: float = Field(
        300,
        ge=0,
        le=30 * DAY,
        description="Seconds after freshness: served at once, refreshed in the background.",
    )
    stale_if_error_seconds: float = Field(
        DAY, ge=0, le=30 * DAY, description="Seconds after freshness: served if Apple fails."
    )
    jitter: Fraction = Field(
        0.1, description="Largest fraction by which freshness is shortened, by user and type."
    )
    local_max_entries: int = Field(
        200_000,
        ge=0,
        le=100_000_000,
        description="Most entries of the in-process tier; 0 turns it off (needs Redis).",
    )
    local_max_bytes: int = Field(
        134_217_728, ge=1, le=2**40, description="Most bytes of the in-process tier."
    )
    local_trust_seconds: float = Field(
        1,
        ge=0.05,
        le=3600,
        description="Seconds that in-process entries are trusted without the invalidation subscription.",
    )
    max_ratings_per_user: int = Field(
        20_000,
        ge=1,
        le=1_000_000,
        description="Most ratings per user and type in Redis; the oldest are dropped.",
    )
    write_hold_seconds: float = Field(
        10,
        ge=0,
        le=DAY,
        description="Seconds that a written rating outranks what Apple still reports.",
    )
    shadow_fraction: Fraction = Field(0, description="Share of hits compared with Apple in the background.")
    visibility_fraction: Fraction = Field(
        0.01, description="Share of writes that every gateway checks for old values in its cache."
    )
    namespace: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$"), Accepts("1 to 64 characters of A-Z a-z 0-9 . _ -")
    ] = Field("ratings", description="Prefix of every key and channel in Redis.")

    @field_validator("redis_key_file", mode="after")
    @classmethod
    def _certificate_matches_key(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if "redis_cert_file" in info.data and (key is None) != (info.data["redis_cert_file"] is None):
            lacking, present = ("key", "cert") if key is None else ("cert", "key")
            raise values.Contradiction(
                f"cache.redis_{lacking}_file",
                f"cache.redis_{present}_file is set, but this is not",
                "both files, or neither",
            )
        certificate = info.data.get("redis_cert_file")
        if key is not None and certificate is not None and not values.are_a_pair(certificate, key):
            raise values.Contradiction(
                "cache.redis_key_file",
                "the key does not match the certificate in cache.redis_cert_file",
                "a certificate and its unencrypted key, both as PEM",
            )
        return key

    @field_validator("redis_ca_file", "redis_cert_file", mode="after")
    @classmethod
    def _tls_files_need_tls(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        url: SecretStr | None = info.data.get("redis_url")
        if file is not None and "redis_url" in info.data and not values.uses_tls(url):
            raise values.Contradiction(
                f"cache.{info.field_name}",
                "cache.redis_url does not use TLS",
                "only with rediss://, or with ?ssl=true for redis+cluster:// and redis+sentinel://",
            )
        return file

    @field_validator("local_max_entries", mode="after")
    @classmethod
    def _at_least_one_tier(cls, entries: int, info: ValidationInfo) -> int:
        if entries == 0 and "redis_url" in info.data and info.data["redis_url"] is None:
            raise values.Contradiction(
                "cache.local_max_entries",
                "0 turns the in-process tier off, and no Redis is set",
                "at least 1, or set cache.redis_url",
            )
        return entries


class LogSettings(Section):
    """Logs on stdout."""

    level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(values.lower)
    ] = Field("info", description="Lowest level that is logged.")
    format: Annotated[Literal["auto", "json", "console"], BeforeValidator(values.lower)] = Field(
        "auto", description="auto: console on a terminal, JSON elsewhere."
    )
    sample_hits: Fraction = Field(1.0, description="Share of cache hits that are logged.")
