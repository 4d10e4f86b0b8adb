"""The data sets that come with the package: real first-principles labels, each with its provenance.

    available()                          names, with a line each
    load("na-gamma", split="train")      list of ase.Atoms with energy, forces and stress
    describe("na-gamma")                 settings, units, split rule, known gaps, license

`scripts/make_datasets.py` in the repository made the files; the book's page on data sets shows them.
"""

import hashlib
import io
import json
import lzma
from importlib.resources import files
from typing import Any

import ase.io
from ase import Atoms

FOLDER = files("mlipbook") / "data"
SPLITS = ("train", "valid", "test")


def available() -> dict[str, str]:
    """Name -> one line: what it is, number of frames, license."""
    return {
        name: f"{entry['description']}; {entry['frames']} frames, {entry['license']}"
        for name, entry in _manifest().items()
    }


def describe(name: str) -> dict[str, Any]:
    """Provenance of a data set: code and settings, structures, units, split rule, gaps, license, SHA-256.
    Raises ValueError for an unknown name.
    """
    if name not in (manifest := _manifest()):
        raise ValueError(f"unknown data set {name!r}; there are {', '.join(manifest)}")
    return manifest[name]


def load(name: str, split: str | None = None) -> list[Atoms]:
    """Frames of a data set, or of its part "train", "valid" or "test" (about 70, 15, 15 %; see `describe`).

    Each frame's calculator holds energy = free_energy (eV; F = E - TS, consistent with the forces), forces
    (N, 3) eV/A and stress (6,) eV/A^3, Voigt order, ASE's sign. Its info holds frame (a name: in sets with
    other k points it is that of the same structure), source, kpoints, md_temperature_K (of its trajectory),
    minus_TS_eV, q6, phase ("solid" or "liquid"), split, and provenance (code, settings, version, date, and
    the device where it is known).

    Raises ValueError for an unknown name or split, and for a file whose SHA-256 is not the manifest's.
    """
    entry = describe(name)
    if split not in (None, *SPLITS):
        raise ValueError(f"{name}: unknown split {split!r}; there are {', '.join(SPLITS)}, or None for all")
    packed = (path := FOLDER / entry["file"]).read_bytes()
    if hashlib.sha256(packed).hexdigest() != entry["sha256"]:
        raise ValueError(
            f"data set {name!r}: {path} is damaged (its SHA-256 is not the manifest's); reinstall with: "
            "pip install --force-reinstall --no-deps mlipbook"
        )
    frames = ase.io.read(io.StringIO(lzma.decompress(packed).decode()), index=":", format="extxyz")
    return [atoms for atoms in frames if split in (None, atoms.info["split"])]


def _manifest() -> dict[str, dict[str, Any]]:
    return json.loads((FOLDER / "manifest.json").read_text())
