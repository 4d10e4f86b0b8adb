"""The force call of a pair potential on a CPU as one loop over pairs, in C (pairs.c), by a table.

u is tabulated over r^2 with its slope, for each pair of elements, and interpolated by cubics: energies and
forces of one function, which is the potential's to some 1e-9 eV. No neighbor list is needed where every pair
has one image within the cutoff. Needs a C compiler, as module `native`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from ase.data import atomic_numbers
from torch import Tensor

from mlipbook.fast.networks import described, library, pointer
from mlipbook.neighbors import Edges, one_image
from mlipbook.potentials import Definition, EdgePotential, Evaluation
from mlipbook.potentials.edge import volumes_of
from mlipbook.structures import Structures

START, KNOTS = 1.0, 40_000  # A; closer pairs are left to the potential

Input = described(
    "Input",
    integers=("atoms", "of_a_structure", "kinds", "knots"),
    doubles=("cutoff", "start", "step"),
    arrays=("x", "cells", "inverse", "kind", "table"),
)


class NativePairs:
    """A pair potential, half of each energy at either end, with a faster `evaluate` for structures on a CPU.

    elements: symbols. Structures with pairs closer than START, or with several images of one within the
    cutoff, are given to the potential itself. Raises RuntimeError if the C code cannot be compiled.
    """

    shortest = None
    members = 1

    def __init__(self, potential: EdgePotential, elements: Sequence[str]):
        self.potential, self.cutoff = potential, potential.cutoff
        self.numbers = torch.tensor(sorted(atomic_numbers[symbol] for symbol in elements))
        self.library = library("pairs.c")
        self.library.pairs.restype = ctypes.c_int64
        self.squares = torch.linspace(START**2, self.cutoff**2, KNOTS, dtype=torch.float64)
        step = self.squares[1] - self.squares[0]
        pairs = product(self.numbers.tolist(), repeat=2)
        values = torch.stack([tabulated(potential, self.squares, *pair) for pair in pairs])
        self.table = (values * torch.stack([torch.ones_like(step), step])).contiguous()  # (pairs, KNOTS, 2)

    def evaluate(
        self, structures: Structures, definition: Definition = "I", edges: Edges | None = None
    ) -> Evaluation:
        """As of the potential; all definitions of the virial are one. ValueError for other elements."""
        self.check(structures)
        if not one_image(structures, self.cutoff):
            return self.potential.evaluate(structures, definition, edges)
        B, N = len(structures), structures.n_atoms
        energies, forces, virials = (
            torch.zeros(B, N, *more, dtype=torch.float64) for more in ((), (3,), (3, 3))
        )
        step = float(self.squares[1] - self.squares[0])
        kind = torch.searchsorted(self.numbers, structures.species).repeat(B)
        inverse = structures.inverse_cells if any(structures.pbc) else torch.zeros_like(structures.cells)
        arrays = (structures.positions, structures.cells, inverse, kind, self.table)
        kept = [x.contiguous() for x in arrays]
        counts = (B * N, N, len(self.numbers), KNOTS)
        given = Input(*counts, self.cutoff, START**2, step, *(x.data_ptr() for x in kept))
        sums = (energies, forces, virials)
        if self.library.pairs(ctypes.byref(given), *map(pointer, sums)):
            return self.potential.evaluate(structures, definition, edges)
        return Evaluation(energies, forces, virials, volumes_of(structures))

    def identified_by(self) -> Any:
        """What `archive.identity` knows it by: results are those of the potential."""
        return self.potential

    def check(self, structures: Structures) -> None:
        """Raise ValueError naming the first atom that was not tabulated."""
        self.potential.check(structures)
        for i, (z, symbol) in enumerate(zip(structures.species, structures.symbols, strict=True)):
            if z not in self.numbers:
                raise ValueError(f"atom {i} is {symbol}, which is not in this table; list it in elements")


def tabulated(potential: EdgePotential, squares: Tensor, center: int, neighbor: int) -> Tensor:
    """u (eV) and du/d(r^2) at these r^2 (A^2), (..., 2), of two atoms: twice what the center has."""
    squares = squares.clone().requires_grad_()
    r = squares.sqrt()
    vectors = torch.stack([r, 0 * r, 0 * r])[..., None]
    species = (torch.full((len(r),), center), torch.full((len(r), 1), neighbor))
    u = 2 * potential.atomic_energies(vectors, *species)
    [slope] = torch.autograd.grad(u.sum(), squares)
    return torch.stack([u.detach(), slope], -1)
