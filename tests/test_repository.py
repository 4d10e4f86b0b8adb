"""What the files at the top of the repository say about each other."""

import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from hatchling import build
from packaging.requirements import Requirement

from mlipbook import __version__, archive
from mlipbook.bookkit import frame, records, results

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "dask": "dask"}


def requirements(*extras: str) -> list[Requirement]:
    lines = PROJECT["dependencies"] + [x for extra in extras for x in PROJECT["optional-dependencies"][extra]]
    return [Requirement(line) for line in lines if not line.startswith("mlipbook")]


def test_environment_yml_agrees_with_pyproject():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    by_pip = [entry for group in entries if isinstance(group, dict) for entry in group["pip"]]
    plain = [entry for entry in entries if isinstance(entry, str)]
    parsed = [Requirement(entry) for entry in plain + by_pip if entry != "-e ."]
    conda = {requirement.name: requirement.specifier for requirement in parsed}
    assert str(conda.pop("python")) == PROJECT["requires-python"]
    conda.pop("pip")
    assert conda.pop("distributed") == conda["dask"]  # PyPI's dask[distributed]
    wanted = {CONDA_NAMES.get(r.name, r.name): r.specifier for r in requirements("book", "parallel")}
    assert conda == wanted


@pytest.mark.parametrize(
    "name, extras", [("constraints.txt", ("book", "parallel", "test")), ("constraints-colab.txt", ())]
)
def test_pinned_versions_satisfy_the_lower_bounds(name, extras):
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    pinned = {Requirement(line).name.lower(): line.split("==")[1].replace("*", "0") for line in lines}
    for requirement in requirements(*extras):
        version = pinned.get(requirement.name.lower())
        if extras:
            assert version, f"{requirement.name} is not pinned"
        assert version is None or requirement.specifier.contains(version), (requirement, version)


def test_only_lower_bounds_so_that_colab_keeps_its_torch_and_numpy():
    assert all(spec.operator == ">=" for r in requirements() for spec in r.specifier)


def test_one_address_and_one_version_everywhere():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert config["repository"]["url"] == citation["repository-code"] == results.REPOSITORY
    assert f"{results.REPOSITORY}/archive/refs/tags/v{__version__}.tar.gz" in frame.SETUP
    assert citation["version"] == __version__ and "version" in PROJECT["dynamic"]


def test_vendored_files_are_those_of_the_manifest():
    vendor = ROOT / "extra" / "vendor"
    packages = json.loads((vendor / "manifest.json").read_text())
    listed = {name: digest for package in packages.values() for name, digest in package["files"].items()}
    found = {str(path.relative_to(vendor)): path for path in vendor.rglob("*") if path.is_file()}
    assert set(found) - {"manifest.json"} == set(listed)
    for name, digest in listed.items():
        assert hashlib.sha256(found[name].read_bytes()).hexdigest() == digest, name


def test_table_of_contents_names_existing_pages_only():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    entries = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    for name in [toc["root"], *(entry["file"] for entry in entries if "file" in entry)]:
        assert (ROOT / f"{name}.md").exists() or (ROOT / f"{name}.ipynb").exists(), name


def test_cited_keys_are_in_the_bibliography_once():
    keys = re.findall(r"^@\w+\{(\w+),", (ROOT / "references.bib").read_text(), re.MULTILINE)
    assert keys and len(keys) == len(set(keys))


def test_claims_belong_to_chapters_of_the_plan():
    assert {entry["chapter"] for entry in records.claims().values()} <= set(range(1, 13))


def test_command_line_lists_its_commands():
    command = [sys.executable, "-m", "mlipbook", "--help"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in ("datasets", "label", "fit", "new-chapter", "run", "check", "bless", "test-notebooks"):
        assert re.search(rf"^ +{name}\b", answer.stdout, re.MULTILINE), name


def test_command_line_errors_are_one_line():
    command = [sys.executable, "-m", "mlipbook", "run", "ch00_unwritten"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 1 and re.fullmatch(r"error: no notebook .*ch00_unwritten.*\n", answer.stderr)


def test_the_archives_of_a_release_are_small_and_the_wheel_has_all_that_chapters_need(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    sdist, wheel = (tmp_path / make(str(tmp_path)) for make in (build.build_sdist, build.build_wheel))
    assert sdist.stat().st_size < 4e6 and __version__ in sdist.name
    git = ["git", "ls-files", "mlipbook"]
    tracked = subprocess.run(git, capture_output=True, text=True, check=True).stdout.split()
    assert set(tracked) <= set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("/tests/conftest.py") for name in archive.getnames())


def test_the_changelog_has_the_version_and_dates():
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## {re.escape(__version__)} \((unreleased|\d{{4}}-\d\d-\d\d)\)$", text, re.MULTILINE)
    assert re.findall(r"^### (.*)$", text, re.MULTILINE) == sorted(
        re.findall(r"^### (\d{4}-\d\d-\d\d)$", text, re.MULTILINE), reverse=True
    )


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_say_what_they_may_do_and_run_actions_of_one_commit(path):
    text = path.read_text()
    assert yaml.safe_load(text)["permissions"]["contents"] == "read"
    assert re.findall("uses: (.*)", text)
    for action in re.findall("uses: (.*)", text):
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", action), action


def test_every_stored_result_is_read_with_its_checksums():
    paths = [path for path in (ROOT / "results" / "full").rglob("*") if path.suffix in (".json", ".npz")]
    assert paths
    for path in paths:
        assert (archive.read_json if path.suffix == ".json" else archive.load_arrays)(path), path
