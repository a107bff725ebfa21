"""config/gateway.toml is the model, written out."""

import re
import tomllib
from pathlib import Path

from gateway.settings import SETTINGS, load

FILE = Path(__file__).parents[2] / "config" / "gateway.toml"
TEXT = FILE.read_text(encoding="utf-8")


def flat(text: str) -> dict[str, object]:
    return {
        f"{section}.{key}": value
        for section, table in tomllib.loads(text).items()
        for key, value in table.items()
    }


def test_it_has_every_setting_in_order_secrets_also_as_files():
    uncommented = re.sub(r"^# ([a-z_]+ = )", r"\1", TEXT, flags=re.MULTILINE)
    expected = [
        name
        for setting in SETTINGS
        for name in (setting.name, f"{setting.name}_file")[: 1 + setting.is_secret]
    ]
    assert list(flat(uncommented)) == expected


def test_what_is_not_commented_out_is_the_default():
    assert flat(TEXT) == {
        setting.name: setting.field.default
        for setting in SETTINGS
        if not setting.field.is_required() and setting.field.default not in (None, ())
    }


def test_above_every_setting_stands_its_meaning():
    lines = TEXT.splitlines()
    for setting in SETTINGS:
        [at] = [
            at
            for at, line in enumerate(lines)
            if re.match(rf"(# )?{setting.key} = ", line) and _in(lines, at) == setting.section
        ]
        assert lines[at - 1] == f"# {setting.field.description}"


def test_it_loads_and_changes_nothing(required):
    assert load(FILE, required).model_dump() == load(None, required).model_dump()


def _in(lines: list[str], at: int) -> str:
    return next(line for line in reversed(lines[:at]) if line.startswith("[")).strip("[]")
