"""What the tests of plane-wave DFT share: results of pw.x, and calculations below the calculator."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms

from mlipbook.dft import PlaneWaveDFT
from mlipbook.dft.energy import energy_forces_stress
from mlipbook.dft.hamiltonian import Nuclei
from mlipbook.dft.inputs import nuclei_of, settings_of
from mlipbook.dft.scf import Settings, Solution, solve
from mlipbook.units import GPa, Ry

DATA = Path(__file__).parents[1] / "data" / "dft"
TIGHT = 1e-13  # eV: forces to 1e-8 eV/A


def references(file: str, **info: Any) -> list[Atoms]:
    """Structures with the results of pw.x (see data/dft/README.md) whose info has these values."""
    frames = ase.io.read(DATA / file, ":")
    return [atoms for atoms in frames if all(atoms.info[key] == value for key, value in info.items())]


def computed(atoms: Atoms, device: str = "cpu", **parameters: Any) -> Atoms:
    """A copy with our calculator."""
    copy = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
    copy.calc = PlaneWaveDFT(device=device, **parameters)
    return copy


def differences(ours: Atoms, theirs: Atoms) -> tuple[float, float, float]:
    """Largest of energy (meV/atom), force (meV/A) and stress (GPa)."""
    energy = (ours.get_potential_energy() - theirs.get_potential_energy()) / len(ours)
    forces, stress = ours.get_forces() - theirs.get_forces(), ours.get_stress() - theirs.get_stress()
    return 1e3 * abs(energy), 1e3 * np.abs(forces).max(), np.abs(stress).max() / GPa


def prepared(atoms: Atoms, **parameters: Any) -> tuple[Nuclei, Settings]:
    """What the calculator passes to `solve`, by default at 6 Ry."""
    calculator = PlaneWaveDFT(**{"ecut": 6 * Ry, "tolerance": TIGHT, "device": "cpu", **parameters})
    nuclei = nuclei_of(atoms, calculator.pseudopotentials, calculator.device)
    return nuclei, settings_of(calculator.parameters, nuclei)


def solved(
    atoms: Atoms, changes: dict | None = None, **parameters: Any
) -> tuple[float, torch.Tensor, torch.Tensor]:
    """Free energy, forces (N, 3) and stress (3, 3), hartree and bohr; changes: of the settings."""
    nuclei, settings = prepared(atoms, **parameters)
    return summary(solve(nuclei, replace(settings, **(changes or {}))))


def summary(solution: Solution) -> tuple[float, torch.Tensor, torch.Tensor]:
    energies, forces, stress = energy_forces_stress(solution)
    return sum(energies.values()), forces, stress
