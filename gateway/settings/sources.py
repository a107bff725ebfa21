"""The sources of settings: the environment and a TOML file.

Both read secrets from files (`…_FILE`, `…_file`), suggest a similar name for an unknown one, and record the
origin of every value. Faults are collected, not raised: the caller reports all of them at once.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from gateway.settings.faults import SettingsFault
from gateway.settings.model import SECTIONS, SETTINGS, Setting
from gateway.settings.values import shown_path


class Given(NamedTuple):
    """One value and the place where it was set; with `in_file`, the value is the path of a file."""

    setting: Setting
    in_file: bool
    value: Any
    place: str


class SettingsSource(PydanticBaseSettingsSource):
    """Values by section and name, the origin of each, and faults."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        self.values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        self.origins: dict[str, str] = {}
        self.secret_files: dict[str, Path] = {}
        self.faults: list[SettingsFault] = []

    def __call__(self) -> dict[str, Any]:
        return self.values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        raise AssertionError("this source returns all values at once")

    def take(self, found: Iterator[Given]) -> None:
        """Keep every value; read secrets from their files."""
        for given in found:
            name = given.setting.name
            if name in self.origins:
                problem = f"set twice, also by {self.origins[name]}"
                self.faults.append(
                    SettingsFault(name, given.place, problem, "either the value or a file that contains it")
                )
                continue
            self.origins[name] = given.place
            value = self._read_secret(given) if given.in_file else given.value
            if given.setting.is_secret and isinstance(value, str):
                value = SecretStr(value)
            if value is not None:
                self.values[given.setting.section][given.setting.key] = value

    def _read_secret(self, given: Given) -> str | None:
        problem = "expected the path of a file, not the secret itself"
        if isinstance(given.value, str) and not re.search(r"\n|://|-----", given.value):
            shown = shown_path(given.value)
            try:
                text = Path(given.value).read_text(encoding="utf-8").rstrip("\r\n")
            except OSError as error:
                problem = f"{shown}: {error.strerror}"
            except ValueError:
                problem = f"{shown} is not a text file"
            else:
                if text.strip():
                    self.secret_files[given.setting.name] = Path(given.value)
                    return text
                problem = f"{shown} is empty"
        accepted = f"a file that contains {given.setting.accepted}"
        self.faults.append(SettingsFault(given.setting.name, given.place, problem, accepted))
        return None


class Environment(SettingsSource):
    """`GATEWAY_<SECTION>__<NAME>`. An empty variable counts as not set, because templates leave such ones."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self.take(self._given(environ))

    def _given(self, environ: Mapping[str, str]) -> Iterator[Given]:
        for variable in sorted(environ):
            match = _VARIABLE.fullmatch(variable)
            if match is None or not environ[variable]:
                continue
            written, key = match[1].lower(), match[2].lower()
            section = _nearest_section(written)
            if section is None:
                continue
            place = f"environment {variable}"
            setting, in_file = _VARIABLES.get(variable, (None, False))
            if setting is None:
                nearest = _nearest_setting(section, key)
                shown = nearest and _variable(nearest)
                self.faults.append(SettingsFault.unknown(f"{written}.{key}", place, shown, _listed(section)))
            else:
                yield Given(setting, in_file, environ[variable], place)


class File(SettingsSource):
    """A TOML file: a table per section."""

    def __init__(self, settings_cls: type[BaseSettings], path: Path | None, named_by: str) -> None:
        super().__init__(settings_cls)
        self._place = f"file {path}"
        if path is not None:
            self.take(self._given(self._parse(path, named_by)))

    def _parse(self, path: Path, named_by: str) -> dict[str, Any]:
        problem = "not TOML"
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            problem = f"{path}: {error.strerror}"
        except tomllib.TOMLDecodeError as error:
            problem = f"not TOML: {_without_secrets(str(error))}"
        except UnicodeDecodeError:
            problem = "not UTF-8"
        where = self._place if problem.startswith("not") else named_by
        self.faults.append(SettingsFault("config", where, problem, "a TOML file such as config/gateway.toml"))
        return {}

    def _given(self, tables: Mapping[str, Any]) -> Iterator[Given]:
        for section, table in tables.items():
            if section not in SECTIONS or not isinstance(table, dict):
                self._misplaced(section, table)
                continue
            for key, value in table.items():
                name = f"{section}.{key}"
                setting, in_file = _KEYS.get(name, (None, False))
                if setting is None:
                    nearest = _nearest_setting(section, key)
                    self.faults.append(SettingsFault.unknown(name, self._place, nearest, _listed(section)))
                else:
                    yield Given(setting, in_file, value, f"{self._place} ({key})" if in_file else self._place)

    def _misplaced(self, section: str, table: Any) -> None:
        if section in SECTIONS:
            fault = SettingsFault(section, self._place, "not a table", f"a table [{section}] of settings")
        elif isinstance(table, dict):
            nearest = _nearest_section(section)
            fault = SettingsFault.unknown(section, self._place, nearest and f"[{nearest}]", _TABLES)
        else:
            fault = SettingsFault.unknown(section, self._place, _nearest_setting("", section), _TABLES)
        self.faults.append(fault)


def misspelt_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    """One sentence per variable that is a setting's name but for a single underscore.

    They are ignored, not rejected: for a service `gateway-server`, Kubernetes injects `GATEWAY_SERVER_PORT`.
    """
    return tuple(
        f"{variable} is ignored; to set {setting.name}, write {meant} (two underscores)"
        for meant, (setting, _) in _VARIABLES.items()
        if environ.get(variable := meant.replace("__", "_", 1))
    )


def _without_secrets(message: str) -> str:
    """The TOML parser's message; it quotes keys, and a misplaced secret may be one."""
    known = {*SECTIONS, *(setting.key for setting in SETTINGS)}
    return re.sub(r"'([^']{3,})'", lambda quoted: quoted[0] if quoted[1] in known else "'…'", message)


def _nearest_section(name: str) -> str | None:
    return next(iter(get_close_matches(name, SECTIONS, 1, cutoff=0.7)), None)


def _nearest_setting(section: str, key: str) -> str | None:
    """The setting with a similar name in this section, else one in another that hardly differs."""
    if own := get_close_matches(key, _keys(section), 1):
        return f"{section}.{own[0]}"
    every = {known.partition(".")[2]: known for known in reversed(_KEYS)}
    found = get_close_matches(key, every, 1, cutoff=0.8 if section else 0.6)
    return every[found[0]] if found else None


def _keys(section: str) -> list[str]:
    return [name.removeprefix(f"{section}.") for name in _KEYS if name.startswith(f"{section}.")]


def _listed(section: str) -> str:
    return f"in [{section}]: {', '.join(_keys(section))}"


def _variable(name: str) -> str:
    return f"GATEWAY_{name.replace('.', '__')}".upper()


_TABLES = f"the tables {', '.join(f'[{section}]' for section in SECTIONS)}"
_VARIABLE = re.compile(r"GATEWAY_([A-Za-z0-9]+)__(.+)")
_KEYS = {setting.name: (setting, False) for setting in SETTINGS} | {
    f"{setting.name}_file": (setting, True) for setting in SETTINGS if setting.is_secret
}
_VARIABLES = {_variable(name): known for name, known in _KEYS.items()}
