"""Run a chapter, stamp it, and say what is wrong with a stored one."""

import ast
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mlipbook import archive

from .records import CHECK, CLAIM, RECORD
from .results import ROOT, today
from .stamps import changes, dependencies, digest, syntax

BOOK = ROOT / "book"
EXECUTED = ROOT / "_build" / "notebooks"
PAGES = (BOOK / "play.ipynb",)  # run, stamped and gated as chapters, but without frame and expected values
MAX_BYTES = 1_500_000
MACHINE_PATH = re.compile(r"(?<![\w/.])/(home|root|tmp|var|content|usr|opt|work|Users)/\w|[A-Z]:\\\\?Users")
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
WIDGET = "application/vnd.jupyter.widget-view+json"


def path_of(name: str) -> Path:
    """Of a chapter's name, or of the path of a notebook."""
    return Path(name) if name.endswith(".ipynb") else BOOK / f"{name}.ipynb"


def paths(names: list[str] | None = None) -> list[Path]:
    """The chapters named (path or name), or all of ``book/``. Raises FileNotFoundError with what there is."""
    every = sorted(BOOK.glob("ch*.ipynb"))
    if not names:
        return every
    chosen = [path_of(name) for name in names]
    if missing := [path for path in chosen if not path.exists()]:
        there = ", ".join(path.stem for path in every) or "none"
        raise FileNotFoundError(f"no notebook {missing[0]}; the book has {there}")
    return chosen


def read(path: Path) -> dict[str, Any]:
    """A notebook as nested dictionaries, source cells joined to one string."""
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
    return notebook


def code_cells(notebook: dict) -> list[dict]:
    """The cells with code in them, in order."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and cell["source"].strip()]


def outputs(notebook: dict, mime: str) -> list[dict]:
    """Every output part of one MIME type, in order."""
    found = (output.get("data", {}).get(mime) for cell in code_cells(notebook) for output in cell["outputs"])
    return [part for part in found if part is not None]


def records(notebook: dict) -> dict[str, dict]:
    """What the notebook recorded, by name."""
    return {item["name"]: item for item in outputs(notebook, RECORD)}


def claims(notebook: dict) -> list[dict]:
    """The claims that the notebook decided."""
    return outputs(notebook, CLAIM)


def code_hash(notebook: dict) -> str:
    """Hash of the code cells' syntax trees; the setup cell changes with the version, and `frame` knows it."""
    cells = (cell for cell in code_cells(notebook) if "setup" not in cell["metadata"].get("tags", []))
    return digest("\n".join(syntax(ast.parse(cell["source"])) for cell in cells))


def depends(notebook: dict) -> dict[str, str]:
    """Name -> hash of what an executed notebook depends on (module `stamps`)."""
    code = "\n".join(cell["source"] for cell in code_cells(notebook))
    return dependencies(code, {item["id"] for item in claims(notebook)})


# ---- running


def run(
    path: Path, profile: str = "colab", live: bool = False, package: Path | None = None
) -> tuple[Path, float]:
    """Execute and stamp a copy of a chapter in ``_build/notebooks/<profile>/``; its path and the seconds.

    `live` shows the chapter's own progress. package: a folder with an installed mlipbook, with which it runs
    in an empty folder, as on Colab. Raises RuntimeError with the cell's traceback where one fails.
    """
    import papermill
    import torch

    # More threads only wait for each other in matrices this small; one makes results repeatable.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if package:
        os.environ["PYTHONPATH"] = str(package)  # of the kernel
    executed = EXECUTED / profile / path.name
    executed.parent.mkdir(parents=True, exist_ok=True)
    streams = {"stdout_file": sys.stdout, "stderr_file": sys.stderr} if live else {}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as empty:
        try:
            papermill.execute_notebook(
                path.resolve(),
                executed,
                parameters={} if profile == own_profile(path) else {"profile": profile},
                cwd=empty if package else path.parent,
                kernel_name="python3",
                progress_bar=False,
                extra_arguments=["--IPKernelApp.log_level=40"],  # no warning about a local kernel's TCP ports
                **streams,
            )
        except papermill.PapermillExecutionError as error:
            raise RuntimeError(f"{path.name} stopped; the executed part is {executed}\n{error}") from None
    seconds = time.perf_counter() - start
    notebook = read(executed)
    stamp = {
        "code": code_hash(notebook),
        "profile": profile,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "seconds": round(seconds, 1),
        "date": today(),
        "cells": [round(cell["metadata"]["papermill"]["duration"], 1) for cell in code_cells(notebook)],
        "depends": depends(notebook),
    }
    _clean(notebook)
    write(executed, notebook | {"metadata": notebook["metadata"] | {"mlipbook": stamp}})
    return executed, seconds


def own_profile(path: Path) -> str:
    """The profile in the parameters cell, which the stored outputs are of. Raises ValueError without one."""
    for cell in code_cells(read(path)):
        found = re.search(r'^profile = "(\w+)"', cell["source"], re.MULTILINE)
        if found and "parameters" in cell["metadata"].get("tags", []):
            return found[1]
    raise ValueError(f'{path}: no cell tagged "parameters" with a line profile = "..."')


def _clean(notebook: dict) -> None:
    """Drop what differs from machine to machine and run to run without being a result."""
    for cell in code_cells(notebook):
        cell["outputs"] = [_without_kernel(output) for output in cell["outputs"] if not _is_progress(output)]
    for cell in notebook["cells"]:
        cell["metadata"] = {k: v for k, v in cell["metadata"].items() if k not in ("papermill", "execution")}
        if not cell["metadata"].get("tags", ["?"]):
            del cell["metadata"]["tags"]
    dropped = ("papermill", "widgets", "language_info")
    kept = {key: value for key, value in notebook["metadata"].items() if key not in dropped}
    notebook["metadata"] = kept | {"kernelspec": KERNEL, "language_info": {"name": "python"}}


def _is_progress(output: dict) -> bool:
    """Whether an output is tqdm's bar: text that is redrawn, or a widget."""
    if output.get("name") == "stderr":
        text = "".join(output["text"])
        return "\r" in text or not text.strip()
    return WIDGET in output.get("data", {}) and "%|" in "".join(output["data"].get("text/plain", ""))


def _without_kernel(output: dict) -> dict:
    """The picture that a widget of `live` brings, in its place."""
    if WIDGET in output.get("data", {}):
        from .live import PREVIEW  # whoever has a widget has ipywidgets

        output["data"] = output["data"].get(PREVIEW, output["data"])
    return output


def write(path: Path, notebook: dict) -> None:
    """As Jupyter does, whole or not at all."""
    cells = [{**cell, "source": cell["source"].splitlines(keepends=True)} for cell in notebook["cells"]]
    with archive.replacing(path) as file:
        file.write((json.dumps(notebook | {"cells": cells}, indent=1, ensure_ascii=False) + "\n").encode())


# ---- the gate


def problems(path: Path) -> list[str]:
    """What forbids to publish a stored chapter: empty if it is as its stamp says and fit to be read."""
    notebook, found = read(path), []
    cells, stamp = code_cells(notebook), notebook["metadata"].get("mlipbook")
    if not stamp:
        found.append("never run: no stamp")
    elif stamp["code"] != code_hash(notebook):
        found.append("code changed since it was run")
    if [cell["execution_count"] for cell in cells] != list(range(1, len(cells) + 1)):
        found.append("execution counts are not 1..n")
    for k, cell in enumerate(cells, start=1):
        found += [f"code cell {k}: {what}" for output in cell["outputs"] for what in _output_problems(output)]
    if path.stat().st_size > MAX_BYTES:
        found.append(f"{path.stat().st_size / 1e6:.2f} MB, more than {MAX_BYTES / 1e6} MB")
    names = [item["name"] for item in outputs(notebook, RECORD)]
    found += [f"records {name!r} twice" for name in sorted({name for name in names if names.count(name) > 1})]
    again = f" (run: python -m mlipbook run {path.stem})" if found else ""
    return [f"{path.name}: {what}{again}" for what in found]


def _output_problems(output: dict) -> list[str]:
    found = []
    if output["output_type"] == "error":
        found.append(f"error {output['ename']}: {output['evalue']}")
    if output.get("name") == "stderr":
        found.append(f"prints to stderr: {''.join(output['text'])[:80]!r}")
    data = output.get("data", {})
    if CHECK in data and data[CHECK]["passed"] is False:
        found.append(f"check {data[CHECK]['name']!r} failed")
    if WIDGET in data:
        found.append("a live widget; use bookkit.slider, or bookkit.live, which brings its picture")
    parts = [part for mime, part in data.items() if not mime.startswith("image/")] + [output.get("text", "")]
    for part in parts:
        text = json.dumps(part) if isinstance(part, dict) else "".join(part)
        place = MACHINE_PATH.search(re.sub(r"base64,[A-Za-z0-9+/=]*", "", text))
        if place:
            found.append(f"machine path {text[place.start() : place.start() + 40]!r}")
    return found


def changed_since(path: Path) -> list[str]:
    """Names of what changed since the run: allowed, and shown on the status page, but in no release."""
    notebook = read(path)
    return changes(notebook["metadata"].get("mlipbook", {}), depends(notebook))
