"""The Kohn-Sham energy, term by term, as a differentiable function of where the atoms are.

Everything else comes from it by automatic differentiation: the potential is its derivative with respect to
the density, forces and stress are its derivatives with respect to positions and strain at fixed wavefunction
coefficients, occupations and number N(G) = Omega n(G) (Hellmann-Feynman; norm-conserving, so that the
coefficients stay orthonormal). No term can be forgotten then, not even the 1/Omega of the core charge.
Hartree atomic units.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import pi
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mlipbook.dft.basis import Waves, grid_shape, lengths, sphere, to_grid, wavevectors
from mlipbook.dft.ewald import ewald
from mlipbook.dft.functionals import FUNCTIONALS
from mlipbook.dft.hamiltonian import ATOMS_AT_ONCE, Nuclei, projectors

if TYPE_CHECKING:
    from mlipbook.dft.scf import Solution


@dataclass(frozen=True)
class DensityBasis:
    """Wavevectors of the density, and the grid on which exchange and correlation are summed."""

    soft: Tensor  # (n, 3) Miller indices that hold every product of two wavefunctions
    hard: Tensor  # (n', 3), the soft ones and then more, for the pseudo-core
    shape: tuple[int, int, int]

    @staticmethod
    def make(cell: Tensor, cutoff: float, density_cutoff: float) -> DensityBasis:
        """Cutoffs of wavefunctions and density in hartree."""
        hard = sphere(cell, density_cutoff)
        soft = sphere(cell, min(4 * cutoff, density_cutoff))  # in the same order
        return DensityBasis(soft.to(cell.device), hard.to(cell.device), grid_shape(cell, density_cutoff))


def density_energies(number: Tensor, nuclei: Nuclei, basis: DensityBasis, xc: str) -> dict[str, Tensor]:
    """Local, Hartree and exchange-correlation energies of the valence electrons with N(G) = `number` (n,)."""
    volume = nuclei.volume
    G = wavevectors(basis.soft, nuclei.cell)
    G2 = G.square().sum(1)
    local = nuclei.superposed(lambda element: element.local_potential(lengths(G)), basis.soft)
    return {
        "local": (number.conj() * local).real.sum() / volume,
        "hartree": 2 * pi / volume * (number.abs().square()[1:] / G2[1:]).sum(),  # G = 0 comes first
        "xc": exchange_correlation(number, nuclei, basis, xc),
    }


def exchange_correlation(number: Tensor, nuclei: Nuclei, basis: DensityBasis, xc: str) -> Tensor:
    """int f(n + n_core, |grad(n + n_core)|^2) dr, both densities being N(G)/Omega."""
    G = wavevectors(basis.hard, nuclei.cell)
    q = lengths(G)
    core = nuclei.superposed(lambda element: element.core(q) if element.core else None, basis.hard)
    n = (torch.nn.functional.pad(number, (0, len(core) - len(number))) + core) / nuclei.volume
    fields = to_grid(torch.cat([n[None], 1j * G.mT * n]), basis.hard, basis.shape)
    return FUNCTIONALS[xc](fields[0], fields[1:].square().sum(0)).mean() * nuclei.volume


def effective_potential(number: Tensor, nuclei: Nuclei, basis: DensityBasis, xc: str) -> Tensor:
    """V(G) (n,) = dE/dN(G): what an electron feels, in hartree."""
    number = number.detach().requires_grad_()
    energies = density_energies(number, nuclei, basis, xc)
    (gradient,) = torch.autograd.grad(torch.stack(list(energies.values())).sum(), number)
    return gradient


def nonlocal_energy(
    nuclei: Nuclei, waves: Waves, vectors: Tensor, occupations: Tensor, indices: Tensor, element: int
) -> Tensor:
    """Non-local energy of the orbitals (K, bands, size) with some atoms of an element."""
    beta, strengths = projectors(waves, nuclei, indices, element)
    overlaps = (vectors @ beta.mH).unflatten(-1, (-1, len(strengths)))  # (K, bands, N, F)
    expectation = ((overlaps @ strengths.to(overlaps.dtype)).conj() * overlaps).real.sum((-1, -2))
    return (occupations * expectation).sum()


# ---- derivatives


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
