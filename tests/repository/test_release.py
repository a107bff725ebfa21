"""What a release consists of names one version everywhere."""

import re
import tomllib

import msgspec

from gateway import __version__
from tests.deploy.files import DEPLOY, ROOT


def test_the_package_and_the_module_have_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == __version__


def test_the_changelog_has_a_section_for_it():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (\S+) - (\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    assert __version__ in dict(sections)


def test_the_example_deploys_it():
    (image,) = msgspec.yaml.decode((DEPLOY / "kustomize/example/kustomization.yaml").read_bytes())["images"]
    assert image["newTag"] == __version__


def test_the_guide_builds_it():
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert set(re.findall(r"ratings-gateway:(\d\S*)", guide)) == {__version__}


def test_the_workflow_runs_only_what_can_be_run_anywhere():
    workflow = msgspec.yaml.decode((ROOT / ".github/workflows/ci.yaml").read_bytes())
    (job,) = workflow["jobs"].values()
    trust, command = [step["run"] for step in job["steps"] if "run" in step]
    assert trust == 'git config --global --add safe.directory "$GITHUB_WORKSPACE"'
    assert command.startswith(".ci/run ")
