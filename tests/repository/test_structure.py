"""The tree: each larger module has a test file of its name, modules stay short, class names are unique."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.relative_to(ROOT / "gateway") for path in (ROOT / "gateway").rglob("*.py"))
UNTESTED_LINES = 80
"""A module of so many lines needs a test file."""
LONGEST = 300


def lines(module: Path) -> int:
    return len((ROOT / "gateway" / module).read_text(encoding="utf-8").splitlines())


def test_each_module_of_80_lines_has_a_test_file_of_its_name():
    larger = [
        module for module in MODULES if module.name != "__init__.py" and lines(module) >= UNTESTED_LINES
    ]
    assert larger
    files = {module: ROOT / "tests" / module.parent / f"test_{module.name}" for module in larger}
    assert [str(module) for module, file in files.items() if not file.exists()] == []


def test_no_module_is_longer_than_300_lines():
    assert {str(module): lines(module) for module in MODULES if lines(module) > LONGEST} == {}


def test_no_public_class_name_is_used_twice_outside_the_sandbox():
    places = defaultdict(list)
    for module in MODULES:
        if module.parts[0] != "sandbox":
            for node in ast.parse((ROOT / "gateway" / module).read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(str(module))
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}
