"""What a user gives, checked, and turned into atomic units. What cannot be computed is refused here."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list

from mlipbook.checks import one_of, positive, refusal, whole
from mlipbook.dft.basis import monkhorst_pack
from mlipbook.dft.functionals import FUNCTIONALS
from mlipbook.dft.hamiltonian import Nuclei
from mlipbook.dft.pseudopotential import Pseudopotential, read_upf
from mlipbook.dft.scf import Settings, plane_waves
from mlipbook.dft.smearing import KINDS
from mlipbook.units import bohr, hartree

File = str | PathLike[str]
LARGEST_CUTOFF = 1e4  # eV, 735 Ry: beyond what the hardest pseudopotentials ask for
MOST_K = 200  # points along a direction
CLOSEST = 0.3  # angstrom; atoms closer than that are a mistake in the input
STRAIN = 1.2  # the tables of the pseudopotential go that much beyond the density's sphere


def read_pseudopotentials(
    given: File | Mapping[str, File] | None, ecut_density: float, xc: str
) -> dict[str, Pseudopotential]:
    """By symbol; given: one file, {symbol: file}, or None for sodium; ecut_density: eV. Warns of one that was
    made with another functional. Raises ValueError, FileNotFoundError as `read_upf`.
    """
    given = given or str(files("mlipbook") / "data" / "Na.UPF")
    expected = dict(given) if isinstance(given, Mapping) else {"": given}
    found = {}
    for symbol, path in expected.items():
        pseudopotential = read_upf(Path(path), q_max=STRAIN * (2 * ecut_density / hartree) ** 0.5)
        if symbol not in ("", pseudopotential.symbol):
            raise ValueError(f"{path} is a pseudopotential of {pseudopotential.symbol}, not of {symbol}")
        if pseudopotential.functional != xc:
            warnings.warn(
                f"{path} was made with {pseudopotential.functional}, and is used with {xc}", stacklevel=3
            )
        found[pseudopotential.symbol] = pseudopotential
    return found


def check_parameters(given: dict[str, Any]) -> None:
    """Complete the parameters of the calculator; ValueError for those that suit no structure."""
    ecut = given["ecut"] = positive(given["ecut"], "ecut", "in eV", most=LARGEST_CUTOFF)
    if given["ecut_density"] is None:
        given["ecut_density"] = 4 * ecut
    ecut_density = positive(given["ecut_density"], "ecut_density", "in eV", most=16 * LARGEST_CUTOFF)
    given["kpts"], given["shift"] = _three(given, "kpts", 1, MOST_K), _three(given, "shift", 0, 1)
    for name in ("smearing", "tolerance"):
        positive(given[name], name, "in eV")
    whole(given["iterations"], "iterations")
    if given["bands"] is not None:
        whole(given["bands"], "bands", hint="or None")
    one_of(given["xc"], "xc", tuple(FUNCTIONALS))
    one_of(given["occupations"], "occupations", tuple(KINDS))
    if ecut_density < 4 * ecut * (1 - 1e-9):
        raise ValueError(
            f"ecut_density = {ecut_density:g} eV cuts off the density of wavefunctions up to "
            f"ecut = {ecut:g} eV: take at least 4 ecut = {4 * ecut:g} eV"
        )


def _three(given: Mapping[str, Any], name: str, least: int, most: int) -> list[int]:
    value = given[name]
    if not isinstance(value, Sequence | np.ndarray) or isinstance(value, str) or len(value) != 3:
        raise refusal(value, name, "three whole numbers, such as (1, 1, 1)")
    return [whole(n, name, least, most) for n in value]


def nuclei_of(atoms: Atoms, pseudopotentials: Mapping[str, Pseudopotential], device: torch.device) -> Nuclei:
    """The structure in bohr. Raises ValueError for one that plane waves cannot do."""
    _check_structure(atoms)
    symbols = list(dict.fromkeys(atoms.symbols))
    if missing := [symbol for symbol in symbols if symbol not in pseudopotentials]:
        raise ValueError(
            f"no pseudopotential for {', '.join(missing)}; there is one for {', '.join(pseudopotentials)}: "
            f'give pseudopotential={{"{missing[0]}": "path of a UPF file", ...}}'
        )
    species = [symbols.index(symbol) for symbol in atoms.symbols]
    elements = tuple(pseudopotentials[symbol].to(device) for symbol in symbols)
    positions, cell = (torch.tensor(x / bohr, device=device) for x in (atoms.positions, atoms.cell.array))
    return Nuclei(positions, cell, elements, torch.tensor(species, device=device))


def settings_of(given: Mapping[str, Any], nuclei: Nuclei) -> Settings:
    """Parameters of the calculator (eV) in hartree. Raises ValueError if they do not fit the structure."""
    electrons, cutoff = nuclei.electrons, given["ecut"] / hartree
    bands = given["bands"] or max(round(0.75 * electrons), int(electrons / 2) + 10)
    if (waves := plane_waves(nuclei, cutoff)) < 2 * bands:
        raise ValueError(
            f"ecut = {given['ecut']:g} eV is too small: about {waves:.0f} plane waves for {bands} bands"
        )
    k, weights = monkhorst_pack(tuple(given["kpts"]), tuple(given["shift"]))
    # Bytes for the orbitals of k points that are solved side by side; a CPU gains in small cells only.
    device = nuclei.cell.device
    memory = torch.cuda.get_device_properties(device).total_memory / 8 if device.type == "cuda" else 1e8
    return Settings(
        cutoff=cutoff,
        density_cutoff=given["ecut_density"] / hartree,
        k=k,
        weights=weights,
        width=given["smearing"] / hartree,
        smearing=given["occupations"],
        xc=given["xc"],
        bands=bands,
        tolerance=given["tolerance"] / hartree,
        k_at_once=max(1, int(memory / (100 * bands * waves))),
        iterations=given["iterations"],
    )


def _check_structure(atoms: Atoms) -> None:
    if len(atoms) == 0:
        raise ValueError("the structure has no atoms")
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise ValueError(
            "plane waves need a structure that is periodic in three directions: set atoms.cell and atoms.pbc "
            f"(now {atoms.pbc.tolist()}, {atoms.cell.rank} vectors)"
        )
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise ValueError("positions or cell of the structure are not finite")
    cell = atoms.cell.array
    faces = np.linalg.norm(np.cross(np.roll(cell, 1, axis=0), np.roll(cell, 2, axis=0)), axis=1)
    if (heights := atoms.get_volume() / faces).min() < 2 * CLOSEST:
        raise ValueError(f"the cell of {len(atoms)} atoms is flat: its heights are {heights.round(3)} A")
    i, j, distance = neighbor_list("ijd", atoms, CLOSEST)
    if len(i):
        raise ValueError(f"atoms {i[0]} and {j[0]} (or images) are {distance[0]:.3g} A apart")
