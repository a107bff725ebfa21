"""The settings as a whole, and the list of them that documents, displays and checks go by."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import PrivateAttr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.settings import values
from gateway.settings.sections import Apple, Cache, Log, Ops, Section, Server, Upstream


class Settings(BaseSettings):
    """Everything that can be set, and where each value came from. Made by `gateway.settings.load`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    server: Server
    ops: Ops
    apple: Apple
    upstream: Upstream
    cache: Cache
    log: Log

    _sources: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _secret_files: Mapping[str, Path] = PrivateAttr(default_factory=dict)

    @classmethod
    def of(
        cls,
        layers: tuple[PydanticBaseSettingsSource, ...],
        sources: Mapping[str, str],
        secret_files: Mapping[str, Path],
    ) -> "Settings":
        """The settings that `layers` hold, the first before the next. Raises pydantic's `ValidationError`.

        Nothing else is looked at: pydantic-settings builds sources of its own only where it is given none.
        """
        settings = cls(_build_sources=(layers, {}))
        settings._sources = sources
        settings._secret_files = secret_files
        return settings

    @property
    def sources(self) -> Mapping[str, str]:
        """For every setting (`server.port`): `environment GATEWAY_…`, `file …` or `default`."""
        return self._sources

    @property
    def secret_files(self) -> Mapping[str, Path]:
        """For every secret that was read from a file of its own (`apple.private_key`): that file."""
        return self._secret_files

    def masked(self) -> dict[str, str]:
        """Every setting as text to show, in the order of the contract; no secret nor part of one."""
        return {
            setting.name: values.display(setting.name, getattr(getattr(self, setting.section), setting.key))
            for setting in SETTINGS
        }


class Setting(NamedTuple):
    """One setting as its model declares it."""

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
    def is_number(self) -> bool:
        return self.field.annotation in (int, float)

    @property
    def accepted(self) -> str:
        """What the setting accepts, in words."""
        return values.accepted(self.field)


SECTIONS: dict[str, type[Section]] = {
    "server": Server,
    "ops": Ops,
    "apple": Apple,
    "upstream": Upstream,
    "cache": Cache,
    "log": Log,
}
SETTINGS = tuple(
    Setting(section, key, field)
    for section, model in SECTIONS.items()
    for key, field in model.model_fields.items()
)
