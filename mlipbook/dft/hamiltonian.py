"""The atoms, and the Kohn-Sham operator that their electrons see, at a block of k points (hartree, bohr)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlipbook.dft.basis import Waves, lengths, phases, structure_factors
from mlipbook.dft.pseudopotential import Pseudopotential, real_spherical_harmonics

BANDS_AT_ONCE = 8  # on the grid: enough for a GPU's width, few enough for a CPU's cache
ATOMS_AT_ONCE = 32  # whose projectors are made, or differentiated, together: bounds the memory


@dataclass(frozen=True)
class Nuclei:
    """positions (N, 3) and cell (3, 3), rows, in bohr; elements, and the one of each atom: species (N,)."""

    positions: Tensor
    cell: Tensor
    elements: tuple[Pseudopotential, ...]
    species: Tensor

    @property
    def volume(self) -> Tensor:
        return torch.linalg.det(self.cell).abs()

    @property
    def fractional(self) -> Tensor:
        return self.positions @ torch.linalg.inv(self.cell)

    @property
    def charges(self) -> Tensor:
        valence = torch.tensor([element.valence for element in self.elements], dtype=torch.float64)
        return valence.to(self.species.device)[self.species]

    @property
    def electrons(self) -> float:
        return float(self.charges.sum())

    def of(self, element: int) -> Tensor:
        """Indices of the atoms of an element."""
        return torch.nonzero(self.species == element)[:, 0]

    def superposed(self, form: Callable[[Pseudopotential], Tensor | None], miller: Tensor) -> Tensor:
        """sum_a f_a(G) exp(-i G.R_a) (n,) at wavevectors (n, 3); form: of an element f(G) (n,), or None."""
        total = torch.zeros(len(miller), dtype=torch.complex128, device=miller.device)
        for i, element in enumerate(self.elements):
            if (f := form(element)) is not None:
                total = total + f * structure_factors(self.fractional[self.of(i)], miller)
        return total


@dataclass(frozen=True)
class Hamiltonian:
    """-(1/2) nabla^2 + V(r) + sum |beta> D <beta| for vectors (K, bands, size) in the basis of `waves`."""

    waves: Waves
    kinetic: Tensor  # (K, size)
    nonlocal_part: tuple[tuple[Tensor, Tensor], ...]  # of each element: beta (K, atoms * F, size), D (F, F)
    potential: Tensor  # (*shape)

    @staticmethod
    def make(waves: Waves, nuclei: Nuclei, dtype: torch.dtype) -> Hamiltonian:
        """With zero potential, in single (torch.float32) or double (torch.float64) precision."""
        nonlocal_part = []
        for element in range(len(nuclei.elements)):
            parts, kind = [], dtype if waves.real else dtype.to_complex()
            for atoms in nuclei.of(element).split(ATOMS_AT_ONCE):
                beta, strengths = projectors(waves, nuclei, atoms, element)
                parts.append(beta.to(kind))
            nonlocal_part.append((torch.cat(parts, 1), strengths.to(kind)))
        zero = torch.zeros(waves.shape, dtype=dtype, device=nuclei.cell.device)
        return Hamiltonian(waves, waves.kinetic(nuclei.cell).to(dtype), tuple(nonlocal_part), zero)

    def in_potential(self, field: Tensor) -> Hamiltonian:
        """The same in the potential V(r) (*shape)."""
        return replace(self, potential=field.to(self.kinetic.dtype))

    def cast(self, vectors: Tensor) -> Tensor:
        """Vectors in this operator's precision."""
        return vectors.to(self.kinetic.dtype.to_complex() if vectors.is_complex() else self.kinetic.dtype)

    def __call__(self, vectors: Tensor) -> Tensor:
        result = self.kinetic[:, None] * vectors
        for beta, strengths in self.nonlocal_part:
            overlaps = (vectors @ beta.mH).unflatten(-1, (-1, len(strengths)))
            result += (overlaps @ strengths).flatten(-2) @ beta
        for some, out in zip(vectors.split(BANDS_AT_ONCE, 1), result.split(BANDS_AT_ONCE, 1), strict=True):
            out += self.waves.from_grid(self.waves.to_grid(some) * self.potential)
        return result


def projectors(waves: Waves, nuclei: Nuclei, indices: Tensor, element: int) -> tuple[Tensor, Tensor]:
    """Kleinman-Bylander projectors (K, atoms * F, size) of some atoms of an element, their strengths (F, F).

    F counts the projectors with every m: beta_alm(k+G) = (-i)^l beta_l(|k+G|) Y_lm(k+G) exp(-i (k+G).R_a)
    / sqrt(Omega), differentiable with respect to positions and cell (Phys. Rev. Lett. 48, 1425 (1982)).
    """
    pseudopotential = nuclei.elements[element]
    wavevectors = waves.wavevectors(nuclei.cell)
    q = lengths(wavevectors)
    directions = wavevectors / q.clamp_min(1e-12)[..., None]
    forms = [
        (-1j) ** ell * table(q)[:, None] * real_spherical_harmonics(ell, directions).movedim(0, 1)
        for ell, table in pseudopotential.projectors
    ]
    form = torch.cat(forms, dim=1) / nuclei.volume.sqrt()  # (K, F, n)
    at_atoms = plane_waves_at(waves, nuclei.fractional[indices])
    return waves.pack((at_atoms[:, :, None] * form[:, None]).flatten(1, 2)), pseudopotential.strengths_of_m


def plane_waves_at(waves: Waves, fractional: Tensor) -> Tensor:
    """exp(-i (k+G).R) (K, N, n) at fractional coordinates (N, 3): a product over the three axes."""
    product = torch.exp(-2j * torch.pi * (waves.k @ fractional.mT))[..., None]
    for axis, reach in enumerate(waves.miller.abs().amax((0, 1)).tolist()):
        table = phases(fractional[:, axis], reach)  # (N, 2 reach + 1)
        product = product * table[:, waves.miller[..., axis] + reach].movedim(1, 0)
    return product


def density_on_grid(waves: Waves, vectors: Tensor, occupations: Tensor) -> Tensor:
    """sum_kb f_kb |psi_kb(r)|^2 (*shape), double; occupations (K, bands) contain the k points' weights."""
    total = torch.zeros(waves.shape, dtype=torch.float64, device=vectors.device)
    for some, f in zip(vectors.split(BANDS_AT_ONCE, 1), occupations.split(BANDS_AT_ONCE, 1), strict=True):
        fields = waves.to_grid(some)
        squares = fields.square() if waves.real else fields.real.square() + fields.imag.square()
        total += torch.einsum("kb,kbxyz->xyz", f.to(squares.dtype), squares)
    return total
