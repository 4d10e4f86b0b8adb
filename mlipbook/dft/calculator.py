"""Plane-wave density functional theory as an ASE calculator."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from ase.calculators.calculator import Calculator
from ase.stress import full_3x3_to_voigt_6_stress

from mlipbook.dft.energy import energy_forces_stress
from mlipbook.dft.extrapolation import extrapolated
from mlipbook.dft.inputs import File, check_parameters, nuclei_of, read_pseudopotentials, settings_of
from mlipbook.dft.scf import Solution, solve
from mlipbook.units import Ry, bohr, hartree

LARGEST_MEAN_FORCE = 5e-3  # eV/A: of 16 rattled sodium atoms at 10 Ry 3e-4, at 6 Ry 4e-3


class PlaneWaveDFT(Calculator):
    """ASE calculator: energy = free_energy (eV), forces (N, 3) (eV/A), stress (6,) (eV/A^3, ASE's sign).

    ecut, ecut_density: cutoffs of wavefunctions and density, eV; 4 ecut, the default, holds all of the
    density, more is for exchange, correlation and the pseudo-core. kpts, shift: Monkhorst-Pack mesh, reduced
    by time reversal; the Gamma point alone is solved with real wavefunctions. smearing: width, eV, of
    "fermi-dirac" or "cold" occupations. pseudopotential: path of a norm-conserving UPF file of version 2, or
    {symbol: path}; None is the sodium of the book. xc: "PBE" or "LDA". bands: None for half as many again as
    the electrons fill, ten more at least. tolerance: eV, of the self-consistency (electrostatic energy of the
    difference between output and input density), to be reached in so many iterations at each stage (see
    `scf`). device: of torch; None for a GPU where there is one.

    The energy is the free energy F = E - TS, with which forces and stress are consistent; its zero is the
    pseudopotential's, so that only differences at equal settings mean something. The stress is without Pulay
    correction (the number of plane waves is held), and without the motion of the ions. The mean force, not
    exactly zero, because exchange and correlation are summed on a grid, is removed (`report` has the sum of
    all forces); above 5 meV/A it is refused: the cutoffs do not resolve the pseudopotential.

    The projectors of all k points stay in memory, 16 bytes times plane waves times projectors for each (128
    sodium atoms at 10 Ry: 0.15 GB a k point). Along molecular dynamics orbitals and density are extrapolated
    from the two steps before; structures that do not follow from the last one are computed from scratch.

    Raises ValueError for a structure or settings that cannot be computed, `NotConverged` if the density does
    not become self-consistent.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(
        self,
        ecut: float = 10 * Ry,
        ecut_density: float | None = None,
        kpts: tuple[int, int, int] = (1, 1, 1),
        shift: tuple[int, int, int] = (0, 0, 0),
        smearing: float = 0.01 * Ry,
        occupations: str = "fermi-dirac",
        pseudopotential: File | Mapping[str, File] | None = None,
        xc: str = "PBE",
        bands: int | None = None,
        tolerance: float = 1e-6 * Ry,
        iterations: int = 60,
        device: str | torch.device | None = None,
    ):
        super().__init__()
        self.parameters = {
            "ecut": ecut,
            "ecut_density": ecut_density,
            "kpts": kpts,
            "shift": shift,
            "smearing": smearing,
            "occupations": occupations,
            "xc": xc,
            "bands": bands,
            "tolerance": tolerance,
            "iterations": iterations,
        }
        check_parameters(self.parameters)
        self.pseudopotentials = read_pseudopotentials(pseudopotential, self.parameters["ecut_density"], xc)
        self.parameters["pseudopotentials"] = {s: p.sha256 for s, p in self.pseudopotentials.items()}
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.solutions: list[Solution] = []  # of the last two structures
        self.report: dict[str, Any] = {}

    def identified_by(self) -> Any:
        """What `archive.identity` knows it by: not the structures that it met before."""
        return "PlaneWaveDFT", self.parameters

    def calculate(self, *arguments: Any, **keywords: Any) -> None:
        super().calculate(*arguments, **keywords)
        began = time.perf_counter()
        nuclei = nuclei_of(self.atoms, self.pseudopotentials, self.device)
        settings = settings_of(self.parameters, nuclei)
        solution = solve(nuclei, settings, extrapolated(nuclei, settings, self.solutions))
        self.solutions = [*self.solutions[-1:], solution]
        energies, forces, stress = energy_forces_stress(solution)
        mean_force = float(forces.mean(0).norm()) * hartree / bohr
        if mean_force > LARGEST_MEAN_FORCE:
            raise ValueError(
                f"the forces have a mean of {1e3 * mean_force:.1f} meV/A, which should vanish: ecut = "
                f"{self.parameters['ecut']:g} eV is too small for this pseudopotential"
            )
        energy = sum(energies.values()) * hartree
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": (forces - forces.mean(0)).cpu().numpy() * hartree / bohr,
            "stress": full_3x3_to_voigt_6_stress(stress.cpu().numpy() * hartree / bohr**3),
        }
        self.report = {
            **{f"{name}_eV": value * hartree for name, value in energies.items()},
            "fermi_level_eV": solution.fermi_level * hartree,
            "scf_errors_eV": [error * hartree for error in solution.errors],
            "net_force_eV_per_A": float(forces.sum(0).norm()) * hartree / bohr,
            "k_points": len(settings.k),
            "seconds": time.perf_counter() - began,
            "device": str(self.device),
        }
