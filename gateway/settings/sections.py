"""Every setting: its name, default, bounds and meaning, one frozen model per section.

Nothing is read here but what files for TLS hold. A setting that depends on another is checked beside the
later of the two: pydantic then has the earlier at hand, and still reports every other fault in the same pass.
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

from gateway.settings import values
from gateway.settings.values import Accepts

Fraction = Annotated[float, Field(ge=0, le=1)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Host = Annotated[str, AfterValidator(values.host), Accepts("an IP address or a host name, without port")]
File = Annotated[Path | None, AfterValidator(values.readable), Accepts("the path of a file that can be read")]
Authorities = Annotated[
    Path | None,
    AfterValidator(values.readable),
    AfterValidator(values.authorities),
    Accepts("the path of a file that can be read and holds certificates as PEM"),
]
AppleId = Annotated[
    str,
    Field(pattern=r"^[A-Z0-9]{10}$"),
    Accepts("10 characters of A-Z and 0-9, as Apple's developer site shows it"),
]
Token = Annotated[SecretStr, AfterValidator(values.token)]
DAY = 86_400
HALF_YEAR = 180 * DAY
"""The longest life of a developer token: Apple's own bound is a little above, and was seen refused."""


class Section(BaseModel):
    """One table of the file, one prefix in the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _a_flag_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError("true and false mean nothing here")
        return value


class Server(Section):
    """The listener that callers use."""

    host: Host = Field("127.0.0.1", description="Address of the API listener.")
    port: Port = Field(8080, description="Port of the API listener; 0 picks a free one.")
    unix_socket: Annotated[
        Path | None, AfterValidator(values.socket_path), Accepts("the path of a socket, at most 107 bytes")
    ] = Field(
        None, description="Where it is set, the API listens on this Unix socket instead of host and port."
    )
    caller_tokens: Annotated[
        tuple[Token, ...],
        BeforeValidator(values.split),
        Accepts("tokens of visible ASCII, separated by commas"),
    ] = Field((), description="Tokens, one of which every caller must send.")
    allow_unauthenticated: bool = Field(
        default=False,
        validate_default=True,
        description="Whether anybody who reaches a non-loopback address may call without a token.",
    )
    max_ids: int = Field(10_000, ge=1, le=100_000, description="Distinct ids in one request.")
    request_timeout_seconds: float = Field(
        10, gt=0, le=3600, description="A caller's wait where the request names none."
    )
    drain_delay_seconds: float = Field(
        0, ge=0, le=3600, description="After SIGTERM: go on accepting for so long, with `Connection: close`."
    )
    drain_seconds: float = Field(
        20, ge=0, le=3600, description="After that: finish what is in flight within so long."
    )

    @field_validator("allow_unauthenticated", mode="after")
    @classmethod
    def _callers_are_known(cls, allowed: bool, info: ValidationInfo) -> bool:
        found = info.data
        if not allowed and found.keys() >= {"host", "unix_socket", "caller_tokens"}:
            guarded = found["unix_socket"] or found["caller_tokens"] or values.is_loopback(found["host"])
            if not guarded:
                raise values.Contradiction(
                    "server.host",
                    "others could use the credential that this gateway signs with",
                    "a loopback address; or set server.caller_tokens; or, where that is meant, "
                    "server.allow_unauthenticated = true",
                )
        return allowed


class Ops(Section):
    """The listener for operators, probes and Prometheus."""

    host: Host = Field("127.0.0.1", description="Address of the ops listener; a pod sets 0.0.0.0.")
    port: Port = Field(8081, description="Port of the ops listener; 0 picks a free one.")
    token: Annotated[Token | None, Accepts("a token of visible ASCII")] = Field(
        None, description="Needed by the routes that change or explain something."
    )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the listener."""
        return values.is_loopback(self.host)


class Apple(Section):
    """Apple's API and the credential for it."""

    base_url: Annotated[
        str,
        AfterValidator(values.base_url),
        Accepts("https://host[:port][/path]; http:// only for a loopback address"),
    ] = Field("https://api.music.apple.com", description="The upstream.")
    team_id: AppleId = Field(description="Apple developer team, 10 characters.")
    key_id: AppleId = Field(description="Id of the MusicKit key, 10 characters.")
    private_key: Annotated[
        SecretStr,
        AfterValidator(values.signing_key),
        Accepts("the text of the .p8 file that Apple issued: an EC P-256 key as PEM (PKCS#8, not encrypted)"),
    ] = Field(description="The MusicKit key (.p8) as PEM text.")
    token_lifetime_seconds: int = Field(
        43_200, ge=1, le=HALF_YEAR, description="Life of a developer token, at most 180 days."
    )
    origin: Annotated[
        str | None,
        AfterValidator(values.origin),
        Accepts("an origin such as https://example.com, without a path"),
    ] = Field(None, description="Adds the `origin` claim, and the `Origin` header upstream.")


class Upstream(Section):
    """How Apple is called."""

    max_ids_per_call: int = Field(
        100, ge=1, le=1000, description="Batch size; halves itself when Apple refuses a batch as too large."
    )
    batch_window_ms: float = Field(
        2, ge=0, le=1000, description="How long misses of one user, type and variant wait for company."
    )
    call_timeout_seconds: float = Field(3, gt=0, le=300, description="Time for one call.")
    attempts: int = Field(5, ge=1, le=20, description="Tries in all, inside the deadline.")
    max_concurrency: int = Field(
        64, ge=1, le=10_000, description="Upper bound of calls in flight; adapts below it."
    )
    breaker_error_rate: float = Field(
        0.5, gt=0, le=1, description="Share of failed calls that opens the breaker; 4xx never count."
    )
    breaker_window_seconds: float = Field(10, gt=0, le=3600, description="Calls of so long are looked at.")
    breaker_min_calls: int = Field(20, ge=1, le=100_000, description="Fewer calls never open the breaker.")
    breaker_open_seconds: float = Field(
        5, gt=0, le=3600, description="Pause before the breaker lets a probe out."
    )
    quarantine_seconds: float = Field(
        10, ge=0, le=3600, description="How long a user token that Apple refused (403) is refused here."
    )


class Cache(Section):
    """What is kept, where, and how long it is believed."""

    redis_url: Annotated[
        SecretStr | None,
        AfterValidator(values.redis_url),
        Accepts(
            "redis://host:port/db, rediss://host:port/db, unix:///path, redis+cluster://host:port,host:port, "
            "redis+sentinel://host:port,host:port/service (these two with ?ssl=true for TLS); "
            "user:password@ may stand before the first host"
        ),
    ] = Field(None, description="The shared tier; without it the cache is this process alone.")
    redis_ca_file: Authorities = Field(
        None, description="Certificate authorities to verify Redis with (TLS)."
    )
    redis_cert_file: File = Field(None, description="Client certificate for Redis (TLS).")
    redis_key_file: File = Field(
        None, validate_default=True, description="Key of the client certificate for Redis (TLS)."
    )
    redis_timeout_ms: float = Field(
        50, gt=0, le=60_000, description="A lookup that takes longer is a miss; writes get a second."
    )
    fresh_seconds: float = Field(300, gt=0, le=30 * DAY, description="Served as a hit.")
    stale_while_revalidate_seconds: float = Field(
        300, ge=0, le=30 * DAY, description="After freshness: served at once and refreshed behind the answer."
    )
    stale_if_error_seconds: float = Field(
        DAY, ge=0, le=30 * DAY, description="After freshness: served where Apple fails."
    )
    jitter: Fraction = Field(
        0.1, description="Largest fraction by which an entry's freshness is shortened, by its id."
    )
    local_max_entries: int = Field(
        200_000,
        ge=0,
        le=100_000_000,
        description="Entries in the in-process tier; 0 turns it off (needs Redis).",
    )
    local_max_bytes: int = Field(134_217_728, ge=1, le=2**40, description="Bytes in the in-process tier.")
    local_trust_seconds: float = Field(
        1, ge=0.05, le=3600, description="How long local entries are believed while no news comes from Redis."
    )
    max_ratings_per_user: int = Field(
        20_000, ge=1, le=1_000_000, description="Per type, in Redis; beyond it the oldest go."
    )
    write_hold_seconds: float = Field(
        10, ge=0, le=DAY, description="How long a rating written here outranks what Apple still reports."
    )
    shadow_fraction: Fraction = Field(
        0, description="Share of hits that is compared with Apple behind the answer."
    )
    namespace: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$"), Accepts("1 to 64 characters of A-Z a-z 0-9 . _ -")
    ] = Field("ratings", description="Prefix of every key and channel in Redis.")

    @field_validator("redis_key_file", mode="after")
    @classmethod
    def _certificate_and_key_are_a_pair(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if "redis_cert_file" in info.data and (key is None) != (info.data["redis_cert_file"] is None):
            lacking, present = ("key", "cert") if key is None else ("cert", "key")
            raise values.Contradiction(
                f"cache.redis_{lacking}_file",
                f"cache.redis_{present}_file is set without it",
                "both files, or neither",
            )
        certificate = info.data.get("redis_cert_file")
        if key is not None and certificate is not None and not values.are_a_pair(certificate, key):
            raise values.Contradiction(
                "cache.redis_key_file",
                "it is not the key to the certificate in cache.redis_cert_file",
                "a certificate and its key, both as PEM, the key not encrypted",
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
                "this file with rediss://, or with ?ssl=true for redis+cluster:// and redis+sentinel://",
            )
        return file

    @field_validator("local_max_entries", mode="after")
    @classmethod
    def _some_tier_is_on(cls, entries: int, info: ValidationInfo) -> int:
        if entries == 0 and "redis_url" in info.data and info.data["redis_url"] is None:
            raise values.Contradiction(
                "cache.local_max_entries",
                "0 turns the in-process tier off, and there is no other",
                "at least 1, or set cache.redis_url",
            )
        return entries


class Log(Section):
    """What is written to stdout."""

    level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(values.lower)
    ] = Field("info", description="Least level that is written.")
    format: Annotated[Literal["auto", "json", "console"], BeforeValidator(values.lower)] = Field(
        "auto", description="auto: JSON where stdout is no terminal."
    )
    sample_hits: Fraction = Field(1.0, description="Share of plain hits that get a log line.")
