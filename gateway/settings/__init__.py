"""Reads the environment and the configuration file; reports every fault at once.

A TOML file (`--config`, else `GATEWAY_CONFIG`) is overridden by variables `GATEWAY_<SECTION>__<NAME>`.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from gateway.settings.ambient import AmbientProxy
from gateway.settings.faults import BadSettings, SettingsFault
from gateway.settings.model import SETTINGS, Settings
from gateway.settings.sections import (
    AppleSettings,
    CacheSettings,
    LogSettings,
    OpsSettings,
    ServerSettings,
    UpstreamSettings,
)
from gateway.settings.sources import Environment, File, SettingsSource, misspelt_variables
from gateway.settings.values import Contradiction

__all__ = [
    "SETTINGS",
    "AppleSettings",
    "BadSettings",
    "CacheSettings",
    "LogSettings",
    "OpsSettings",
    "ServerSettings",
    "Settings",
    "SettingsFault",
    "UpstreamSettings",
    "load",
]


def load(config: Path | None, environ: Mapping[str, str]) -> Settings:
    """The effective settings.

    `config` comes from the command line and overrides `GATEWAY_CONFIG`. Paths are relative to the working
    directory. Raises `BadSettings` with every fault.
    """
    layers = _layers(config, environ)
    warnings = misspelt_variables(environ)
    faults = [fault for layer in layers for fault in layer.faults]
    origins = {name: origin for layer in reversed(layers) for name, origin in layer.origins.items()}
    try:
        settings = Settings.of(
            layers,
            {setting.name: origins.get(setting.name, "default") for setting in SETTINGS},
            {
                name: file
                for layer in layers
                for name, file in layer.secret_files.items()
                if layer.origins[name] == origins[name]
            },
            warnings,
        )
    except ValidationError as error:
        known = {fault.setting for fault in faults if fault.source == origins.get(fault.setting)}
        faults += _translated(error, origins, known)
    if faults:
        named = [fault._replace(variable=_variable(fault.setting)) for fault in faults]
        raise BadSettings(sorted(named, key=_position), warnings)
    return settings


def _layers(config: Path | None, environ: Mapping[str, str]) -> tuple[SettingsSource, ...]:
    named_by = "option --config"
    if config is None and environ.get("GATEWAY_CONFIG"):
        config, named_by = Path(environ["GATEWAY_CONFIG"]), "environment GATEWAY_CONFIG"
    given = Environment(Settings, environ), File(Settings, config, named_by)
    base_urls = [layer.values["apple"]["base_url"] for layer in given if "base_url" in layer.values["apple"]]
    default = AppleSettings.model_fields["base_url"].default
    return *given, AmbientProxy(Settings, environ, next(iter(base_urls), default))


def _translated(
    error: ValidationError, origins: Mapping[str, str], known: set[str]
) -> Iterator[SettingsFault]:
    """Pydantic's errors, one per setting and in our words: its own may repeat a secret."""
    for detail in error.errors(include_url=False):
        cause = detail.get("ctx", {}).get("error")
        name = cause.setting if isinstance(cause, Contradiction) else ".".join(map(str, detail["loc"][:2]))
        setting = _SETTINGS[name]
        accepted = setting.accepted
        origin = origins.get(name, "not set" if setting.field.default is None else "default")
        match detail:
            case {"type": "missing"}:
                problem, origin = "required", "not set"
            case {"ctx": {"error": Contradiction() as cause}}:
                problem, accepted = str(cause), cause.accepted
            case {"ctx": {"error": ValueError() as cause}}:
                problem = str(cause)
            case {"input": value} if setting.is_plain and re.fullmatch(r"[-+.\w]{1,16}", str(value)):
                problem = f"{value} is not accepted"
            case _:
                problem = "this value is not accepted"
        if name not in known:
            known.add(name)
            yield SettingsFault(name, origin, problem, accepted)


def _variable(name: str) -> str:
    setting = _SETTINGS.get(name)
    if setting is None:
        return ""
    return f"{setting.variable} or {setting.variable}_FILE" if setting.is_secret else setting.variable


def _position(fault: SettingsFault) -> int:
    return _ORDER.get(fault.setting, -1)


_SETTINGS = {setting.name: setting for setting in SETTINGS}
_ORDER = {name: position for position, name in enumerate(_SETTINGS)}
