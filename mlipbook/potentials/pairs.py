"""Pair potentials of one function u(r): Lennard-Jones, the soft core (Eq. 7), screened nuclei."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from mlipbook.checks import finite, not_negative, positive, whole
from mlipbook.descriptors import cutoff_function
from mlipbook.potentials.edge import EdgePotential
from mlipbook.units import bohr, coulomb_constant, hartree


class PairPotential(EdgePotential):
    """u(r) between all pairs, half of it at either atom, so that the three atomic virials agree. energy:
    function of distances (A, K) angstrom and the atomic numbers of both ends, (A, 1) and (A, K), to pair
    energies in eV. What it gives beyond the cutoff (angstrom) is not used; shift it to zero there.
    """

    def __init__(self, energy: Callable[[Tensor, Tensor, Tensor], Tensor], cutoff: float):
        super().__init__()
        self.energy, self.cutoff = energy, positive(cutoff, "cutoff", "in angstrom")

    def atomic_energies(self, vectors: Tensor, center_species: Tensor, neighbor_species: Tensor) -> Tensor:
        r = vectors.square().sum(0).sqrt()
        u = self.energy(r, center_species[:, None], neighbor_species)
        return 0.5 * torch.where(r < self.cutoff, u, torch.zeros_like(u)).sum(-1)


def LennardJones(epsilon: float, sigma: float, cutoff: float) -> PairPotential:
    """4 epsilon ((sigma/r)^12 - (sigma/r)^6), shifted to zero at the cutoff; eV, angstrom."""
    epsilon, sigma = finite(epsilon, "epsilon", "in eV"), positive(sigma, "sigma", "in angstrom")
    return PairPotential(partial(shifted_lennard_jones, epsilon=epsilon, sigma=sigma, cutoff=cutoff), cutoff)


def shifted_lennard_jones(r: Tensor, *_: Tensor, epsilon: float, sigma: float, cutoff: float) -> Tensor:
    x, x_cutoff = (sigma / r) ** 6, (sigma / cutoff) ** 6
    return 4 * epsilon * (x * x - x - (x_cutoff**2 - x_cutoff))


def SoftCore(
    mu: float = 7.92e-4 * hartree, sigma: float = 6.752 * bohr, n: int = 12, cutoff: float = 8.0
) -> PairPotential:
    """mu (sigma/r)^n (Eq. 7), shifted to zero at the cutoff; eV, angstrom; mu, sigma of the paper. The shift
    makes forces and energies those of one potential; `free_energy.soft_core_cutoff` is the difference that it
    makes.
    """
    mu, sigma = not_negative(mu, "mu", "in eV"), positive(sigma, "sigma", "in angstrom")
    n = whole(n, "n", least=4, hint="the exponent")
    return PairPotential(partial(shifted_soft_core, mu=mu, sigma=sigma, n=n, cutoff=cutoff), cutoff)


def shifted_soft_core(r: Tensor, *_: Tensor, mu: float, sigma: float, n: int, cutoff: float) -> Tensor:
    return mu * ((sigma / r) ** n - (sigma / cutoff) ** n)


def Repulsion(cutoff: float) -> PairPotential:
    """Fixed short-range repulsion to put under a network: screened nuclei times fc(r)^2. Choose the cutoff
    (angstrom) near the shortest distances of the training data, so that the network learns the difference
    where there are data and the nuclei rule where there are none.
    """
    return PairPotential(partial(screened_nuclei, cutoff=cutoff), cutoff)


def screened_nuclei(r: Tensor, z: Tensor, z_neighbor: Tensor, cutoff: float) -> Tensor:
    """Z Z' e^2/r phi(r/a) fc(r)^2 in eV, a = 0.8854 bohr / (Z^0.23 + Z'^0.23), phi the universal screening
    function of Ziegler, Biersack, Littmark (1985)."""
    strengths, decays = (0.18175, 0.50986, 0.28022, 0.02817), (3.19980, 0.94229, 0.40290, 0.20162)
    z, z_neighbor = z.to(r.dtype), z_neighbor.to(r.dtype)
    x = r * (z**0.23 + z_neighbor**0.23) / (0.8854 * bohr)
    screening = torch.stack([c * torch.exp(-d * x) for c, d in zip(strengths, decays, strict=True)]).sum(0)
    return coulomb_constant * z * z_neighbor / r * screening * cutoff_function(r, cutoff) ** 2
