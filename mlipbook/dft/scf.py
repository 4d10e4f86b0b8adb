"""The self-consistent solution of the Kohn-Sham equations (hartree, bohr).

A calculation goes through stages: low cutoffs first, where an iteration costs next to nothing, then the wanted
cutoff in single precision, last in double precision. Each stage starts from the orbitals and the density of the
one before; the last one alone decides the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlipbook.dft.basis import Waves, from_grid, grid_shape, structure_factors, transplanted, wavevectors
from mlipbook.dft.eigensolver import davidson
from mlipbook.dft.energy import DensityBasis, effective_potential
from mlipbook.dft.hamiltonian import Hamiltonian, Nuclei, density_on_grid
from mlipbook.dft.mixing import PulayMixer
from mlipbook.dft.smearing import occupations as occupy

COARSER = 0.4  # cutoff of a stage, as a part of the cutoff of the next one
ACCURACY = 2e-3  # of the orbitals: square of their residuals by error of the density, per electron
STEPS = 4  # of the eigensolver, at most, in one potential
SINGLE_PRECISION_ERROR = 4e-8  # hartree per electron: self-consistency that single precision reaches


class NotConverged(RuntimeError):
    """The calculation did not become self-consistent; the message has the history of errors, and advice."""


@dataclass(frozen=True)
class Settings:
    """Of a calculation, in hartree. k: (K, 3) in units of the reciprocal vectors; weights: (K,), adding up to 1.

    tolerance: electrostatic energy of the difference between output and input density, at the end.
    k_at_once: number of k points that are solved side by side, which takes memory and makes use of a GPU.
    """

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
    iterations: int


@dataclass(frozen=True)
class Solution:
    """Orbitals and density of a self-consistent calculation."""

    nuclei: Nuclei
    settings: Settings
    basis: DensityBasis
    waves: list[Waves]  # blocks of k points
    vectors: list[Tensor]  # (K, bands, size) of each block
    eigenvalues: Tensor  # (k points, bands)
    occupations: Tensor  # (k points, bands), 0 ... 2
    fermi_level: float
    minus_TS: float
    number: Tensor  # N(G) of the orbitals, on the soft sphere
    mixed: Tensor  # N(G) to go on from: the orbitals' own would slosh
    errors: list[float]  # of every iteration of every stage

    @property
    def filling(self) -> list[Tensor]:
        """Occupations times weights of the k points, in blocks."""
        weights = self.settings.weights.to(self.occupations.device)
        return list((self.occupations * weights[:, None]).split([len(waves.k) for waves in self.waves]))


def solve(nuclei: Nuclei, settings: Settings, start: Solution | None = None) -> Solution:
    """Self-consistent orbitals and density; start: a solution for similar atoms with the same k points and bands.

    Raises NotConverged.
    """
    errors: list[float] = []
    for stage, dtype in stages(nuclei, settings, from_scratch=start is None):
        start = self_consistent(nuclei, stage, dtype, start, errors)
    assert start is not None
    return start


def stages(nuclei: Nuclei, settings: Settings, from_scratch: bool) -> list[tuple[Settings, torch.dtype]]:
    """Settings and precision of the stages of a calculation."""
    rough = max(30 * settings.tolerance, SINGLE_PRECISION_ERROR * electrons_of(nuclei))
    found = [(settings, torch.float64), (replace(settings, tolerance=rough), torch.float32)]
    cutoff = COARSER * settings.cutoff
    while from_scratch and plane_waves(nuclei, cutoff) > 4 * settings.bands:
        tolerance = 1e-6 * electrons_of(nuclei)
        coarse = replace(settings, cutoff=cutoff, density_cutoff=4 * cutoff, tolerance=tolerance)
        found.append((coarse, torch.float32))
        cutoff *= COARSER
    return found[::-1]


def plane_waves(nuclei: Nuclei, cutoff: float) -> float:
    """Their number in a sphere."""
    return float(nuclei.volume) * (2 * cutoff) ** 1.5 / (6 * math.pi**2)


def electrons_of(nuclei: Nuclei) -> float:
    return float(nuclei.charges.sum())


def self_consistent(
    nuclei: Nuclei, settings: Settings, dtype: torch.dtype, start: Solution | None, errors: list[float]
) -> Solution:
    """One stage; the errors of its iterations are appended to the list."""
    electrons, weights = electrons_of(nuclei), settings.weights.to(nuclei.cell.device)
    basis = DensityBasis.make(nuclei.cell, settings.cutoff, settings.density_cutoff)
    hamiltonians = operators(nuclei, settings, dtype)
    blocks = [len(h.waves.k) for h in hamiltonians]
    vectors, number, occupations, error = guess(nuclei, settings, basis, hamiltonians, start)
    mixer = PulayMixer(wavevectors(basis.soft, nuclei.cell).square().sum(1), electrons, float(nuclei.volume))
    for _ in range(settings.iterations):
        potential = effective_potential(number, nuclei, basis, settings.xc)
        # The error of the energy is of the order of the squared residuals: solve as well as the density deserves.
        tolerance, importance = (
            math.sqrt(ACCURACY * error / electrons),
            (occupations / 2).sqrt().split(blocks),
        )
        solved = [
            davidson(h.in_potential(potential, basis.soft), v, h.kinetic, need, tolerance, STEPS)
            for h, v, need in zip(hamiltonians, vectors, importance, strict=True)
        ]
        eigenvalues, vectors = torch.cat([e for e, _, _ in solved]), [v for _, v, _ in solved]
        occupations, fermi_level, minus_TS = occupy(
            eigenvalues, weights, electrons, settings.width, settings.smearing
        )
        filling = (occupations * weights[:, None]).split(blocks)
        field = sum(
            density_on_grid(h.waves, v, f) for h, v, f in zip(hamiltonians, vectors, filling, strict=True)
        )
        out = from_grid(field, basis.soft)
        error = mixer.error(out - number)
        errors.append(error)
        number = mixer.next(number, out - number)
        if error < settings.tolerance:
            return Solution(
                nuclei=nuclei,
                settings=settings,
                basis=basis,
                waves=[h.waves for h in hamiltonians],
                vectors=vectors,
                eigenvalues=eigenvalues,
                occupations=occupations,
                fermi_level=float(fermi_level),
                minus_TS=float(minus_TS),
                number=out,
                mixed=number,
                errors=errors,
            )
    raise NotConverged(
        f"no self-consistency to {settings.tolerance:.1e} hartree in {settings.iterations} iterations at a cutoff of "
        f"{settings.cutoff:g} hartree; errors: {', '.join(f'{error:.1e}' for error in errors)}. If they still fall, "
        "allow more iterations; if they wander, take a larger smearing or more bands, and look for atoms too close"
    )


def operators(nuclei: Nuclei, settings: Settings, dtype: torch.dtype) -> list[Hamiltonian]:
    """The Hamiltonian of each block of k points, still without potential."""
    # In single precision the grid need not hold the far corners of the potential, which are tiny.
    part = 1.0 if dtype == torch.float64 else 0.8
    shape = grid_shape(nuclei.cell, part * min(4 * settings.cutoff, settings.density_cutoff))
    return [
        Hamiltonian.make(Waves.make(nuclei.cell, settings.cutoff, k, shape), nuclei, dtype)
        for k in settings.k.split(settings.k_at_once)
    ]


def guess(
    nuclei: Nuclei,
    settings: Settings,
    basis: DensityBasis,
    hamiltonians: list[Hamiltonian],
    start: Solution | None,
) -> tuple[list[Tensor], Tensor, Tensor, float]:
    """Orbitals, N(G), occupations and the expected error: of free atoms, or of the start."""
    electrons = electrons_of(nuclei)
    if start is None:
        vectors = [h.cast(h.waves.longest(settings.bands)) for h in hamiltonians]
        filled = torch.full(
            (len(settings.k), settings.bands), 2.0, dtype=torch.float64, device=nuclei.cell.device
        )
        return vectors, of_free_atoms(nuclei, basis), filled, 1e-2 * electrons
    vectors = [
        h.cast(h.waves.adopt(waves, old))
        for h, waves, old in zip(hamiltonians, start.waves, start.vectors, strict=True)
    ]
    number = transplanted(start.mixed, start.basis.soft, basis.soft)
    return vectors, number, start.occupations, min(3e-5 * electrons, 30 * start.settings.tolerance)


def of_free_atoms(nuclei: Nuclei, basis: DensityBasis) -> Tensor:
    """N(G) of overlapping free atoms, scaled to the number of electrons."""
    q = wavevectors(basis.soft, nuclei.cell).square().sum(1).sqrt()
    number = sum(
        structure_factors(nuclei.fractional[nuclei.of(i)], basis.soft) * element.density(q)
        for i, element in enumerate(nuclei.elements)
    )
    return number * (electrons_of(nuclei) / number[0].real)
