"""All settings as one frozen value, and the list of them for documents and displays."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, get_origin

from pydantic import PrivateAttr, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.settings import values
from gateway.settings.sections import (
    AppleSettings,
    CacheSettings,
    LogSettings,
    OpsSettings,
    Section,
    ServerSettings,
    UpstreamSettings,
)


class Settings(BaseSettings):
    """Every setting and where its value came from. Made by `gateway.settings.load`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    server: ServerSettings
    ops: OpsSettings
    apple: AppleSettings
    upstream: UpstreamSettings
    cache: CacheSettings
    log: LogSettings

    _sources: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _secret_files: Mapping[str, Path] = PrivateAttr(default_factory=dict)
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @field_validator("ops", mode="after")
    @classmethod
    def _listeners_differ(cls, ops: OpsSettings, info: ValidationInfo) -> OpsSettings:
        server: ServerSettings | None = info.data.get("server")
        if server is None or server.unix_socket is not None or ops.port == 0 or ops.port != server.port:
            return ops
        if values.overlap(server.host, ops.host):
            raise values.Contradiction(
                "ops.port",
                f"server.port is {ops.port} too, and the hosts of both listeners share an address",
                "another port than server.port, or 0",
            )
        return ops

    @classmethod
    def of(
        cls,
        layers: tuple[PydanticBaseSettingsSource, ...],
        sources: Mapping[str, str],
        secret_files: Mapping[str, Path],
        warnings: tuple[str, ...] = (),
    ) -> "Settings":
        """Merge `layers`; earlier ones win. Raises pydantic's `ValidationError`.

        Given sources, pydantic-settings adds none of its own.
        """
        settings = cls(_build_sources=(layers, {}))
        settings._sources = sources
        settings._secret_files = secret_files
        settings._warnings = warnings
        return settings

    @property
    def sources(self) -> Mapping[str, str]:
        """By setting (`server.port`): `environment GATEWAY_…`, `file …` or `default`."""
        return self._sources

    @property
    def secret_files(self) -> Mapping[str, Path]:
        """By secret that was read from a file of its own (`apple.private_key`): that file."""
        return self._secret_files

    @property
    def warnings(self) -> tuple[str, ...]:
        """Variables that look like settings and are ignored, one sentence each."""
        return self._warnings

    def masked(self) -> dict[str, str]:
        """Every setting as text, in the order of config/gateway.toml, secrets masked."""
        return {
            setting.name: values.display(setting.name, getattr(getattr(self, setting.section), setting.key))
            for setting in SETTINGS
        }


class Setting(NamedTuple):
    """One setting, as its model declares it."""

    section: str
    key: str
    field: FieldInfo

    @property
    def name(self) -> str:
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        return f"GATEWAY_{self.section}__{self.key}".upper()

    @property
    def is_secret(self) -> bool:
        return values.holds_secret(self.field.annotation)

    @property
    def is_plain(self) -> bool:
        """Whether it is a number, a choice or a boolean, whose values may be repeated."""
        kind = self.field.annotation
        return kind in (int, float, bool) or get_origin(kind) is Literal

    @property
    def accepted(self) -> str:
        """What the setting accepts, in words."""
        return values.accepted(self.field)


SECTIONS: dict[str, type[Section]] = {
    "server": ServerSettings,
    "ops": OpsSettings,
    "apple": AppleSettings,
    "upstream": UpstreamSettings,
    "cache": CacheSettings,
    "log": LogSettings,
}
SETTINGS = tuple(
    Setting(section, key, field)
    for section, model in SECTIONS.items()
    for key, field in model.model_fields.items()
)
