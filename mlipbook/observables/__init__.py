"""What trajectories tell: thermodynamics, structure, motion, averages with their errors.

Functions of a State (`mlipbook.dynamics`) return one value per replica and go into `observe=`:
temperature, energies, enthalpy, volume, density, pressure, Q6, shortest distance. Functions of structures
or stored positions return g(r), bond orders, mean square displacements; `block_average` any series' mean.
Distances are between nearest images, in cells that are periodic along all three vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mlipbook.averages import block_average
from mlipbook.checks import whole
from mlipbook.descriptors import _angular_tables, chebyshev_series, circular_functions
from mlipbook.observables.motion import (
    blocks,
    diffusion,
    in_mean_cell,
    lindemann,
    mean_square_displacement,
)
from mlipbook.structures import Structures
from mlipbook.units import ATOMIC_MASS

__all__ = ["averaged_bond_order", "block_average", "blocks", "density", "diffusion", "enthalpy"]
__all__ += ["in_mean_cell", "kinetic_energy", "lindemann", "mean_square_displacement"]
__all__ += ["pair_distribution", "potential_energy", "pressure", "pressure_tensor", "q6"]
__all__ += ["shortest_distance", "steinhardt", "temperature", "volume"]

if TYPE_CHECKING:
    from mlipbook.dynamics import State

GRAM_PER_CM3 = 1e-27 / ATOMIC_MASS  # amu/A^3
PAIRS_AT_ONCE = 2**20  # in one table of pair vectors: 25 MB


# ---- functions of a State, for observe= --------------------------------------------------------------


def temperature(state: State) -> Tensor:
    """(B,) K, of the momenta: sum p^2/m over N_f kB."""
    return state.temperature


def potential_energy(state: State) -> Tensor:
    """(B,) eV."""
    return state.potential_energy


def kinetic_energy(state: State) -> Tensor:
    """(B,) eV."""
    return state.two_K / 2


def enthalpy(state: State, pressure: float | Tensor = 0.0) -> Tensor:
    """Potential + kinetic energy + P V at the outer pressure P (eV/A^3, number or (B,)); (B,) eV.

    For observe= at another pressure than zero: functools.partial(enthalpy, pressure=P).
    """
    return potential_energy(state) + kinetic_energy(state) + pressure * volume(state)


def volume(state: State) -> Tensor:
    """(B,) A^3."""
    return state.structures.volumes


def density(state: State) -> Tensor:
    """Mass density, (B,) g/cm^3. Raises ValueError without a volume."""
    if not bool(volume(state).all()):
        raise ValueError("a cluster without a cell has no volume, and no density")
    return state.masses.sum() / volume(state) / GRAM_PER_CM3


def pressure(state: State) -> Tensor:
    """Instantaneous pressure, with its kinetic part, (B,) eV/A^3."""
    return state.instantaneous_pressure


def pressure_tensor(state: State) -> Tensor:
    """(B, 3, 3) eV/A^3; a third of its trace is the pressure."""
    return state.pressure_tensor


def q6(state: State) -> Tensor:
    """Global Steinhardt Q6 over each atom's 14 nearest neighbors, (B,), dimensionless: see `steinhardt`."""
    return steinhardt(state.structures, 6)


def shortest_distance(state: State) -> Tensor:
    """Between any two atoms, (B,) angstrom."""
    return torch.cat([_distances(v).amin((1, 2)) for v in _pair_vectors(state.structures)])


# ---- structure ---------------------------------------------------------------------------------------


def pair_distribution(structures: Structures, edges: Tensor) -> Tensor:
    """g(r) of each structure in the bins [edges_k, edges_k+1), (B, bins); edges in angstrom, increasing.

    Pairs in the bin over their mean number for N independent atoms, N(N-1)/2 times the shell's share of
    the volume: 1 in an ideal gas at any N. (With N^2 instead of N(N-1), g would be smaller by 1 - 1/N.)
    An atom has (N-1)/V int g 4 pi r^2 dr neighbors.

    Raises ValueError if the bins reach beyond half of a cell's smallest width, where a second image of
    the same pair would have to count.
    """
    N, edges = structures.n_atoms, torch.as_tensor(edges).to(structures.positions)
    if N < 2 or edges.ndim != 1 or len(edges) < 2 or edges[0] < 0 or bool((edges.diff() <= 0).any()):
        raise ValueError(f"g(r) of {N} atoms: give two atoms or more, and increasing edges >= 0, not {edges}")
    half = _half_widths(structures)
    if edges[-1] > half.min() * (1 + 1e-9):
        raise ValueError(
            f"g(r) to {float(edges[-1]):.2f} A, but half the width of structure {int(half.argmin())} "
            f"is {float(half.min()):.2f} A: end the bins there, or repeat the cell (Atoms.repeat)"
        )
    i, j = torch.triu_indices(N, N, 1, device=edges.device)
    bins = len(edges) + 1  # with one below and one above the edges
    rows = []
    for vectors in _pair_vectors(structures):
        bin_of = torch.bucketize(_distances(vectors)[:, i, j], edges, right=True)
        replica = torch.arange(len(vectors), device=edges.device)[:, None]
        rows.append((replica * bins + bin_of).flatten().bincount(minlength=len(vectors) * bins))
    counts = torch.cat(rows).view(-1, bins)[:, 1:-1]
    shells = 4 * torch.pi / 3 * (edges**3).diff()
    return counts / (N * (N - 1) / 2 * shells / structures.volumes[:, None])


def steinhardt(structures: Structures, degree: int = 6, neighbors: int = 14) -> Tensor:
    """Global bond order Q_l = sqrt(4 pi/(2l+1) sum_m |mean Y_lm|^2) over all bonds, (B,).

    Steinhardt, Nelson, Ronchetti, Phys. Rev. B 28, 784 (1983), Eq. 1.4. Bonds go from every atom to its
    nearest `neighbors`: 14 are the first two shells of bcc, and no cutoff is needed. Perfect bcc has
    Q6 = 0.511, hot crystals of 128 atoms 0.35-0.5, hot liquids below 0.1, supercooled ones up to 0.2. All
    atoms count as one species. Dimensionless.
    """
    q, _ = _bond_harmonics(structures, degree, neighbors)
    return q.mean(-1).norm(dim=0)


def averaged_bond_order(structures: Structures, degree: int = 6, neighbors: int = 14) -> Tensor:
    """Bond order of each atom from q_lm averaged over itself and its nearest neighbors, (B, N).

    Lechner, Dellago, J. Chem. Phys. 129, 114707 (2008), Eqs. 5-6, over a fixed number of neighbors.
    (q6, q4) of perfect bcc: 0.511, 0.036 with 14 neighbors; fcc: 0.575, 0.191 with 12.
    """
    q, nearest = _bond_harmonics(structures, degree, neighbors)
    around = q.gather(2, nearest.flatten(1).expand(len(q), -1, -1)).unflatten(-1, nearest.shape[1:])
    return ((q + around.sum(-1)) / (neighbors + 1)).norm(dim=0)


def _bond_harmonics(structures: Structures, degree: int, neighbors: int) -> tuple[Tensor, Tensor]:
    """Mean of sqrt(4 pi/(2l+1)) Y_lm (real) over each atom's bonds (m, B, N), its neighbors (B, N, n)."""
    degree = whole(degree, "degree", most=50)
    neighbors = whole(neighbors, "neighbors", most=structures.n_atoms - 1, hint="or repeat the cell")
    q, nearest, reach = [], [], []
    for vectors in _pair_vectors(structures):
        r, index = _distances(vectors).topk(neighbors, largest=False, sorted=False)
        units = vectors.gather(3, index[:, None].expand(-1, 3, -1, -1)) / r[:, None]
        q.append(_harmonics(units.transpose(0, 1), degree).mean(-1))
        nearest.append(index)
        reach.append(r.amax((1, 2)))
    excess = torch.cat(reach) - _half_widths(structures)
    if excess.max() > 0:
        raise ValueError(
            f"structure {int(excess.argmax())}: an atom's {neighbors} nearest neighbors reach beyond half "
            "the cell's smallest width: repeat the cell (Atoms.repeat)"
        )
    return torch.cat(q, dim=1), torch.cat(nearest)


def _harmonics(units: Tensor, degree: int) -> Tensor:
    """Real spherical harmonics times sqrt(4 pi/(2l+1)) of unit vectors (3, ...), (2l+1, ...)."""
    x, y, z = units
    polynomials = chebyshev_series(z, degree, torch.ones_like(z))
    series = torch.tensordot(_harmonics_table(degree).to(z), polynomials, dims=1)
    return series * circular_functions(x, y, degree)


@cache
def _harmonics_table(degree: int) -> Tensor:
    """The factors that depend on z, as Chebyshev series in z, (m, p)."""
    return _angular_tables(degree)[1][:, degree]


def _pair_vectors(structures: Structures) -> Iterator[Tensor]:
    """r_j - r_i to the nearest image of j, (b, 3, N, N) angstrom, for b structures after the other."""
    if not all(structures.pbc):
        raise ValueError(f"pbc is {structures.pbc}: distances need periodic cells, pbc=True")
    fractional = (structures.positions @ torch.linalg.inv(structures.cells)).mT
    size = max(1, PAIRS_AT_ONCE // structures.n_atoms**2)
    for s, h in zip(fractional.split(size), structures.cells.split(size), strict=True):
        pairs = s[:, :, None, :] - s[:, :, :, None]
        pairs -= pairs.round()
        yield (h.mT @ pairs.flatten(2)).view_as(pairs)


def _distances(vectors: Tensor) -> Tensor:
    """Lengths of pair vectors, (b, N, N); infinite from an atom to itself."""
    r = vectors.square().sum(1).sqrt()
    r.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    return r


def _half_widths(structures: Structures) -> Tensor:
    """Half the smallest distance between opposite faces, (B,): nearest images are sure within it."""
    return 0.5 / torch.linalg.inv(structures.cells).norm(dim=-2).amax(-1)
