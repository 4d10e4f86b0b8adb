"""Paper-scale results: computed once, kept with their provenance, shown beside the live ones."""

import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.request import urlretrieve

from .records import format_value, html_table, recorded, show

REPOSITORY = "https://github.com/mlipbook/mlipbook"
ROOT = Path(__file__).parents[2]  # the repository, where the package runs from one
PROVENANCE = ("commit", "command", "device", "seconds", "seed", "versions", "date")


def provenance(seconds: float, seed: int, device: str = "cpu") -> dict[str, Any]:
    """Where a result came from: commit (at the start of the process: the code that ran, also if the
    repository moved on meanwhile), command (without folders of this machine), device, seconds, seed,
    versions, date.
    """
    return {
        "commit": COMMIT,
        "command": _command(sys.argv),
        "device": device,
        "seconds": round(seconds, 1),
        "seed": seed,
        "versions": _versions(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def _command(words: list[str]) -> str:
    """As it was typed, but for folders of this machine."""
    program, *rest = (Path(word).name if Path(word).is_absolute() else word for word in words)
    return " ".join(["python -m mlipbook" if program == "__main__.py" else program, *rest])


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "mlipbook") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


COMMIT = _commit()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("mlipbook", "torch", "numpy", "ase"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def save_result(
    path: str | Path, records: dict[str, dict], seconds: float, seed: int, device: str = "cpu", **arrays: Any
) -> None:
    """Write ``{"records", "provenance", ...arrays}`` as JSON, atomically.

    `records` maps a name to ``{"value", "sem", "n", "unit"}`` under the names that the chapter records
    live; `arrays` are lists for figures (use ``array.tolist()``).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"records": records, "provenance": provenance(seconds, seed, device), **arrays}
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    os.replace(temporary, path)


def full_file(name: str) -> Path:
    """Path of ``results/full/<name>``; of a copy, fetched, where only the package is installed (Colab)."""
    path = ROOT / "results" / "full" / name
    if path.exists():
        return path
    copy = Path(tempfile.mkdtemp()) / Path(name).name
    urlretrieve(f"{REPOSITORY}/raw/main/results/full/{name}", copy)
    return copy


def paper_scale(name: str) -> dict | None:
    """Show ``results/full/<name>.json`` beside this notebook's own numbers and return it.

    Returns None, and says so to the reader, where there is no such result yet or where the package was
    installed without the repository (Colab). Raises ValueError for a file without records or provenance.
    """
    path = ROOT / "results" / "full" / f"{name}.json"
    if not path.exists():
        where = f"{REPOSITORY}/tree/main/results/full"
        note = f"The paper-scale result {name!r} is not here. Those that exist are kept at {where}."
        show(note, f'<p class="mlip-note">{note}</p>')
        return None
    content = json.loads(path.read_text())
    source = content.get("provenance", {})
    missing = [key for key in PROVENANCE if key not in source]
    if missing or "records" not in content:
        raise ValueError(f"{path}: no {', '.join(missing) or 'records'}; write it with bookkit.save_result")
    live = recorded()
    full = content["records"].items()
    rows = [[key, _value(live.get(key)), _value(item), item.get("unit", "")] for key, item in full]
    origin = (
        f"Paper scale: {source['date']}, commit {source['commit'][:8]}, {source['device']}, "
        f"{source['seconds']:.0f} s, seed {source['seed']}, torch {source['versions'].get('torch', '?')}."
    )
    table = html_table(rows, ["result", "this notebook", "paper scale", "unit"])
    plain = "\n".join("  ".join(row) for row in rows)
    show(f"{plain}\n{origin}", f'{table}<p class="mlip-note">{origin}</p>')
    return content


def _value(item: dict | None) -> str:
    return format_value(item["value"], item.get("sem")) if item else "-"
