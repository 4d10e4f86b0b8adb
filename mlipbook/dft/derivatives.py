"""Energy, forces and stress of a self-consistent solution (hartree, bohr)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from mlipbook.dft.energy import density_energies, nonlocal_energy
from mlipbook.dft.ewald import ewald
from mlipbook.dft.hamiltonian import ATOMS_AT_ONCE, Nuclei
from mlipbook.dft.scf import Solution


def energy_forces_stress(solution: Solution) -> tuple[dict[str, float], Tensor, Tensor]:
    """Terms of the free energy F = E - TS; forces -dF/dR (N, 3); stress (1/Omega) dF/dstrain (3, 3).

    Hellmann-Feynman: coefficients, occupations and N(G) are held while atoms and cell move, so each term can
    be differentiated as soon as it is there. The number of plane waves is held, too: no Pulay correction.
    A strain eps maps positions and cell, both rows, to x (1 + eps): dF/deps = sum x^T dF/dx.
    """
    positions = solution.nuclei.positions.clone().requires_grad_()
    cell = solution.nuclei.cell.clone().requires_grad_()
    energies = {"minus_TS": solution.minus_TS}
    by_position, by_cell = torch.zeros_like(positions), torch.zeros_like(cell)
    for term in _terms(solution, replace(solution.nuclei, positions=positions, cell=cell)):
        for name, energy in term.items():
            energies[name] = energies.get(name, 0.0) + energy.item()
        total = torch.stack(list(term.values())).sum()
        gradients = torch.autograd.grad(total, (positions, cell), materialize_grads=True)
        by_position, by_cell = by_position + gradients[0], by_cell + gradients[1]
    with torch.no_grad():
        virial = positions.mT @ by_position + cell.mT @ by_cell
        return energies, -by_position, virial / solution.nuclei.volume


def _terms(solution: Solution, nuclei: Nuclei) -> Iterator[dict[str, Tensor]]:
    """Energies that add up to the whole, in portions small enough to be differentiated at once."""
    yield {"ewald": ewald(nuclei.positions, nuclei.cell, nuclei.charges)}
    yield density_energies(solution.number, nuclei, solution.basis, solution.settings.xc)
    for waves, vectors, filling in zip(solution.waves, solution.vectors, solution.filling, strict=True):
        weights = torch.einsum("kb,kbg->kg", filling, vectors.abs().square())
        yield {"kinetic": (weights * waves.kinetic(nuclei.cell)).sum()}
        for element in range(len(nuclei.elements)):
            for atoms in nuclei.of(element).split(ATOMS_AT_ONCE):
                yield {"nonlocal": nonlocal_energy(nuclei, waves, vectors, filling, atoms, element)}
