"""The shortest distances that a potential was trained on, and a warning where atoms come closer."""

from __future__ import annotations

import warnings
from itertools import combinations_with_replacement

import torch
from ase.data import atomic_numbers, chemical_symbols
from torch import Tensor

from mlipbook.neighbors import Edges
from mlipbook.potentials.contract import Distances
from mlipbook.structures import Structures


class CloserThanTrained(UserWarning):
    """A pair of atoms is closer than any pair the potential was trained on."""


def species_pair(a: int, b: int) -> tuple[str, str]:
    """The symbols of two atomic numbers in alphabetical order, as `shortest` has them. Raises IndexError for
    numbers that no element has.
    """
    first, second = sorted((chemical_symbols[a], chemical_symbols[b]))
    return first, second


def shortest_distances(vectors: Tensor, edges: Edges, structures: Structures) -> dict[tuple[str, str], float]:
    """The shortest distance per pair of species, angstrom; pairs that do not meet are left out.

    vectors: (3, A, K) angstrom, those of edges and structures (`edges.vectors`). Raises IndexError, or
    RuntimeError, for edges of other structures.
    """
    r = vectors.square().sum(0).sqrt()
    centers, around = edges.species(structures)
    kinds = torch.unique(structures.species).tolist()
    found = {}
    for i, a in enumerate(kinds):
        for b in kinds[i:]:
            pairs = (
                r[edges.real & (centers == a)[:, None] & (around == b)] if len(kinds) > 1 else r[edges.real]
            )
            if len(pairs):
                found[species_pair(a, b)] = float(pairs.min())
    return found


def report_close_pairs(vectors: Tensor, edges: Edges, structures: Structures, shortest: Distances) -> None:
    """Warn CloserThanTrained for each kind of pair that is closer than `shortest` (angstrom) knows it."""
    if not bool((vectors.square().sum(0) < known_distances(edges, structures, shortest) ** 2).any()):
        return
    for pair, distance in shortest_distances(vectors, edges, structures).items():
        known = shortest.get(pair, edges.cutoff)
        if distance < known:
            # The text is the same at every step of a run, so that Python shows it once.
            met = f" closer than {known:.3f} A" if pair in shortest else ""
            warnings.warn(
                f"{pair[0]}-{pair[1]} pairs{met} were not in the training set: energies and forces are "
                "extrapolated; label such structures",
                CloserThanTrained,
                stacklevel=3,
            )


def known_distances(edges: Edges, structures: Structures, shortest: Distances) -> Tensor | float:
    """The shortest distance in the training set for each edge, (A, K) angstrom; a number for one species."""
    kinds = sorted({atomic_numbers[symbol] for symbol in structures.symbols})
    if len(kinds) == 1:
        return shortest.get(species_pair(*kinds, *kinds), edges.cutoff)
    table = torch.full((max(kinds) + 1,) * 2, edges.cutoff, dtype=torch.float64)
    for a, b in combinations_with_replacement(kinds, 2):
        table[a, b] = table[b, a] = shortest.get(species_pair(a, b), edges.cutoff)
    centers, around = edges.species(structures)
    return table.to(centers.device)[centers].gather(1, around)
