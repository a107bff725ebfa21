"""The documents name settings, metrics and files that exist."""

import ast
import re
from pathlib import Path

import pytest

from gateway.ops.markdown import anchor
from gateway.settings import SETTINGS
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.request_log import RequestLine

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*.md")])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
LOGGING = re.compile(r"(^|[._])(log|logger\(\))(\.(debug|info|warning|error|critical|exception|log))?$")
"""How the source calls a logger: `log.info`, `self._log.error`, `logger().log`, or `log` alone."""


def test_operations_explains_every_metric_and_no_other():
    families = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in Metrics().registry.collect()
        if family.name.startswith("gateway_")
    }
    table = OPERATIONS.partition("## Metrics")[2].partition("## Log")[0]
    explained = {
        f"gateway_{name}"
        for row in re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert explained == families


def logged_events() -> dict[str, set[str]]:
    """The events that the source logs, with the names of the fields that are written out there."""
    events: dict[str, set[str]] = {
        "request": set(RequestLine.__struct_fields__) - {"event", "level", "timestamp"}
    }
    for file in (ROOT / "gateway").rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            if not isinstance(call, ast.Call) or not LOGGING.search(ast.unparse(call.func)):
                continue
            event = next((each.value for each in call.args if isinstance(each, ast.Constant)), None)
            if isinstance(event, str):
                fields = {keyword.arg for keyword in call.keywords if keyword.arg is not None}
                shown = {"exception" if name == "exc_info" else name for name in fields}
                events.setdefault(event, set()).update(shown)
    return events


def test_operations_explains_every_log_event_with_its_fields_and_no_other():
    table = OPERATIONS.partition("## Log")[2].partition("## Capacity")[0]
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]*)\| [^|]+ \|$", table, re.MULTILINE)
    explained = {event: set(re.findall(r"`(\w+)`", fields)) for event, fields in rows}
    logged = logged_events()
    assert explained.keys() == logged.keys()
    unexplained = {event: logged[event] - fields for event, fields in explained.items()}
    assert {event for event, fields in unexplained.items() if fields} == set()


def test_every_explained_setting_exists():
    known = {setting.name for setting in SETTINGS}
    table = OPERATIONS.partition("## Settings")[2].partition("## Metrics")[0]
    explained = {
        name
        for row in re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE)
        for name in re.findall(r"`([\w.]+)`", row)
    }
    assert explained
    assert explained <= known


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_named_in_operations_exist(path):
    named = re.findall(
        r"[` ]((?:config|deploy|docs|gateway|tests)/[\w./-]*\w)(?=[` ])", path.read_text("utf-8")
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_selections_of_tests_by_keyword_find_some():
    documents = "\n".join(path.read_text("utf-8") for path in DOCUMENTS)
    selections = re.findall(r"pytest ((?:tests/\S* )+)-k (?:\"([^\"]+)\"|([\w]+))", documents)
    assert selections
    for places, several, one in selections:
        paths = [ROOT / place for place in places.split()]
        files = [file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path])]
        tests = "\n".join(file.read_text("utf-8") for file in files).lower()
        for keyword in (several or one).split(" or "):
            assert keyword.lower() in tests, f"{places}-k {keyword}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_command_that_runs_tests_comes_with_the_environment_that_it_needs(path):
    text = path.read_text("utf-8")
    assert "`python -m pytest" not in text or "after `make test`" in text.replace("\n", " ")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_to_files_resolve(path):
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_to_sections_resolve(path):
    for link, section in re.findall(
        r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", path.read_text(encoding="utf-8")
    ):
        target = path.parent / link if link else path
        headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        assert section in {anchor(heading) for heading in headings}, f"{link}#{section}"


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_all_its_parts(path):
    text = path.read_text(encoding="utf-8")
    assert re.match(rf"# {path.name[:3]}\. \S", text)
    accepted = r"accepted(, (supersedes|amends|amended by) \d{3})?"
    assert re.search(rf"^Status: ({accepted}|superseded by \d{{3}})$", text, re.MULTILINE)
    assert re.search(r"^Date: \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


@pytest.mark.parametrize(("passive", "active"), [("superseded by", "supersedes"), ("amended by", "amends")])
def test_decisions_that_supersede_or_amend_others_are_named_by_them(passive, active):
    texts = {path.name[:3]: path.read_text(encoding="utf-8") for path in DECISIONS}
    assert len(texts) == len(DECISIONS)
    older = {
        (number, found[1])
        for number, text in texts.items()
        if (found := re.search(rf"^Status: .*\b{passive} (\d{{3}})$", text, re.MULTILINE))
    }
    newer = {
        (found[1], number)
        for number, text in texts.items()
        if (found := re.search(rf"^Status: .*\b{active} (\d{{3}})$", text, re.MULTILINE))
    }
    assert older == newer
