"""What the files at the top of the repository say about each other."""

import hashlib
import json
import os
import re
import shutil
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
from mlipbook.bookkit import frame, notebooks, records, results

ROOT = Path(__file__).parents[1]
TOML = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = TOML["project"]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "vesin": "python-vesin"}


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
    assert all(address.startswith(results.REPOSITORY) for address in PROJECT["urls"].values())
    zenodo = json.loads((ROOT / ".zenodo.json").read_text())
    assert zenodo["title"] == citation["title"] and "version" not in zenodo  # Zenodo takes the tag's
    assert f"{results.REPOSITORY}/releases/download/v{__version__}" in frame.SETUP
    assert results.WHEEL in frame.SETUP
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


@pytest.mark.slow
def test_command_line_lists_its_commands():
    command = [sys.executable, "-m", "mlipbook", "--help"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in ("datasets", "label", "fit", "new-chapter", "run", "check", "bless", "test-notebooks"):
        assert re.search(rf"^ +{name}\b", answer.stdout, re.MULTILINE), name


@pytest.mark.slow
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
    assert set(tracked) <= set(zipfile.ZipFile(wheel).namelist()) and wheel.name == results.WHEEL
    unpacked = tmp_path / "unpacked"
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    monkeypatch.chdir(next(unpacked.iterdir()))
    again = tmp_path / build.build_wheel(str(unpacked))
    assert zipfile.ZipFile(unpacked / again.name).namelist() == zipfile.ZipFile(wheel).namelist()


def test_the_wheel_takes_the_stored_results_that_chapters_read_and_no_others():
    included = TOML["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert all(place == name.replace("results/full", "mlipbook/results") for name, place in included.items())
    files = {
        str(path.relative_to(ROOT))
        for name in included
        for path in ([ROOT / name] if (ROOT / name).is_file() else (ROOT / name).iterdir())
    }
    every = [*notebooks.paths(), *notebooks.PAGES]
    read = {name for path in every for name in notebooks.depends(notebooks.read(path))}
    assert files == {name for name in read if name.startswith("results/")}
    assert sum((ROOT / name).stat().st_size for name in files) < 3e6


@pytest.fixture
def release(tmp_path, monkeypatch):
    """scripts/release.py in a copy of what it reads and writes."""
    for name in ("mlipbook", "book", "CITATION.cff", "CHANGELOG.md", "pyproject.toml", "results"):
        path = ROOT / name
        if path.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "first-principles-*", "checkpoints")
            shutil.copytree(path, tmp_path / name, ignore=ignored)
        else:
            shutil.copy(path, tmp_path)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "release.py", tmp_path / "scripts")

    def run(*words):
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, tmp_path / "scripts" / "release.py", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)

    return run


@pytest.mark.slow
def test_a_tag_is_refused_whose_notebooks_install_another_version(release, tmp_path):
    assert release("next").returncode == 1
    assert release("9.8.7").returncode == 0
    (tmp_path / "CHANGELOG.md").write_text("## 9.8.7 (2030-01-01)\n")
    answer = release("--check", "v9.8.7")
    changed = [line for line in answer.stdout.splitlines() if "changed since" not in line]
    assert changed in ([], ["v9.8.7 may be put on this commit"])  # a chapter may wait to be run again
    assert "mlipbook/_version.py has 9.8.7" in release("--check", "v0.1.0").stdout
    for name in ("ch03_ann_potential.ipynb", "play.ipynb"):
        path = tmp_path / "book" / name
        path.write_text(path.read_text().replace("v9.8.7", "v9.8.6"))
    answer = release("--check", "v9.8.7")
    assert answer.returncode == 1
    assert "ch03_ann_potential.ipynb: its setup cell installs another version" in answer.stdout
    assert "play.ipynb: its setup cell installs another version" in answer.stdout


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
