"""config/gateway.toml: every setting with its default and description."""

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


def test_it_has_every_setting_in_order_and_the_file_form_of_secrets():
    uncommented = re.sub(r"^# ([a-z_]+ = )", r"\1", TEXT, flags=re.MULTILINE)
    expected = [
        name
        for setting in SETTINGS
        for name in (setting.name, f"{setting.name}_file")[: 1 + setting.is_secret]
    ]
    assert list(flat(uncommented)) == expected


def test_values_that_are_not_commented_out_are_the_defaults():
    assert flat(TEXT) == {
        setting.name: setting.field.default
        for setting in SETTINGS
        if not setting.field.is_required() and setting.field.default not in (None, ())
    }


def test_each_setting_follows_its_description():
    lines = TEXT.splitlines()
    for setting in SETTINGS:
        [at] = [
            at
            for at, line in enumerate(lines)
            if re.match(rf"(# )?{setting.key} = ", line) and _in(lines, at) == setting.section
        ]
        assert lines[at - 1] == f"# {setting.field.description}"


def test_loading_it_changes_no_setting(required):
    assert load(FILE, required).model_dump() == load(None, required).model_dump()


def _in(lines: list[str], at: int) -> str:
    return next(line for line in reversed(lines[:at]) if line.startswith("[")).strip("[]")
