"""The Kohn-Sham energy, term by term, as a differentiable function of where the atoms are.

Everything else comes from it by automatic differentiation: the potential is its derivative with respect to the
density, forces and stress are its derivatives with respect to positions and strain at fixed wavefunction
coefficients, occupations and number N(G) = Omega n(G) (Hellmann-Feynman; norm-conserving, so that the
coefficients stay orthonormal). No term can be forgotten then, not even the 1/Omega of the core charge.
Hartree atomic units.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from mlipbook.dft.basis import Waves, grid_shape, sphere, structure_factors, to_grid, wavevectors
from mlipbook.dft.functionals import FUNCTIONALS
from mlipbook.dft.hamiltonian import Nuclei, projectors

ATOMS_AT_ONCE = 64  # whose projectors are differentiated together: bounds the memory


@dataclass(frozen=True)
class DensityBasis:
    """Wavevectors of the density: `soft` (n, 3) holds every product of two wavefunctions, `hard` (n', 3), which
    begins with the soft ones, also the pseudo-core; shape: the grid on which exchange and correlation are summed.
    """

    soft: Tensor
    hard: Tensor
    shape: tuple[int, int, int]

    @staticmethod
    def make(cell: Tensor, cutoff: float, density_cutoff: float) -> DensityBasis:
        """Cutoffs of wavefunctions and density in hartree."""
        hard = sphere(cell, density_cutoff).to(cell.device)
        energies = wavevectors(hard, cell).square().sum(1) / 2
        soft = hard[energies <= min(4 * cutoff, density_cutoff)]
        return DensityBasis(soft, hard, grid_shape(cell, density_cutoff))


def density_energies(number: Tensor, nuclei: Nuclei, basis: DensityBasis, xc: str) -> dict[str, Tensor]:
    """Local, Hartree and exchange-correlation energies of the valence electrons with N(G) = `number` (n,)."""
    volume = nuclei.volume
    G = wavevectors(basis.soft, nuclei.cell)
    G2 = G.square().sum(1)
    q = G2.clamp_min(1e-24).sqrt() * (G2 > 0)
    local = sum(
        structure_factors(nuclei.fractional[nuclei.of(i)], basis.soft) * element.local_potential(q)
        for i, element in enumerate(nuclei.elements)
    )
    return {
        "local": (number.conj() * local).real.sum() / volume,
        "hartree": 2 * pi / volume * (number.abs().square()[1:] / G2[1:]).sum(),  # G = 0 comes first
        "xc": exchange_correlation(number, nuclei, basis, xc),
    }


def exchange_correlation(number: Tensor, nuclei: Nuclei, basis: DensityBasis, xc: str) -> Tensor:
    """int f(n + n_core, |grad(n + n_core)|^2) dr, both densities being N(G)/Omega."""
    G = wavevectors(basis.hard, nuclei.cell)
    q = G.square().sum(1).clamp_min(1e-24).sqrt()
    total = torch.nn.functional.pad(number, (0, len(basis.hard) - len(number)))
    for i, element in enumerate(nuclei.elements):
        if element.core is not None:
            total = total + structure_factors(nuclei.fractional[nuclei.of(i)], basis.hard) * element.core(q)
    n = total / nuclei.volume
    fields = to_grid(torch.cat([n[None], 1j * G.mT * n]), basis.hard, basis.shape)
    return FUNCTIONALS[xc](fields[0], fields[1:].square().sum(0)).mean() * nuclei.volume


def effective_potential(number: Tensor, nuclei: Nuclei, basis: DensityBasis, xc: str) -> Tensor:
    """V(G) (n,) = dE/dN(G): what an electron feels, in hartree."""
    number = number.detach().requires_grad_()
    energy = sum(density_energies(number, nuclei, basis, xc).values())
    (gradient,) = torch.autograd.grad(energy, number)
    return gradient


def nonlocal_energy(
    nuclei: Nuclei, waves: Waves, vectors: Tensor, occupations: Tensor, indices: Tensor, element: int
) -> Tensor:
    """Non-local energy of the orbitals (K, bands, size) with some atoms of an element."""
    beta, strengths = projectors(waves, nuclei, indices, element)
    overlaps = (vectors @ beta.mH).unflatten(-1, (-1, len(strengths)))  # (K, bands, N, F)
    expectation = ((overlaps @ strengths.to(overlaps.dtype)).conj() * overlaps).real.sum((-1, -2))
    return (occupations * expectation).sum()
