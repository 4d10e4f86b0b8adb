"""Plane-wave density functional theory as an ASE calculator."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from importlib.resources import files
from os import PathLike
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators import calculator as ase_calculator
from ase.stress import full_3x3_to_voigt_6_stress

from mlipbook import units
from mlipbook.dft.basis import monkhorst_pack
from mlipbook.dft.derivatives import energy_forces_stress
from mlipbook.dft.extrapolation import extrapolated
from mlipbook.dft.functionals import FUNCTIONALS
from mlipbook.dft.hamiltonian import Nuclei
from mlipbook.dft.pseudopotential import Pseudopotential, read_upf
from mlipbook.dft.scf import Settings, Solution, plane_waves, solve

File = str | PathLike[str]


class PlaneWaveDFT(ase_calculator.Calculator):
    """ASE calculator: energy = free_energy (eV), forces (N, 3) (eV/A), stress (6,) (eV/A^3, ASE's sign).

    ecut, ecut_density: cutoffs of wavefunctions and density, eV; 4 ecut holds all of the density, more is for
    exchange, correlation and the pseudo-core. kpts, shift: Monkhorst-Pack mesh, reduced by time reversal; the
    Gamma point alone is solved with real wavefunctions. smearing: width, eV, of "fermi-dirac" or "cold" occupations.
    pseudopotential: path of a norm-conserving UPF file of version 2, or {symbol: path}; None is the sodium of the
    book. xc: "PBE" or "LDA". bands: None for half as many again as the electrons fill. tolerance: eV, of the
    self-consistency (electrostatic energy of the difference between output and input density); 1e-6 Ry for
    128 atoms leaves 0.1 meV/A in the forces. device: of torch; None for a GPU where there is one.

    The energy is the free energy F = E - TS, with which forces and stress are consistent; its zero is the
    pseudopotential's, so that only differences at equal settings mean something. The stress is without Pulay
    correction (the number of plane waves is held), and without the motion of the ions. The mean force, which
    is not exactly zero, because exchange and correlation are summed on a grid, is removed; `report` states it.

    Along molecular dynamics orbitals and density are extrapolated from the two steps before; structures that
    do not follow from the last one are computed from scratch.

    Raises ValueError for a structure or settings that cannot be computed, scf.NotConverged without self-consistency.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(
        self,
        ecut: float = 10 * units.Ry,
        ecut_density: float | None = None,
        kpts: tuple[int, int, int] = (1, 1, 1),
        shift: tuple[int, int, int] = (0, 0, 0),
        smearing: float = 0.01 * units.Ry,
        occupations: str = "fermi-dirac",
        pseudopotential: File | Mapping[str, File] | None = None,
        xc: str = "PBE",
        bands: int | None = None,
        tolerance: float = 1e-6 * units.Ry,
        iterations: int = 60,
        device: str | torch.device | None = None,
    ):
        super().__init__()
        ecut_density = 4 * ecut if ecut_density is None else ecut_density
        _check_settings(ecut, ecut_density, kpts, shift, smearing, xc, tolerance)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.pseudopotentials = _read(pseudopotential, ecut_density, xc)
        self.parameters = {
            "ecut": ecut,
            "ecut_density": ecut_density,
            "kpts": list(kpts),
            "shift": list(shift),
            "smearing": smearing,
            "occupations": occupations,
            "xc": xc,
            "bands": bands,
            "tolerance": tolerance,
            "iterations": iterations,
            "pseudopotentials": {symbol: p.sha256 for symbol, p in self.pseudopotentials.items()},
        }
        self.solutions: list[Solution] = []
        self.report: dict[str, Any] = {}

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = ase_calculator.all_changes,
    ) -> None:
        super().calculate(atoms, properties or ["energy"], system_changes)
        began = time.perf_counter()
        nuclei = self._nuclei(self.atoms)
        settings = self._settings(nuclei)
        solution = solve(nuclei, settings, extrapolated(nuclei, settings, self.solutions))
        self.solutions = [*self.solutions[-1:], solution]
        energies, forces, stress = energy_forces_stress(solution)
        forces, stress = (
            (forces * units.hartree / units.bohr).cpu(),
            (stress * units.hartree / units.bohr**3).cpu(),
        )
        net = forces.sum(0)
        energy = sum(energies.values()) * units.hartree
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": (forces - forces.mean(0)).numpy(),
            "stress": full_3x3_to_voigt_6_stress(stress.numpy()),
        }
        self.report = {
            **{f"{name}_eV": value * units.hartree for name, value in energies.items()},
            "fermi_level_eV": solution.fermi_level * units.hartree,
            "scf_errors_eV": [error * units.hartree for error in solution.errors],
            "net_force_eV_per_A": float(torch.linalg.norm(net)),
            "k_points": len(settings.k),
            "seconds": time.perf_counter() - began,
            "device": str(self.device),
        }

    def _nuclei(self, atoms: Atoms) -> Nuclei:
        """The structure in atomic units, after a look at what cannot be computed."""
        symbols = list(dict.fromkeys(atoms.get_chemical_symbols()))
        if missing := [symbol for symbol in symbols if symbol not in self.pseudopotentials]:
            raise ValueError(
                f"no pseudopotential for {', '.join(missing)}; there is one for {', '.join(self.pseudopotentials)}: "
                f'give pseudopotential={{"{missing[0]}": "path of a UPF file", ...}}'
            )
        if not atoms.pbc.all() or atoms.cell.rank < 3:
            raise ValueError(
                f"plane waves need a structure that is periodic in three directions; its pbc are {atoms.pbc.tolist()} "
                f"and its cell has {atoms.cell.rank} vectors: set atoms.cell and atoms.pbc = True"
            )
        if (heights := atoms.get_volume() / _areas(atoms.cell.array)).min() < 0.5 or len(atoms) == 0:
            raise ValueError(f"the cell of {len(atoms)} atoms is flat: its heights are {heights.tolist()} A")
        species = torch.tensor([symbols.index(symbol) for symbol in atoms.get_chemical_symbols()])
        return Nuclei(
            positions=torch.tensor(atoms.positions, device=self.device) / units.bohr,
            cell=torch.tensor(atoms.cell.array, device=self.device) / units.bohr,
            elements=tuple(self.pseudopotentials[symbol].to(self.device) for symbol in symbols),
            species=species.to(self.device),
        )

    def _settings(self, nuclei: Nuclei) -> Settings:
        """Everything in hartree."""
        given = self.parameters
        electrons, cutoff = float(nuclei.charges.sum()), given["ecut"] / units.hartree
        bands = given["bands"] or max(round(0.75 * electrons), int(electrons / 2) + 5)
        if (waves := plane_waves(nuclei, cutoff)) < 2 * bands:
            raise ValueError(
                f"ecut = {given['ecut'] / units.Ry:g} Ry is too small: about {waves:.0f} plane waves for {bands} bands"
            )
        k, weights = monkhorst_pack(tuple(given["kpts"]), tuple(given["shift"]))
        return Settings(
            cutoff=cutoff,
            density_cutoff=given["ecut_density"] / units.hartree,
            k=k,
            weights=weights,
            width=given["smearing"] / units.hartree,
            smearing=given["occupations"],
            xc=given["xc"],
            bands=bands,
            tolerance=given["tolerance"] / units.hartree,
            k_at_once=max(1, int(_memory(self.device) / (100 * bands * waves))),
            iterations=given["iterations"],
        )


def _memory(device: torch.device) -> float:
    """Bytes for the orbitals of the k points that are solved side by side; a CPU gains by it in small cells only."""
    return torch.cuda.get_device_properties(device).total_memory / 8 if device.type == "cuda" else 1e8


def _areas(cell: np.ndarray) -> np.ndarray:
    """Of the three faces of a cell."""
    return np.linalg.norm(np.cross(np.roll(cell, 1, axis=0), np.roll(cell, 2, axis=0)), axis=1)


def _read(
    given: File | Mapping[str, File] | None, ecut_density: float, xc: str
) -> dict[str, Pseudopotential]:
    """Pseudopotentials by symbol, with tables that hold the density's sphere, also strained."""
    if given is None:
        given = str(files("mlipbook") / "data" / "Na.UPF")
    q_max = 1.2 * (2 * ecut_density / units.hartree) ** 0.5
    named = {} if isinstance(given, str | PathLike) else given
    paths = [given] if isinstance(given, str | PathLike) else list(given.values())
    found = [read_upf(path, q_max=q_max) for path in paths]
    for symbol, path, pseudopotential in zip(named, paths, found):
        if symbol != pseudopotential.symbol:
            raise ValueError(f"{path} is a pseudopotential of {pseudopotential.symbol}, not of {symbol}")
    for path, pseudopotential in zip(paths, found, strict=True):
        if pseudopotential.functional != xc:
            warnings.warn(
                f"{path} was made with {pseudopotential.functional}, and is used with {xc}", stacklevel=3
            )
    return {pseudopotential.symbol: pseudopotential for pseudopotential in found}


def _check_settings(
    ecut: float,
    ecut_density: float,
    kpts: tuple[int, int, int],
    shift: tuple[int, int, int],
    smearing: float,
    xc: str,
    tolerance: float,
) -> None:
    if xc not in FUNCTIONALS:
        raise ValueError(f"unknown xc {xc!r}; there are {', '.join(FUNCTIONALS)}")
    if ecut <= 0 or smearing <= 0 or tolerance <= 0:
        raise ValueError(
            f"ecut, smearing and tolerance (eV) must be positive: {ecut:g}, {smearing:g}, {tolerance:g}"
        )
    if ecut_density < 4 * ecut * (1 - 1e-9):
        raise ValueError(
            f"ecut_density = {ecut_density:g} eV cuts off the density of wavefunctions up to ecut = {ecut:g} eV: "
            f"take at least 4 ecut = {4 * ecut:g} eV"
        )
    if len(kpts) != 3 or len(shift) != 3 or min(kpts) < 1 or not set(shift) <= {0, 1}:
        raise ValueError(f"kpts wants three positive numbers, shift three of 0 or 1: got {kpts}, {shift}")
