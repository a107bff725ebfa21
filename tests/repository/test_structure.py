"""The tree: larger modules have tests, modules stay short, types have unique names, imports are declared."""

import ast
import importlib
import inspect
import re
import sys
import textwrap
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import packages_distributions
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


def names_a_type(node: ast.stmt) -> str | None:
    """The name of a class or of an alias of types: neither a constant nor a type variable.

    Without a leading underscore: a private type is read beside the public ones that its module imports.
    """
    match node:
        case ast.ClassDef(name=name):
            pass
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            pass
        case _:
            return None
    name = name.removeprefix("_")
    return name if name[:1].isupper() and not name.isupper() else None


def test_no_name_of_a_type_is_used_twice():
    places = defaultdict(list)
    for module in MODULES:
        for node in ast.parse((ROOT / "gateway" / module).read_text(encoding="utf-8")).body:
            if (name := names_a_type(node)) is not None:
                places[name].append(str(module))
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def private_names(class_: ast.AST) -> set[str]:
    """The `_names` that it defines as methods, or uses of `self` or `super()`."""
    names = set()
    for node in ast.walk(class_):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.Attribute(value=ast.Name(id="self") | ast.Call(func=ast.Name(id="super")), attr=name):
                names.add(name)
    return {name for name in names if name.startswith("_") and not name.endswith("_")}


def private_names_of(foreign: type) -> set[str]:
    try:
        written = private_names(ast.parse(textwrap.dedent(inspect.getsource(foreign))))
    except (TypeError, OSError):  # not written in Python
        written = set()
    return written | {name for name in vars(foreign) if name.startswith("_")}


def test_a_subclass_of_a_foreign_class_shares_no_private_name_with_it():
    """They change without notice; and setting one by chance would break what the base does."""
    shared = {}
    for module in MODULES:
        loaded = importlib.import_module(".".join(("gateway", *module.with_suffix("").parts)))
        for node in ast.parse((ROOT / "gateway" / module).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                bases = getattr(loaded, node.name).__mro__
                foreign = [base for base in bases if base.__module__.partition(".")[0] != "gateway"]
                names = private_names(node) & set().union(*map(private_names_of, foreign))
                if names:
                    shared[f"{module}: {node.name}"] = names
    assert shared == {}


def imported(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / "gateway" / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


def normal(distribution: str) -> str:
    """The name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_every_package_that_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {normal(re.split(r"[^A-Za-z0-9._-]", line)[0]) for line in project["dependencies"]}
    packages = {name.partition(".")[0] for module in MODULES for name in imported(module)}
    foreign = packages - sys.stdlib_module_names - {"gateway"}
    distributions = packages_distributions()
    owners = {package: {normal(name) for name in distributions[package]} for package in foreign}
    assert [package for package, names in owners.items() if not names & declared] == []
