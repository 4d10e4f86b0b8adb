"""Neighbor lists: who sits within the cutoff of whom, periodic images included.

An edge e = (i -> j) points from a center i to a neighbor j; every pair is listed twice, once from each
side, and every periodic image is an edge of its own, also an atom's own images. The list is a table
with one row per center, padded at the end of the rows: sums over neighbors are sums over the last axis,
and shapes stay fixed while atoms move.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from vesin import NeighborList

from mlipbook.structures import Structures

OVERLAP = 0.01  # A; closer than this is a mistake in the input, not physics
ALL_PAIRS_LIMIT = {"cpu": 500, "cuda": 2500}  # atoms; above it the linked cells of vesin, on the CPU, win


@dataclass(frozen=True)
class Edges:
    """Neighbor table of a batch of B structures of N atoms; rows are the A = B*N centers.

    neighbor: (A, K) row number of the neighbor. shifts: (3, A, K) lattice translations S of the neighbor
    as floats. real: (A, K), False in the padding. cutoff, skin: angstrom; the table lists all pairs
    within cutoff + skin of the structures it was built for.
    """

    neighbor: Tensor
    shifts: Tensor
    real: Tensor
    cutoff: float
    skin: float
    built_for: Structures

    def vectors(self, structures: Structures) -> Tensor:
        """Edge vectors r_e = r_j + S.cell - r_i, (3, A, K) angstrom; padding lies beyond any cutoff."""
        B, (A, K) = len(structures), self.neighbor.shape
        positions = structures.positions.reshape(A, 3).T.contiguous()
        offsets = torch.einsum("cbe,bcd->dbe", self.shifts.view(3, B, -1), structures.cells).reshape(3, A, K)
        vectors = positions[:, self.neighbor] - positions[:, :, None] + offsets
        return torch.where(self.real, vectors, 2 * (self.cutoff + self.skin))

    def species(self, structures: Structures) -> tuple[Tensor, Tensor]:
        """Atomic numbers of centers (A,) and neighbors (A, K)."""
        centers = structures.species.repeat(len(structures))
        return centers, centers[self.neighbor]

    def cover(self, structures: Structures, skin: float = 0.0) -> bool:
        """True while no pair can have come within cutoff + skin unseen, so that the list can be kept.

        Cell changes are taken as a deformation D of the old structure: a pair's distance shrinks by at
        most |D - 1| of what it was, plus twice the largest displacement from the deformed positions.
        """
        old = self.built_for
        if structures.positions.shape != old.positions.shape or structures.pbc != old.pbc:
            return False
        if not all(old.pbc) and not torch.equal(structures.cells, old.cells):
            return False
        if structures.cells is old.cells:  # as in dynamics at constant volume
            moved = (structures.positions - old.positions).square().sum(-1).max().sqrt()
            return bool(2 * moved < self.skin - skin)
        identity = torch.eye(3).to(old.cells)
        deformation = torch.linalg.solve(old.cells, structures.cells) if all(old.pbc) else identity
        moved = (structures.positions - old.positions @ deformation).square().sum(-1).max().sqrt()
        strain = (deformation - identity).square().sum((1, 2)).max().sqrt() if all(old.pbc) else 0.0
        return bool(2 * moved + strain * (self.cutoff + self.skin) < self.skin - skin)

    def narrowed(self, structures: Structures, skin: float) -> Edges:
        """The pairs of this list that are now within cutoff + skin, in the same order."""
        near = self.vectors(structures).square().sum(0) < (self.cutoff + skin) ** 2
        K = max(1, int(near.sum(-1).max()))
        column = torch.where(near, near.cumsum(-1) - 1, K)  # column K takes what is left out
        old = torch.arange(near.shape[1], device=near.device).expand_as(near)
        pick = column.new_zeros(len(near), K + 1).scatter(1, column, old)[:, :K]
        real = torch.arange(K, device=near.device) < near.sum(-1, keepdim=True)
        own = torch.arange(len(near), device=near.device)[:, None]
        neighbor = torch.where(real, self.neighbor.gather(1, pick), own)
        shifts = torch.where(real, self.shifts.gather(2, pick.expand(3, -1, -1)), 0.0)
        return Edges(neighbor, shifts, real, self.cutoff, skin, structures)


class VerletLists:
    """The neighbor list of moving atoms: a wide one, searched rarely, and a narrow one, picked from it often.

    Calling it gives a list for these structures that holds all pairs within the cutoff. The narrow list is
    kept while atoms cannot have crossed its skin, the wide one while narrow ones can be picked from it; the
    potential sees few pairs beyond its cutoff.
    """

    def __init__(self, cutoff: float, wide_skin: float = 1.5, narrow_skin: float = 0.3):
        self.cutoff, self.wide_skin, self.narrow_skin = cutoff, wide_skin, narrow_skin
        self.wide: Edges | None = None
        self.narrow: Edges | None = None

    def __call__(self, structures: Structures) -> Edges:
        if self.narrow is None or not self.narrow.cover(structures):
            if self.wide is None or not self.wide.cover(structures, self.narrow_skin):
                self.wide = build(structures, self.cutoff, self.wide_skin)
            self.narrow = self.wide.narrowed(structures, self.narrow_skin)
        return self.narrow


def build(structures: Structures, cutoff: float, skin: float = 0.0) -> Edges:
    """Neighbor table of all pairs within cutoff + skin (angstrom).

    Small cells list every image within reach. Raises ValueError where two atoms overlap (closer than
    0.01 A) and names them.
    """
    B, N, reach = len(structures), structures.n_atoms, cutoff + skin
    few = structures.n_atoms <= ALL_PAIRS_LIMIT[structures.positions.device.type]
    one_image = not any(structures.pbc) or (
        all(structures.pbc) and bool((_heights(structures.cells) >= 2 * reach).all())
    )
    if one_image and few:
        center, neighbor, shifts = _all_pairs(structures, reach)
    else:
        center, neighbor, shifts = _linked_cells(structures, reach)
    edges = _table(center, neighbor, shifts, B * N, cutoff, skin, structures)
    _refuse_overlaps(edges, structures)
    return edges


def _heights(cells: Tensor) -> Tensor:
    """Distances between opposite faces, (B, 3): the rows of the inverse cell are 1/height long."""
    return 1 / torch.linalg.inv(cells).norm(dim=-2)


def _all_pairs(structures: Structures, reach: float) -> tuple[Tensor, Tensor, Tensor]:
    """All N x N pairs with the nearest image of each; right for cells wider than twice the reach."""
    N, cells, x = structures.n_atoms, structures.cells, structures.positions.mT  # (B, 3, N)
    shifts = torch.zeros(len(cells), 3, N, N).to(x)
    if any(structures.pbc):
        x = torch.linalg.inv(cells).mT @ x
        shifts = (x[:, :, :, None] - x[:, :, None, :]).round()
    pairs = x[:, :, None, :] - x[:, :, :, None] + shifts  # (B, 3, i, j) = r_j - r_i, in units of the cell
    if any(structures.pbc):
        pairs = cells.mT @ pairs.flatten(2)
    near = (pairs.view_as(shifts).square().sum(1) < reach**2) & ~torch.eye(N, dtype=torch.bool).to(x.device)
    found = near.flatten().nonzero()[:, 0]
    center = found // N
    return center, center - center % N + found % N, shifts.transpose(0, 1).reshape(3, -1)[:, found]


def _linked_cells(structures: Structures, reach: float) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs from vesin's linked cells, one structure at a time, any cell and any number of images."""
    search = NeighborList(cutoff=reach, full_list=True, sorted=True)
    N, found = structures.n_atoms, []
    for b, (x, h) in enumerate(zip(structures.positions.cpu(), structures.cells.cpu(), strict=True)):
        i, j, S = search.compute(x.numpy(), h.numpy(), np.asarray(structures.pbc), quantities="ijS")
        found.append((b * N + i.astype(np.int64), b * N + j.astype(np.int64), S.astype(float).T))
    device = structures.positions.device
    center, neighbor, shifts = (
        torch.as_tensor(np.concatenate(parts, axis=-1), device=device) for parts in zip(*found, strict=True)
    )
    return center, neighbor, shifts


def _table(
    center: Tensor,
    neighbor: Tensor,
    shifts: Tensor,
    A: int,
    cutoff: float,
    skin: float,
    structures: Structures,
) -> Edges:
    """Sort a pair list (sorted by center) into padded rows; the padding points at the center itself."""
    counts = torch.bincount(center, minlength=A)
    K = max(1, int(counts.max()))
    column = torch.arange(len(center), device=center.device) - (counts.cumsum(0) - counts)[center]
    table = torch.arange(A, device=center.device)[:, None].repeat(1, K)
    table[center, column] = neighbor
    table_shifts = shifts.new_zeros(3, A, K)
    table_shifts[:, center, column] = shifts
    real = torch.arange(K, device=center.device) < counts[:, None]
    return Edges(table, table_shifts, real, cutoff, skin, structures)


def _refuse_overlaps(edges: Edges, structures: Structures) -> None:
    distances = edges.vectors(structures).square().sum(0).sqrt()
    if float(distances.min()) < OVERLAP:
        row, column = divmod(int(distances.argmin()), distances.shape[1])
        b, i = divmod(row, structures.n_atoms)
        j = int(edges.neighbor[row, column]) % structures.n_atoms
        raise ValueError(
            f"structure {b}: atoms {i} and {j} overlap, {float(distances.min()):.2e} A apart; "
            "remove the duplicate atom or correct the cell"
        )
