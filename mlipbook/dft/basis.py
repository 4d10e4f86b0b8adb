"""Plane waves: k points, spheres of wavevectors, and the way between coefficients and real-space grids.

Atomic units (bohr, hartree). A function with the lattice's period is  f(r) = sum_m f_m exp(i G_m.r),
G_m = m B, with integer (Miller) indices m and the reciprocal lattice vectors in the rows of B.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


def reciprocal(cell: Tensor) -> Tensor:
    """Rows b_i with a_i.b_j = 2 pi delta_ij; cell: (3, 3), rows a_i in bohr."""
    return 2 * math.pi * torch.linalg.inv(cell).mT


def wavevectors(miller: Tensor, cell: Tensor) -> Tensor:
    """G (..., 3) in 1/bohr of Miller indices, differentiable with respect to the cell."""
    return miller.to(cell.dtype) @ reciprocal(cell)


def lengths(vectors: Tensor) -> Tensor:
    """|G| (...) of vectors (..., 3); its derivative at the origin is taken as zero."""
    squares = vectors.square().sum(-1)
    return squares.clamp_min(1e-24).sqrt() * (squares > 0)


def monkhorst_pack(mesh: tuple[int, int, int], shift: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """k points (K, 3) in units of the reciprocal vectors, and their weights (K,), which add up to 1.

    k_i = (j + s_i/2)/n_i, j = 0 ... n_i - 1 (Monkhorst and Pack, Phys. Rev. B 13, 5188 (1976)); of a pair
    (k, -k), equal by time reversal, the first stays with twice the weight.
    """
    j = torch.cartesian_prod(*(torch.arange(n) for n in mesh))
    points = (j + torch.tensor(shift, dtype=torch.float64) / 2) / torch.tensor(mesh)
    points = points - torch.round(points - 1e-9)  # (-1/2, 1/2]
    own, opposite = torch.arange(len(j)), flat_index(-j - torch.tensor(shift), mesh)  # places of k and -k
    weights = (1 + (opposite > own).double()) / len(j)
    return points[opposite >= own], weights[opposite >= own]


def sphere(cell: Tensor, cutoff: float, k: Tensor | None = None) -> Tensor:
    """Miller indices m (n, 3) with (1/2)|(m + k) B|^2 <= cutoff (hartree), by increasing length."""
    cell = cell.detach().cpu()
    k = torch.zeros(3, dtype=torch.float64) if k is None else k.cpu()
    # |m_i + k_i| = |a_i.G|/(2 pi) <= |a_i| G_max/(2 pi)
    reach = (torch.linalg.norm(cell, dim=1) * math.sqrt(2 * cutoff) / (2 * math.pi) + 1).int().tolist()
    m = torch.cartesian_prod(*[torch.arange(-n, n + 1) for n in reach])
    # Rounded, so that waves of equal length stay together, and in the same order in every sphere.
    energy = (((m + k) @ reciprocal(cell)).square().sum(1) / 2).round(decimals=9)
    inside = energy <= cutoff
    return m[inside][torch.argsort(energy[inside], stable=True)]


def grid_shape(cell: Tensor, cutoff: float) -> tuple[int, int, int]:
    """Points per axis of a grid that holds the sphere of the cutoff (hartree), by the rule of Quantum
    ESPRESSO.
    """
    from scipy.fft import next_fast_len  # of real transforms: products of 2, 3 and 5

    reach = torch.linalg.norm(cell.detach().cpu(), dim=1) * math.sqrt(2 * cutoff) / (2 * math.pi)
    return tuple(next_fast_len(2 * int(n) + 1, real=True) for n in reach)  # type: ignore[return-value]


def flat_index(miller: Tensor, shape: Sequence[int]) -> Tensor:
    """Place of each wavevector in a flattened FFT grid of this shape."""
    x, y, z = torch.remainder(miller, torch.tensor(shape, device=miller.device)).unbind(-1)
    return (x * shape[1] + y) * shape[2] + z


def to_grid(coefficients: Tensor, miller: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Real field (..., *shape) of Hermitian coefficients (..., n) on a whole sphere."""
    box = coefficients.new_zeros(*coefficients.shape[:-1], math.prod(shape))
    fits = (2 * miller.abs() < torch.tensor(shape, device=miller.device)).all(1)
    box = box.index_copy(-1, flat_index(miller[fits], shape), coefficients[..., fits])
    return torch.fft.ifftn(box.unflatten(-1, shape), dim=(-3, -2, -1), norm="forward").real


def from_grid(field: Tensor, miller: Tensor) -> Tensor:
    """Coefficients (..., n) of a field (..., *shape); zero for waves too short for its grid."""
    box = torch.fft.fftn(field, dim=(-3, -2, -1), norm="forward").flatten(-3)
    fits = (2 * miller.abs() < torch.tensor(field.shape[-3:], device=miller.device)).all(1)
    return box[..., flat_index(miller, field.shape[-3:])] * fits


def transplanted(values: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """Values (..., n) of wavevectors `old` (n, 3) for wavevectors `new` (m, 3), zero where there was none."""
    shape = (2 * torch.cat([old, new]).abs().amax(0) + 1).tolist()
    box = values.new_zeros(*values.shape[:-1], math.prod(shape))
    box[..., flat_index(old, shape)] = values
    return box[..., flat_index(new, shape)]


def structure_factors(fractional: Tensor, miller: Tensor) -> Tensor:
    """sum_a exp(-i G.R_a) (n,) of fractional coordinates (N, 3): a product over axes, one matrix product."""
    reach = miller.abs().amax(0).tolist()
    x, y, z = (phases(fractional[:, i], n) for i, n in enumerate(reach))
    box = x.mT @ (y[:, :, None] * z[:, None, :]).flatten(1)
    width_y, width_z = 2 * reach[1] + 1, 2 * reach[2] + 1
    mx, my, mz = (miller + miller.new_tensor(reach)).unbind(1)
    return box.flatten()[(mx * width_y + my) * width_z + mz]


def phases(fractional: Tensor, reach: int) -> Tensor:
    """exp(-2 pi i m x) (N, 2 reach + 1), m = -reach ... reach."""
    m = torch.arange(-reach, reach + 1, dtype=fractional.dtype, device=fractional.device)
    return torch.polar(torch.ones_like(m), -2 * math.pi * fractional[:, None] * m)


@dataclass(frozen=True)
class Waves:
    """The plane waves of a block of k points, and their grid.

    Wavefunctions are vectors (K, bands, size) with the plain inner product. In general size counts the
    complex coefficients of exp(i(k+G).r), padded with zeros to the largest of the K spheres. At Gamma the
    functions can be taken as real: half a sphere of G suffices, and a vector holds the real amplitudes of 1,
    sqrt(2) cos(G.r), -sqrt(2) sin(G.r). The linear algebra is the same for both, and half as dear.
    """

    k: Tensor  # (K, 3) fractional
    miller: Tensor  # (K, n, 3)
    mask: Tensor  # (K, n) False where padded
    shape: tuple[int, int, int]
    real: bool

    @staticmethod
    def make(cell: Tensor, cutoff: float, k: Tensor, shape: tuple[int, int, int]) -> Waves:
        """cutoff: hartree, for (1/2)|k+G|^2. One k point at the origin gives real waves."""
        real = len(k) == 1 and not k.any()
        spheres = [sphere(cell, cutoff, point) for point in k]
        if real:
            x, y, z = spheres[0].unbind(1)
            spheres = [spheres[0][(z > 0) | (z == 0) & ((y > 0) | (y == 0) & (x >= 0))]]
        # No sphere reaches the corner of the grid: padded entries point there.
        corner = torch.tensor(shape) // 2
        size = max(len(m) for m in spheres)
        miller = torch.stack([torch.cat([m, corner.expand(size - len(m), 3)]) for m in spheres])
        mask = torch.arange(size) < torch.tensor([len(m) for m in spheres])[:, None]
        return Waves(k.to(cell.device), miller.to(cell.device), mask.to(cell.device), shape, real)

    @property
    def size(self) -> int:
        n = self.miller.shape[1]
        return 2 * n - 1 if self.real else n

    def per_entry(self, values: Tensor) -> Tensor:
        """Values (..., n) of the wavevectors for the entries (..., size) of a vector."""
        return torch.cat([values, values[..., 1:]], -1) if self.real else values

    def wavevectors(self, cell: Tensor) -> Tensor:
        """k + G (K, n, 3) in 1/bohr, 0 where padded; differentiable with respect to the cell."""
        return (self.miller + self.k[:, None]) * self.mask[..., None] @ reciprocal(cell)

    def kinetic(self, cell: Tensor) -> Tensor:
        """(1/2)|k+G|^2 (K, size) in hartree."""
        return self.per_entry(self.wavevectors(cell).square().sum(-1) / 2)

    def pack(self, coefficients: Tensor) -> Tensor:
        """Vectors (..., size) of complex coefficients (..., n)."""
        if not self.real:
            return coefficients * self.mask[:, None]
        first, rest = coefficients[..., :1].real, math.sqrt(2) * coefficients[..., 1:]
        return torch.cat([first, rest.real, rest.imag], -1)

    def unpack(self, vectors: Tensor) -> Tensor:
        """Inverse of `pack`."""
        if not self.real:
            return vectors
        n = self.miller.shape[1]
        rest = torch.complex(vectors[..., 1:n], vectors[..., n:]) / math.sqrt(2)
        return torch.cat([vectors[..., :1].to(rest.dtype), rest], -1)

    def to_grid(self, vectors: Tensor) -> Tensor:
        """Wavefunctions (K, bands, *shape), times exp(-i k.r); real at Gamma."""
        coefficients, shape = self.unpack(vectors), self._box
        box = coefficients.new_zeros(*coefficients.shape[:-1], math.prod(shape))
        box.scatter_(-1, self._index.expand_as(coefficients), coefficients)
        if not self.real:
            return torch.fft.ifftn(box.unflatten(-1, shape), dim=(-3, -2, -1), norm="forward")
        plane, mirror = self._plane
        box[..., mirror] = coefficients[..., plane].conj()
        return torch.fft.irfftn(box.unflatten(-1, shape), s=self.shape, dim=(-3, -2, -1), norm="forward")

    def from_grid(self, fields: Tensor) -> Tensor:
        """Vectors (K, bands, size) of fields (K, bands, *shape): the projection onto the plane waves."""
        transform = torch.fft.rfftn if self.real else torch.fft.fftn
        box = transform(fields, dim=(-3, -2, -1), norm="forward").flatten(-3)
        return self.pack(box.gather(-1, self._index.expand(*box.shape[:-1], -1)))

    @property
    def _box(self) -> tuple[int, int, int]:
        """Shape of what transforms to the grid: of real functions half of it."""
        return (*self.shape[:2], self.shape[2] // 2 + 1) if self.real else self.shape

    @cached_property
    def _index(self) -> Tensor:
        """(K, 1, n) places in the flattened box."""
        return flat_index(self.miller, self._box)[:, None]

    @cached_property
    def _plane(self) -> tuple[Tensor, Tensor]:
        """Wavevectors with m_z = 0, and the places of their opposites: a real FFT wants both."""
        miller = self.miller[0]
        plane = torch.nonzero((miller[:, 2] == 0) & (miller != 0).any(1))[:, 0]
        return plane, flat_index(-miller[plane], self._box)

    def longest(self, bands: int) -> Tensor:
        """Vectors (K, bands, size) of the longest waves, with some noise, so that no symmetry is missed."""
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(len(self.k), bands, self.size, generator=generator, dtype=torch.float64)
        decay = (1 + torch.arange(self.size) / bands) ** -2
        vectors = torch.eye(bands, self.size, dtype=torch.float64) + 0.02 * noise * decay
        vectors = vectors.to(self.k.device) * self.per_entry(self.mask)[:, None]
        return vectors if self.real else vectors.to(torch.complex128)

    def adopt(self, other: Waves, vectors: Tensor) -> Tensor:
        """Vectors in another basis of the same k points, in this one; what it does not hold is lost."""
        spheres = zip(other.unpack(vectors), other.miller, other.mask, self.miller, strict=True)
        return self.pack(torch.stack([transplanted(c[:, held], m[held], own) for c, m, held, own in spheres]))
