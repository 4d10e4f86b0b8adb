"""The self-consistent solution of the Kohn-Sham equations, and its forces and stress (hartree, bohr)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt

import torch
from torch import Tensor

from mlipbook.dft.basis import Waves, from_grid, grid_shape, wavevectors, structure_factors, to_grid
from mlipbook.dft.eigensolver import davidson
from mlipbook.dft.energy import (
    ATOMS_AT_ONCE,
    DensityBasis,
    density_energies,
    effective_potential,
    nonlocal_energy,
)
from mlipbook.dft.ewald import ewald
from mlipbook.dft.hamiltonian import Hamiltonian, Nuclei, density_on_grid
from mlipbook.dft.mixing import PulayMixer
from mlipbook.dft.smearing import occupations as occupy

COARSE = 0.4  # cutoff of the calculation that provides the start, as a part of the cutoff
DOUBLE_BELOW = 5e-6
STEPS = 4  # of the eigensolver, at most, for one potential


class NotConverged(RuntimeError):
    """No self-consistency: the message has the history of errors, and advice."""


@dataclass(frozen=True)
class Settings:
    """Of a calculation, in hartree. k points (K, 3) in units of the reciprocal vectors, weights adding up to 1."""

    cutoff: float
    density_cutoff: float
    k: Tensor
    weights: Tensor
    width: float
    smearing: str
    xc: str
    bands: int
    tolerance: float
    k_at_once: int
    iterations: int = 60


@dataclass(frozen=True)
class Solution:
    """Orbitals, density and energies (hartree) of a converged calculation."""

    nuclei: Nuclei
    settings: Settings
    basis: DensityBasis
    waves: list[Waves]
    vectors: list[Tensor]  # (K, bands, size) for each block of k points
    eigenvalues: Tensor  # (k points, bands)
    occupations: Tensor  # (k points, bands), 0 ... 2
    fermi_level: float
    number: Tensor  # N(G) of the soft sphere
    minus_TS: float
    errors: list[float]  # of each iteration

    @property
    def filling(self) -> list[Tensor]:
        """Occupations times weights of the k points, in blocks."""
        weighted = self.occupations * self.settings.weights.to(self.occupations.device)[:, None]
        return list(weighted.split([len(w.k) for w in self.waves]))


def solve(nuclei: Nuclei, settings: Settings, start: Solution | None = None) -> Solution:
    """Self-consistent orbitals and density.

    start: a solution for nearby atoms, or a lower cutoff; without, one at a lower cutoff is computed first.
    Raises NotConverged.
    """
    basis = DensityBasis.make(nuclei.cell, settings.cutoff, settings.density_cutoff)
    shape = grid_shape(nuclei.cell, min(4 * settings.cutoff, settings.density_cutoff))
    waves = [Waves.make(nuclei.cell, settings.cutoff, k, shape) for k in settings.k.split(settings.k_at_once)]
    if start is None and (coarse := coarser(nuclei, settings)) is not None:
        start = solve(nuclei, coarse)
    if start is None:
        vectors = [w.lowest(settings.bands) for w in waves]
        number = atomic_number(nuclei, basis)
        vectors = [v.to(_kind(w, torch.float64)) for v, w in zip(vectors, waves)]
    else:
        vectors = [w.embed(old, v) for w, old, v in zip(waves, start.waves, start.vectors)]
        number = embedded(start.number, start.basis.soft, basis.soft, shape)
    return iterate(nuclei, settings, basis, waves, vectors, number)


def coarser(nuclei: Nuclei, settings: Settings) -> Settings | None:
    """Settings at a lower cutoff, converged as far as a start needs; None where too few plane waves would be left."""
    cutoff = COARSE * settings.cutoff
    waves = nuclei.volume.item() * (2 * cutoff) ** 1.5 / (6 * torch.pi**2)
    if waves < 4 * settings.bands:
        return None
    return replace(settings, cutoff=cutoff, density_cutoff=4 * cutoff, tolerance=1e-4 * sum_charge(nuclei) / 128)


def sum_charge(nuclei: Nuclei) -> float:
    return float(nuclei.charges.sum())


def atomic_number(nuclei: Nuclei, basis: DensityBasis) -> Tensor:
    """N(G) of free atoms, scaled to the exact number of electrons."""
    q = wavevectors(basis.soft, nuclei.cell).square().sum(1).sqrt()
    number = sum(
        structure_factors(nuclei.fractional[nuclei.of(i)], basis.soft) * element.density(q)
        for i, element in enumerate(nuclei.elements)
    )
    return number * (sum_charge(nuclei) / number[0].real)


def embedded(values: Tensor, old: Tensor, new: Tensor, shape: tuple[int, int, int]) -> Tensor:
    from mlipbook.dft.basis import flat_index
    import math
    fits = (2 * old.abs() < torch.tensor(shape, device=old.device)).all(1)
    box = values.new_zeros(math.prod(shape))
    box[flat_index(old[fits], shape)] = values[fits]
    return box[flat_index(new, shape)]


def _kind(waves, dtype):
    return dtype if waves.real else dtype.to_complex()


import time
def iterate(nuclei, settings, basis, waves, vectors, number) -> Solution:
    electrons = sum_charge(nuclei)
    mixer = PulayMixer(wavevectors(basis.soft, nuclei.cell).square().sum(1), electrons, float(nuclei.volume))
    filled = torch.zeros(len(settings.k), settings.bands, dtype=torch.float64, device=number.device)
    filled[:, : int(electrons / 2 * 1.2) + 1] = 2.0
    errors: list[float] = []
    error = 1e-2 * electrons
    dtype = torch.float32
    hamiltonians = [Hamiltonian.make(w, nuclei, dtype) for w in waves]
    vectors = [v.to(_kind(w, dtype)) for v, w in zip(vectors, waves)]
    blocks = [len(w.k) for w in waves]
    while len(errors) < settings.iterations:
        t0 = time.time()
        if dtype == torch.float32 and error < DOUBLE_BELOW * electrons / 128:
            dtype = torch.float64
            hamiltonians = [Hamiltonian.make(w, nuclei, dtype) for w in waves]
            vectors = [v.to(_kind(w, dtype)) for v, w in zip(vectors, waves)]
        potential = to_grid(effective_potential(number, nuclei, basis, settings.xc), basis.soft, waves[0].shape)
        t1 = time.time()
        tolerance = sqrt(0.01 * error / electrons)
        values, norms = [], []
        for i, (h, need) in enumerate(zip(hamiltonians, filled.split(blocks), strict=True)):
            e, vectors[i], r = davidson(
                h.with_potential(potential), vectors[i], h.kinetic, (need / 2).sqrt(), tolerance, STEPS
            )
            values.append(e); norms.append(r)
        t2 = time.time()
        eigenvalues = torch.cat(values)
        weights = settings.weights.to(number.device)
        filled, fermi, minus_TS = occupy(eigenvalues, weights, electrons, settings.width, settings.smearing)
        filling = (filled * weights[:, None]).split(blocks)
        field = sum(density_on_grid(w, v, f) for w, v, f in zip(waves, vectors, filling, strict=True))
        out = from_grid(field.to(torch.complex128), basis.soft)
        out = out * (electrons / out[0].real)
        error = mixer.error(out - number)
        errors.append(error)
        print(f"{len(errors)} {dtype} error {2*error:.2e} Ry tol {tolerance:.1e} max r {(torch.cat(norms)*(filled/2).sqrt()).max():.1e} V {t1-t0:.2f} eig {t2-t1:.2f} rho {time.time()-t2:.2f}", flush=True)
        if error < settings.tolerance and dtype == torch.float64 or error < settings.tolerance and settings.tolerance > DOUBLE_BELOW*electrons/128*.9:
            return Solution(nuclei, settings, basis, waves, vectors, eigenvalues, filled, float(fermi), out, float(minus_TS), errors)
        number = mixer.next(number, out - number)
    raise NotConverged(str(errors))
