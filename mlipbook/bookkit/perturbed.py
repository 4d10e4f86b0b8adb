"""Chapters as a student changes them, another seed and other sizes: they run, whatever numbers come out."""

import json
import re
import tempfile
import tomllib
from pathlib import Path

from . import notebooks
from .records import CHECK

CALL = re.compile(r'bookkit\.profile\("([\w-]+)", profile\)')
SEED = re.compile(r"^seed = \d+$", re.MULTILINE)


def table() -> dict[str, dict]:
    """Seed and sizes by name of a chapter's profiles, from ``perturbed.toml``."""
    return tomllib.loads((Path(__file__).parent / "perturbed.toml").read_text())


def edited(notebook: dict) -> dict:
    """The notebook with the seed and the call of ``bookkit.profile`` as ``perturbed.toml`` has them.

    Raises ValueError unless the notebook has one line ``seed = ...`` and one call to change.
    """
    code = "\n".join(cell["source"] for cell in notebooks.code_cells(notebook))
    calls, seeds = CALL.findall(code), SEED.findall(code)
    if len(calls) != 1 or len(seeds) != 1:
        raise ValueError(
            f'needs one call bookkit.profile("...", profile) and one line seed = ..., '
            f"has {len(calls)} calls and {len(seeds)} lines"
        )
    if calls[0] not in table():
        raise ValueError(f"perturbed.toml has no table [{calls[0]}]: add another seed and other sizes")
    sizes = table()[calls[0]]
    seed = sizes.pop("seed")
    call = f'bookkit.profile("{calls[0]}", profile, **{sizes!r})'
    for cell in notebooks.code_cells(notebook):
        cell["source"] = CALL.sub(lambda _: call, SEED.sub(f"seed = {seed}", cell["source"]))
    return notebook


def failures(path: Path, profile: str, package: Path | None = None) -> list[str]:
    """Run an edited copy of a chapter: what raised, and which of its exercises' solutions were refused."""
    name = f"{path.stem} (perturbed, {profile})"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"{path.stem}-perturbed.ipynb"
        try:
            copy.write_text(json.dumps(edited(notebooks.read(path))))
            executed, _ = notebooks.run(copy, profile, package=package)
        except (RuntimeError, ValueError) as error:
            return [f"{name}: {error}"]
    return [
        f"{name}: In [{cell['execution_count']}]: check {output['data'][CHECK]['name']!r} failed"
        for cell in notebooks.code_cells(notebooks.read(executed))
        for output in cell["outputs"]
        if output.get("data", {}).get(CHECK, {}).get("passed") is False
    ]
