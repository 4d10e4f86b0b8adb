"""The self-consistent solution of the Kohn-Sham equations (hartree, bohr).

A calculation goes through stages: low cutoffs first, where an iteration costs next to nothing, then the
wanted cutoff in single precision, last in double precision. Each stage starts from the orbitals and the
density of the one before; the last one alone decides the result.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlipbook.allocator import keep_freed_memory
from mlipbook.dft.basis import Waves, from_grid, grid_shape, lengths, to_grid, transplanted, wavevectors
from mlipbook.dft.eigensolver import davidson
from mlipbook.dft.energy import DensityBasis, effective_potential
from mlipbook.dft.hamiltonian import Hamiltonian, Nuclei, density_on_grid
from mlipbook.dft.mixing import PulayMixer
from mlipbook.dft.smearing import occupations as occupy
from mlipbook.units import hartree

COARSER = 0.4  # cutoff of a stage, as a part of the cutoff of the next one
ACCURACY = 2e-3  # of the orbitals: square of their residuals by error of the density, per electron
ROUGH_ITERATIONS = 20  # of a stage that is not the last, at most
STEPS = 4  # of the eigensolver, at most, in one potential
SINGLE_PRECISION_ERROR = 4e-8  # hartree per electron: self-consistency that single precision reaches
SINGLE_PRECISION_GRID = 0.8  # of the cutoff: the far corners of the potential are tiny


class NotConverged(RuntimeError):
    """The calculation did not become self-consistent; the message has the history of errors, and advice."""


@dataclass(frozen=True)
class Settings:
    """Of a calculation, in hartree."""

    cutoff: float
    density_cutoff: float
    k: Tensor  # (K, 3) in units of the reciprocal vectors
    weights: Tensor  # (K,), their sum is 1
    width: float
    smearing: str
    xc: str
    bands: int
    tolerance: float  # electrostatic energy of the difference between output and input density, at the end
    k_at_once: int  # k points that are solved side by side, which takes memory and makes use of a GPU
    iterations: int  # at most, in each stage


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
    """Self-consistent orbitals and density, from those of similar atoms with the same k points and bands, if
    given. Raises NotConverged.
    """
    keep_freed_memory()
    errors: list[float] = []
    if start is not None:
        settings = replace(settings, k_at_once=start.settings.k_at_once)  # the same blocks
    *rough, final = stages(nuclei, settings, from_scratch=start is None)
    for stage in rough:
        with suppress(NotConverged):  # in few waves a partly filled shell can slosh: go on
            start = self_consistent(nuclei, *stage, start, errors)
    return self_consistent(nuclei, *final, start, errors)


def stages(nuclei: Nuclei, settings: Settings, from_scratch: bool) -> list[tuple[Settings, torch.dtype]]:
    """Settings and precision of the stages of a calculation."""
    rough = max(30 * settings.tolerance, SINGLE_PRECISION_ERROR * nuclei.electrons)
    few = min(ROUGH_ITERATIONS, settings.iterations)
    single = replace(settings, tolerance=rough, iterations=few)
    found = [(settings, torch.float64), (single, torch.float32)]
    cutoff, tolerance = COARSER * settings.cutoff, 1e-6 * nuclei.electrons
    while from_scratch and plane_waves(nuclei, cutoff) > 4 * settings.bands:
        coarse = replace(single, cutoff=cutoff, density_cutoff=4 * cutoff, tolerance=tolerance)
        found.append((coarse, torch.float32))
        cutoff *= COARSER
    return found[::-1]


def plane_waves(nuclei: Nuclei, cutoff: float) -> float:
    """Their number in a sphere."""
    return float(nuclei.volume) * (2 * cutoff) ** 1.5 / (6 * math.pi**2)


def self_consistent(
    nuclei: Nuclei, settings: Settings, dtype: torch.dtype, start: Solution | None, errors: list[float]
) -> Solution:
    """One stage; the errors of its iterations are appended to the list. Raises NotConverged."""
    electrons, weights = nuclei.electrons, settings.weights.to(nuclei.cell.device)
    basis = DensityBasis.make(nuclei.cell, settings.cutoff, settings.density_cutoff)
    hamiltonians = operators(nuclei, settings, dtype)
    vectors, number, occupations, error = guess(nuclei, settings, basis, hamiltonians, start)
    mixer = PulayMixer(wavevectors(basis.soft, nuclei.cell), electrons, float(nuclei.volume))
    for _ in range(settings.iterations):
        potential = effective_potential(number, nuclei, basis, settings.xc)
        field = to_grid(potential, basis.soft, hamiltonians[0].waves.shape)
        # The error of the energy goes with the squared residuals: solve as well as the density deserves.
        residual = math.sqrt(ACCURACY * error / electrons)
        eigenvalues, vectors = lowest_orbitals(hamiltonians, field, vectors, occupations, residual)
        occupations, fermi_level, minus_TS = occupy(
            eigenvalues, weights, electrons, settings.width, settings.smearing
        )
        out = density(hamiltonians, vectors, occupations * weights[:, None], basis)
        error = mixer.error(out - number)
        errors.append(error)
        number = mixer.next(number, out - number)
        if error < settings.tolerance:
            waves = [h.waves for h in hamiltonians]
            states = vectors, eigenvalues, occupations, float(fermi_level), float(minus_TS)
            return Solution(nuclei, settings, basis, waves, *states, out, number, errors)
    raise NotConverged(_advice(settings, errors))


def operators(nuclei: Nuclei, settings: Settings, dtype: torch.dtype) -> list[Hamiltonian]:
    """The Hamiltonian of each block of k points, still without potential."""
    part = 1.0 if dtype == torch.float64 else SINGLE_PRECISION_GRID
    shape = grid_shape(nuclei.cell, part * min(4 * settings.cutoff, settings.density_cutoff))
    return [
        Hamiltonian.make(Waves.make(nuclei.cell, settings.cutoff, k, shape), nuclei, dtype)
        for k in settings.k.split(settings.k_at_once)
    ]


def guess(
    nuclei: Nuclei, settings: Settings, basis: DensityBasis, blocks: list[Hamiltonian], start: Solution | None
) -> tuple[list[Tensor], Tensor, Tensor, float]:
    """Orbitals, N(G), occupations and the expected error: of free atoms, or of the start."""
    if start is None:
        vectors = [h.cast(h.waves.longest(settings.bands)) for h in blocks]
        occupations = torch.full((len(settings.k), settings.bands), 2.0, dtype=torch.float64)
        error = 1e-2 * nuclei.electrons
        return vectors, of_free_atoms(nuclei, basis), occupations.to(nuclei.cell.device), error
    former = zip(blocks, start.waves, start.vectors, strict=True)
    vectors = [h.cast(h.waves.adopt(waves, old)) for h, waves, old in former]
    number = transplanted(start.mixed, start.basis.soft, basis.soft)
    error = min(3e-5 * nuclei.electrons, 30 * start.settings.tolerance)
    return vectors, number, start.occupations, error


def of_free_atoms(nuclei: Nuclei, basis: DensityBasis) -> Tensor:
    """N(G) of overlapping free atoms, scaled to the number of electrons."""
    q = lengths(wavevectors(basis.soft, nuclei.cell))
    number = nuclei.superposed(lambda element: element.density(q), basis.soft)
    return number * (nuclei.electrons / number[0].real)


def lowest_orbitals(
    blocks: list[Hamiltonian], field: Tensor, vectors: list[Tensor], occupations: Tensor, residual: float
) -> tuple[Tensor, list[Tensor]]:
    """Eigenvalues (k points, bands) and vectors by block in the potential V(r); empty bands hardly count."""
    importance = (occupations / 2).sqrt().split([len(h.waves.k) for h in blocks])
    solved = [
        davidson(h.in_potential(field), guessed, h.kinetic, need, residual, STEPS)
        for h, guessed, need in zip(blocks, vectors, importance, strict=True)
    ]
    return torch.cat([values for values, _ in solved]), [found for _, found in solved]


def density(blocks: list[Hamiltonian], vectors: list[Tensor], filling: Tensor, basis: DensityBasis) -> Tensor:
    """N(G) on the soft sphere; filling: occupations times weights of k points, (k points, bands)."""
    parts = zip(blocks, vectors, filling.split([len(h.waves.k) for h in blocks]), strict=True)
    field = sum(density_on_grid(h.waves, found, f) for h, found, f in parts)
    return from_grid(field, basis.soft)  # type: ignore[arg-type]


def _advice(settings: Settings, errors: list[float]) -> str:
    history = ", ".join(f"{error * hartree:.1e}" for error in errors)
    return (
        f"no self-consistency to {settings.tolerance * hartree:.1e} eV in {settings.iterations} iterations "
        f"at a cutoff of {settings.cutoff * hartree:.3g} eV; errors (eV): {history}. If they still fall, "
        "allow more iterations; if they wander, take more bands or a wider smearing; look for close atoms"
    )
