"""The shortest distances that a potential was trained on, and a warning where atoms come closer."""

import warnings
from functools import lru_cache
from itertools import combinations_with_replacement, product

import torch
from ase.data import chemical_symbols
from torch import Tensor

from mlipbook.neighbors import Edges
from mlipbook.potentials.contract import Distances
from mlipbook.structures import Structures


class CloserThanTrained(UserWarning):
    """A pair of atoms is closer than any pair the potential was trained on."""


def species_pair(a: int, b: int) -> tuple[str, str]:
    """The symbols of two atomic numbers in alphabetical order, as in `shortest`; IndexError for others."""
    first, second = sorted((chemical_symbols[a], chemical_symbols[b]))
    return first, second


def shortest_distances(vectors: Tensor, edges: Edges, structures: Structures) -> dict[tuple[str, str], float]:
    """The shortest distance per pair of species, angstrom; pairs that do not meet are left out. vectors: (3,
    A, K) angstrom, those of edges and structures (`edges.vectors`). Raises IndexError, or RuntimeError, for
    edges of other structures.
    """
    r = vectors.square().sum(0).sqrt()
    centers, around = edges.species(structures)
    found = {}
    for a, b in combinations_with_replacement(torch.unique(structures.species).tolist(), 2):
        pairs = r[edges.real & (centers == a)[:, None] & (around == b)]
        if len(pairs):
            found[species_pair(a, b)] = float(pairs.min())
    return found


def report_close_pairs(vectors: Tensor, edges: Edges, structures: Structures, shortest: Distances) -> None:
    """Warn CloserThanTrained for each kind of pair that is closer than `shortest` (angstrom) knows it."""
    kinds = torch.unique(structures.species).tolist()
    known = known_squares(tuple(shortest.items()), tuple(kinds), edges.cutoff)
    if len(kinds) == 1:
        limits = known[kinds[0], kinds[0]]
    else:
        centers, around = edges.species(structures)
        limits = known.to(centers.device)[centers].gather(1, around)
    if not bool((vectors.square().sum(0) < limits).any()):
        return
    for pair, distance in shortest_distances(vectors, edges, structures).items():
        if distance < shortest.get(pair, edges.cutoff):
            # The text is the same at every step of a run, so that Python shows it once.
            met = f" closer than {shortest[pair]:.3f} A" if pair in shortest else ""
            warnings.warn(
                f"{pair[0]}-{pair[1]} pairs{met} were not in the training set: energies and forces are "
                "extrapolated; label such structures",
                CloserThanTrained,
                stacklevel=3,
            )


@lru_cache(maxsize=64)
def known_squares(shortest: tuple, kinds: tuple[int, ...], reach: float) -> Tensor:
    """Squares of the shortest trained distances of pairs of these atomic numbers, (Z, Z) A^2; reach^2 for
    those that did not meet, zeros elsewhere.
    """
    known = torch.zeros(len(chemical_symbols), len(chemical_symbols), dtype=torch.float64)
    for a, b in product(kinds, repeat=2):
        known[a, b] = dict(shortest).get(species_pair(a, b), reach) ** 2
    return known
