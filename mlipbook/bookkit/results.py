"""Paper-scale results: computed once, kept with their provenance, shown beside the live ones."""

import platform
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mlipbook import __version__, archive

from .records import format_value, html_table, recorded, show

REPOSITORY = "https://github.com/mlipbook/mlipbook"
PACKAGE = Path(__file__).parents[1]
ROOT = PACKAGE.parent  # the repository, where the package runs from one
RELEASE = f"{REPOSITORY}/releases/download/v{__version__}"
WHEEL = f"mlipbook-{__version__}-py3-none-any.whl"
PROVENANCE = ("commit", "command", "device", "seconds", "seed", "versions", "date")


def provenance(seconds: float, seed: int, device: str = "cpu") -> dict[str, Any]:
    """Where a result came from: commit (at the start of the process: the code that ran, also if the
    repository moved on meanwhile), command (as typed, without folders of this machine), device, seconds,
    seed, versions, date.
    """
    program, *words = (Path(word).name if Path(word).is_absolute() else word for word in sys.argv)
    versions = {"python": platform.python_version()}
    for package in ("mlipbook", "torch", "numpy", "ase"):
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "commit": COMMIT,
        "command": " ".join(["python -m mlipbook" if program == "__main__.py" else program, *words]),
        "device": device,
        "seconds": round(seconds, 1),
        "seed": seed,
        "versions": versions,
        "date": today(),
    }


def today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


def _commit() -> str:
    """Of this package's own repository; where it is installed elsewhere, its version and nobody's commit."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with suppress(OSError, subprocess.CalledProcessError):
        ours = 'name = "mlipbook"' in (ROOT / "pyproject.toml").read_text()
        if ours and Path(git("rev-parse", "--show-toplevel")).samefile(ROOT):
            return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "mlipbook") else "")
    return f"version {__version__}"


COMMIT = _commit()


def save_result(
    path: str | Path, records: dict[str, dict], seconds: float, seed: int, device: str = "cpu", **arrays: Any
) -> None:
    """Write ``{"records", "provenance", ...arrays}`` as JSON with its checksum, whole or not at all.

    `records` maps a name to ``{"value", "sem", "n", "unit"}`` under the names that the chapter records
    live; `arrays` are lists for figures (use ``array.tolist()``).
    """
    content = {"records": records, "provenance": provenance(seconds, seed, device), **arrays}
    archive.write_json(path, content, allow_nan=False)


def full_file(name: str) -> Path:
    """Path of ``results/full/<name>``, or of its copy in an installed package. Raises FileNotFoundError."""
    places = (ROOT / "results" / "full" / name, PACKAGE / "results" / name)
    if found := next((path for path in places if path.exists()), None):
        return found
    raise FileNotFoundError(
        f"no stored result {name}: an installed package has those that chapters read, {REPOSITORY} has all"
    )


def full_result(name: str) -> dict[str, Any]:
    """The stored result ``results/full/<name>.json``. Raises as `full_file`, and Damaged, a ValueError."""
    return archive.read_json(full_file(name + ".json"))


def paper_scale(name: str) -> dict | None:
    """Show ``results/full/<name>.json`` beside this notebook's own numbers and return it.

    Returns None, and says so to the reader, where there is no such result yet. Raises ValueError (Damaged)
    for a file without records or provenance, or whose checksum is not that of its content.
    """
    try:
        path = full_file(name + ".json")
    except FileNotFoundError as error:
        show(str(error), f'<p class="mlip-note">{escape(str(error))}</p>')
        return None
    content = archive.read_json(path)
    with archive.reading(path, "a result of bookkit.save_result"):
        full, source = content["records"], content["provenance"]
        if missing := [key for key in PROVENANCE if key not in source]:
            raise ValueError(f"no {', '.join(missing)}")
        live = recorded()
        rows = [[k, _value(live.get(k)), _value(item), item.get("unit", "")] for k, item in full.items()]
        made = source["commit"] if " " in source["commit"] else f"commit {source['commit'][:8]}"
        origin = (
            f"Paper scale: {source['date']}, {made}, {source['device']}, {source['seconds']:.0f} s, "
            f"seed {source['seed']}, torch {source['versions'].get('torch', '?')}."
        )
        table = html_table(rows, ["result", "this notebook", "paper scale", "unit"])
    plain = "\n".join(["  ".join(row) for row in rows] + [origin])
    show(plain, f'{table}<p class="mlip-note">{escape(origin)}</p>')
    return content


def _value(item: dict | None) -> str:
    return format_value(item["value"], item.get("sem")) if item else "-"
