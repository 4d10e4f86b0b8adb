"""Energy, forces and stress of a self-consistent solution (hartree, bohr)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mlipbook.dft.energy import density_energies, nonlocal_energy
from mlipbook.dft.ewald import ewald
from mlipbook.dft.hamiltonian import Nuclei
from mlipbook.dft.scf import Solution

ATOMS_AT_ONCE = 32  # whose projectors are differentiated together: bounds the memory


def energy_forces_stress(solution: Solution) -> tuple[dict[str, float], Tensor, Tensor]:
    """Terms of the free energy F = E - TS; forces -dF/dR (N, 3); stress (1/Omega) dF/dstrain (3, 3).

    Hellmann-Feynman: coefficients, occupations and N(G) are held while atoms and cell move, so each term can be
    differentiated as soon as it is there. The number of plane waves is held, too: no Pulay correction.
    """
    positions = solution.nuclei.positions.clone().requires_grad_()
    strain = torch.zeros_like(solution.nuclei.cell).requires_grad_()
    energies = {"minus_TS": solution.minus_TS}
    for term in _terms(solution):
        parts = term(solution.nuclei.deformed(positions, strain))
        sum(parts.values()).backward()
        for name, energy in parts.items():
            energies[name] = energies.get(name, 0.0) + energy.item()
    return energies, -positions.grad, strain.grad / solution.nuclei.volume


def _terms(solution: Solution) -> Iterator[Callable[[Nuclei], dict[str, Tensor]]]:
    """Functions of the nuclei that add up to the energy, each small enough to be differentiated at once."""
    yield lambda nuclei: {"ewald": ewald(nuclei.positions, nuclei.cell, nuclei.charges)}
    yield lambda nuclei: density_energies(solution.number, nuclei, solution.basis, solution.settings.xc)
    for waves, vectors, filling in zip(solution.waves, solution.vectors, solution.filling, strict=True):
        weights = torch.einsum("kb,kbg->kg", filling, vectors.abs().square())
        yield lambda nuclei: {"kinetic": (weights * waves.kinetic(nuclei.cell)).sum()}
        for element in range(len(solution.nuclei.elements)):
            for atoms in solution.nuclei.of(element).split(ATOMS_AT_ONCE):
                yield lambda nuclei: {
                    "nonlocal": nonlocal_energy(nuclei, waves, vectors, filling, atoms, element)
                }
