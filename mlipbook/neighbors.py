"""Neighbor lists: who sits within the cutoff of whom, periodic images included.

An edge e = (i -> j) points from a center i to a neighbor j; every pair is listed twice, once from each
side, and every periodic image is an edge of its own, also an atom's own images. The list is a table
with one row per center, padded at the end of the rows: sums over neighbors are sums over the last axis,
and shapes stay fixed while atoms move.
"""

from dataclasses import dataclass
from functools import cache
from math import inf

import numpy as np
import torch
from torch import Tensor
from vesin import NeighborList

from mlipbook.allocator import keep_freed_memory
from mlipbook.checks import not_negative, positive
from mlipbook.structures import Structures

MOST_PAIRS = 1e8  # in one neighbor table, some 10 GB
WIDE, NARROW = 2.0, 0.3  # A, skins of moving atoms' lists
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
    held: Structures | None = None  # the last for which it was found good

    def vectors(self, structures: Structures) -> Tensor:
        """Edge vectors r_e = r_j + S.cell - r_i, (3, A, K) angstrom; padding lies beyond any cutoff."""
        return torch.where(self.real, self._vectors(structures), 2 * (self.cutoff + self.skin))

    def _vectors(self, structures: Structures) -> Tensor:
        """With any numbers in the padding."""
        B, (A, K) = len(structures), self.neighbor.shape
        positions = structures.positions.reshape(A, 3).T
        vectors = _picked(positions, self.neighbor.flatten()).view(3, A, K) - positions[:, :, None]
        shifts, image = self.shifts.view(3, B, -1).transpose(0, 1), vectors.view(3, B, -1).transpose(0, 1)
        image.baddbmm_(structures.cells.mT, shifts)  # + S.cell, (B, 3, N*K), in the memory of the vectors
        return vectors

    def species(self, structures: Structures) -> tuple[Tensor, Tensor]:
        """Atomic numbers of centers (A,) and neighbors (A, K)."""
        centers = structures.species.repeat(len(structures))
        return centers, centers[self.neighbor]

    def cover(self, structures: Structures, skin: float = 0.0) -> bool:
        """True while no pair can have come within cutoff + skin (angstrom) unseen: the list can be kept. Cell
        changes are taken as a deformation D of the old structure: a pair's distance shrinks by at most |D -
        1| of what it was, plus twice the largest displacement from the deformed positions.
        """
        old = self.built_for
        if structures.positions.shape != old.positions.shape or structures.pbc != old.pbc:
            return False
        moves, room = structures.positions - old.positions, self.skin - skin
        if structures.cells is old.cells:  # at constant volume they are the same
            return 2 * _longest(moves) < room
        if not all(old.pbc):
            return torch.equal(structures.cells, old.cells) and 2 * _longest(moves) < room
        change = torch.baddbmm(_unit(old.cells.device), old.inverse_cells, structures.cells, beta=-1)  # D - 1
        moves = torch.baddbmm(moves, old.positions, change, alpha=-1)
        return 2 * _longest(moves) + _longest(change.flatten(1)) * (self.cutoff + self.skin) < room

    def hold(self, structures: Structures) -> bool:
        """True while the list has all pairs within the cutoff: built for these atoms, or to be kept."""
        old = self.built_for
        if structures is old or structures is self.held:
            return True
        same_species = structures.species is old.species or torch.equal(structures.species, old.species)
        held = same_species and (
            self.cover(structures)
            or structures.pbc == old.pbc
            and torch.equal(structures.positions, old.positions)
            and torch.equal(structures.cells, old.cells)
        )
        if held:
            vars(self)["held"] = structures  # dynamics asks for its list, then the potential whether it holds
        return held

    def narrowed(self, structures: Structures, skin: float) -> "Edges":
        """The pairs of this list that are now within cutoff + skin (angstrom), in the same order."""
        near = self.real & (self._vectors(structures).square().sum(0) < (self.cutoff + skin) ** 2)
        kept = _nonzero(near)
        neighbor = self.neighbor.flatten().index_select(0, kept)
        shifts = _picked(self.shifts.flatten(1), kept)
        return _table(near.sum(-1), neighbor, shifts, self.cutoff, skin, structures)


class VerletLists:
    """The neighbor list of moving atoms: a wide one, searched rarely, and a narrow one, picked from it often.
    Called, it gives a list with all pairs of these structures within the cutoff (angstrom). The narrow list
    is kept while atoms cannot have crossed its skin, the wide one while narrow ones can be picked from it.
    """

    def __init__(self, cutoff: float):
        self.cutoff = cutoff
        self.wide: Edges | None = None
        self.narrow: Edges | None = None

    def __call__(self, structures: Structures) -> Edges:
        if self.narrow is None or not self.narrow.hold(structures):
            if self.wide is None or not self.wide.cover(structures, NARROW):
                self.wide = build(structures, self.cutoff, self.widest(structures))
            tight = self.wide.skin < 2 * NARROW  # to pick from it would not pay
            self.narrow = self.wide if tight else self.wide.narrowed(structures, NARROW)
        return self.narrow

    def widest(self, structures: Structures) -> float:
        """The wide skin, or one with which no pair of a narrow cell has two images; angstrom."""
        if not all(structures.pbc):
            return WIDE
        room = float(structures.heights.min()) / 2 - self.cutoff
        return room if NARROW < room < WIDE else WIDE


def build(structures: Structures, cutoff: float, skin: float = 0.0) -> Edges:
    """Neighbor table of all pairs, every image of each, within cutoff + skin (angstrom). Raises ValueError
    where two atoms overlap (closer than 0.01 A), naming them, and for too many pairs.
    """
    keep_freed_memory()
    cutoff, skin = positive(cutoff, "cutoff", "in angstrom"), not_negative(skin, "skin", "in angstrom")
    structures.refuse_broken()
    reach = cutoff + skin
    refuse_too_many(structures, reach)
    few = structures.n_atoms <= ALL_PAIRS_LIMIT[structures.positions.device.type]
    search = _all_pairs if few and one_image(structures, reach) else _linked_cells
    center, neighbor, shifts, distances = search(structures, reach)
    _refuse_overlaps(center, neighbor, distances, structures.n_atoms)
    counts = torch.bincount(center, minlength=len(structures) * structures.n_atoms)
    return _table(counts, neighbor, shifts, cutoff, skin, structures)


def refuse_too_many(structures: Structures, reach: float) -> None:
    """ValueError for more than MOST_PAIRS within reach (angstrom), counted as if atoms were spread evenly."""
    extents = structures.positions.amax(1) - structures.positions.amin(1) + 2 * reach  # (B, 3)
    box = torch.where(torch.tensor(structures.pbc), structures.heights.cpu(), extents.cpu()).prod(-1)
    N = structures.n_atoms
    pairs = float((N * N * (4.19 * reach**3 / box).clamp(max=inf if any(structures.pbc) else 1)).sum())
    if pairs > MOST_PAIRS:
        raise ValueError(
            f"about {pairs:.1g} pairs of {len(structures)} x {N} atoms within {reach:g} A, more than "
            f"{MOST_PAIRS:.0g}: shorten the cutoff, or take fewer structures at a time"
        )


def one_image(structures: Structures, reach: float) -> bool:
    """Whether no atom has several images of another within reach (angstrom); of clusters, and of crystals."""
    wide = all(structures.pbc) and bool((structures.heights >= 2 * reach).all())
    return wide or not any(structures.pbc)


Pairs = tuple[Tensor, Tensor, Tensor, Tensor]  # centers, neighbors (E,), shifts (3, E), distances (E,)


def _all_pairs(structures: Structures, reach: float) -> Pairs:
    """All N x N pairs with the nearest image of each; right for cells wider than twice the reach."""
    N, x = structures.n_atoms, structures.positions.mT  # (B, 3, N)
    if any(structures.pbc):
        x = structures.inverse_cells.mT @ x
    pairs = x[:, :, None, :] - x[:, :, :, None]  # (B, 3, i, j) = r_j - r_i, in units of the cell
    shifts = -pairs.round() if any(structures.pbc) else torch.zeros_like(pairs)
    if any(structures.pbc):
        pairs = (structures.cells.mT @ (pairs + shifts).flatten(2)).view_as(pairs)
    squares = pairs.square().sum(1)
    squares.diagonal(dim1=1, dim2=2).fill_(torch.inf)  # no atom is its own neighbor
    found = _nonzero(squares < reach**2)
    center, b = found // N, found // N**2
    image = found + 2 * N**2 * b  # where its first shift is
    shifts = torch.stack([shifts.flatten().index_select(0, image + a * N**2) for a in range(3)])
    return center, b * N + found % N, shifts, squares.flatten().index_select(0, found).sqrt()


def _linked_cells(structures: Structures, reach: float) -> Pairs:
    """Pairs from vesin's linked cells, one structure at a time, any cell and any number of images."""
    search = NeighborList(cutoff=reach, full_list=True, sorted=True)
    N, found = structures.n_atoms, []
    for b, (x, h) in enumerate(zip(structures.positions.cpu(), structures.cells.cpu(), strict=True)):
        i, j, S, d = search.compute(x.numpy(), h.numpy(), np.asarray(structures.pbc), quantities="ijSd")
        found.append((b * N + i.astype(np.int64), b * N + j.astype(np.int64), S.astype(float).T, d))
    joined = [torch.as_tensor(np.concatenate(each, axis=-1)) for each in zip(*found, strict=True)]
    center, neighbor, shifts, distances = (each.to(structures.positions.device) for each in joined)
    return center, neighbor, shifts, distances


def _refuse_overlaps(center: Tensor, neighbor: Tensor, distances: Tensor, N: int) -> None:
    if len(distances) and (least := float(distances.min())) < OVERLAP:
        closest = int(distances.argmin())
        b, i = divmod(int(center[closest]), N)
        raise ValueError(
            f"structure {b}: atoms {i} and {int(neighbor[closest]) % N} overlap, {least:.2e} A apart; remove "
            "the duplicate atom or correct the cell"
        )


def _table(
    counts: Tensor, neighbor: Tensor, shifts: Tensor, cutoff: float, skin: float, structures: Structures
) -> Edges:
    """Rows of so many (A,) edges from edges one after the other; the padding points at the center itself."""
    A, K = len(counts), max(1, int(counts.max()))
    real = torch.arange(K, device=counts.device) < counts[:, None]
    own = torch.arange(A, device=counts.device)[:, None].expand(A, K).masked_scatter(real, neighbor)
    moved = shifts.new_zeros(3, A, K).masked_scatter(real, shifts)
    return Edges(own, moved, real, cutoff, skin, structures)


def _longest(vectors: Tensor) -> float:
    """The length of the longest; norms take three times as long."""
    return float((vectors * vectors).sum(-1).max()) ** 0.5


@cache
def _unit(device: torch.device) -> Tensor:
    return torch.eye(3, dtype=torch.float64, device=device)


def _picked(rows: Tensor, index: Tensor) -> Tensor:
    """rows[:, index] in a third of its time."""
    return rows.gather(1, index.expand(len(rows), -1))


def _nonzero(mask: Tensor) -> Tensor:
    """Where a mask is true, as indices of its flattened form; on a CPU NumPy is ten times as quick."""
    if mask.is_cuda:
        return mask.flatten().nonzero()[:, 0]
    return torch.from_numpy(np.flatnonzero(mask.numpy()))
