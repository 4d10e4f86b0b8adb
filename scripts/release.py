"""Make the next version the one that everything names, or say what names another.

python scripts/release.py 0.2.0     write the version, its date, and the setup cell of every notebook
python scripts/release.py --check v0.2.0     exit status 1 unless this tag may be put on what is here
"""

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def write(version: str) -> None:
    """The version file, CITATION.cff, and all setup cells; the changelog's heading is yours."""
    if not re.fullmatch(r"\d+\.\d+\.\d+(rc\d+)?", version):
        raise SystemExit(f"{version!r} is no version, such as 0.2.0 or 0.2.0rc1")
    _replace(ROOT / "mlipbook" / "_version.py", r'__version__ = ".*"', f'__version__ = "{version}"')
    citation = ROOT / "CITATION.cff"
    _replace(citation, r"(?m)^version: .*$", f"version: {version}")
    _replace(citation, r"(?m)^date-released: .*$", f"date-released: {datetime.now(UTC):%Y-%m-%d}")
    from mlipbook.bookkit import frame, notebooks  # with the new version

    for path in [*notebooks.paths(), *notebooks.PAGES]:
        notebook = json.loads(path.read_text())
        for cell in notebook["cells"]:
            if "setup" in cell["metadata"].get("tags", []):
                cell["source"] = frame.SETUP.splitlines(keepends=True)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def _replace(path: Path, pattern: str, by: str) -> None:
    text, count = re.subn(pattern, by, path.read_text())
    if count != 1:
        raise SystemExit(f"{path.name}: {count} lines like {pattern}, expected one; it is as it was")
    path.write_text(text)


def problems(tag: str) -> list[str]:
    """What forbids to put a tag on what is here."""
    from mlipbook import __version__
    from mlipbook.bookkit import frame, notebooks

    found = [f"mlipbook/_version.py has {__version__}"] if tag != f"v{__version__}" else []
    if f"version: {tag[1:]}\n" not in (citation := (ROOT / "CITATION.cff").read_text()):
        found.append("CITATION.cff has another version")
    if not re.search(r"(?m)^date-released: \d{4}-\d\d-\d\d$", citation):
        found.append("CITATION.cff has no date-released")
    changes = (ROOT / "CHANGELOG.md").read_text()
    if not re.search(rf"(?m)^## {re.escape(tag[1:])} \(\d{{4}}-\d\d-\d\d\)$", changes):
        found.append("CHANGELOG.md has no heading with this version and a date")
    for path in [*notebooks.paths(), *notebooks.PAGES]:
        if f"/{tag}" not in frame.SETUP or notebooks.read(path)["cells"][1]["source"] != frame.SETUP:
            found.append(f"{path.name}: its setup cell installs another version")
        found += notebooks.problems(path)
        found += [f"{path.name}: {name} changed since it was run" for name in notebooks.changed_since(path)]
    return found


def main() -> int:
    match sys.argv[1:]:
        case ["--check", tag]:
            found = problems(tag)
            print("\n".join(found) or f"{tag} may be put on this commit")
            return len(found) > 0
        case [version]:
            write(version)
            return 0
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main())
