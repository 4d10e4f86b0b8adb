"""The force call of a pair potential on a CPU as one loop over pairs, in C (pairs.c), by a table.

u is tabulated over r^2 with three derivatives, for each pair of elements. Energies and forces are
interpolated by quintics, each by its own, and are the potential's up to rounding: the slope of an energy's
quintic would lose to rounding what a step is smaller than r^2. A table that misses, of a potential with a
kink, is not used. No neighbor list is needed where every pair has one image within the cutoff. Needs a C
compiler, as module `networks`.
"""

import ctypes
from itertools import combinations_with_replacement
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from mlipbook.fast.library import described, library, pointer
from mlipbook.neighbors import Edges, one_image
from mlipbook.potentials import Definition, EdgePotential, Evaluation, Ionic, PairPotential
from mlipbook.potentials.contract import Form
from mlipbook.potentials.edge import refuse_call, volumes_of
from mlipbook.structures import Structures

START, DENSITY = 1.0, 200  # A; knots per A^2. Closer pairs are left to the potential
MOST = 900  # atoms of a structure: of more, PyTorch's neighbor lists are quicker than all pairs
ROUNDING = 1e-12  # of what a table may differ by, relative

Input = described(
    "Input",
    integers=("atoms", "of_a_structure", "kinds", "knots"),
    doubles=("cutoff", "start", "step"),
    arrays=("x", "cells", "inverse", "kind", "table"),
)
TABLES: WeakKeyDictionary[EdgePotential, dict[tuple, Tensor | None]] = WeakKeyDictionary()


class NativePairs(Form):
    """A pair potential, half of each energy at either end, with a faster `evaluate` for structures on a CPU.

    Structures with pairs closer than START, with several images of one within the cutoff, with very many
    atoms, or on a GPU are given to the potential itself. Raises TypeError for other potentials, RuntimeError
    if the C code cannot be compiled.
    """

    potential: PairPotential | Ionic

    def __init__(self, potential: PairPotential | Ionic):
        super().__init__(potential)
        if type(potential) not in (PairPotential, Ionic) or "atomic_energies" in vars(potential):
            raise TypeError(f"{type(potential).__name__}: pairs.c computes pair potentials")
        if potential.cutoff <= START:
            raise TypeError(f"cutoff {potential.cutoff} A: tables begin at {START} A")
        library("pairs.c")

    def evaluate(
        self, structures: Structures, definition: Definition = "I", edges: Edges | None = None
    ) -> Evaluation:
        """As of the potential: arguments, units, errors; all definitions of the virial are one."""
        on_cpu = structures.positions.device.type == "cpu" and self.device in (None, torch.device("cpu"))
        if not on_cpu or structures.n_atoms > MOST or not one_image(structures, self.cutoff):
            return self.potential.evaluate(structures, definition, edges)
        refuse_call(self.potential, structures, definition, edges)
        kinds, kind = torch.unique(structures.species, return_inverse=True)
        table = table_of(self.potential, tuple(kinds.tolist()))
        if table is None or (sums := self.summed(structures, kind, table)) is None:
            return self.potential.evaluate(structures, definition, edges)
        energies, forces, virials = sums
        return Evaluation(energies, forces, virials, volumes_of(structures))

    def summed(self, structures: Structures, kind: Tensor, table: Tensor) -> list[Tensor] | None:
        """Energies, forces, virials by a table; None if a pair is closer than it begins."""
        B, N = len(structures), structures.n_atoms
        sums = [torch.zeros(B, N, *more, dtype=torch.float64) for more in ((), (3,), (3, 3))]
        inverse = structures.inverse_cells if any(structures.pbc) else torch.zeros_like(structures.cells)
        arrays = (structures.positions, structures.cells, inverse, kind.repeat(B), table)
        kept = [x.contiguous() for x in arrays]
        number, step = knots(self.cutoff)
        numbers = (B * N, N, len(table), number, self.cutoff, START**2, step)
        given = Input(*numbers, *(x.data_ptr() for x in kept))
        pairs = library("pairs.c").pairs
        pairs.restype = ctypes.c_int64
        return None if pairs(ctypes.byref(given), *map(pointer, sums)) else sums


def knots(cutoff: float) -> tuple[int, float]:
    """The number of a table's rows, and the step of r^2 (A^2) from one to the next."""
    span = cutoff**2 - START**2
    number = 2 + int(DENSITY * span)
    return number, span / (number - 1)


def table_of(potential: PairPotential | Ionic, kinds: tuple[int, ...]) -> Tensor | None:
    """(kinds, kinds, knots, 4) of atomic numbers: u (eV), step u', step^2 u'', step^3 u''', derivatives by
    r^2; None if it does not give the potential's numbers. Kept as long as the potential is."""
    tables = TABLES.setdefault(potential, {})
    key = (kinds, potential.cutoff, made_of(potential))
    if key not in tables:
        tables[key] = tabulated(potential, kinds)
    return tables[key]


def made_of(potential: PairPotential | Ionic) -> tuple:
    """What changes when the potential does."""
    if isinstance(potential, PairPotential):
        return (potential.energy,)
    return potential.table.data_ptr(), potential.table._version, potential.table.dtype


def tabulated(potential: PairPotential | Ionic, kinds: tuple[int, ...]) -> Tensor | None:
    """As `table_of`."""
    number, step = knots(potential.cutoff)
    squares = START**2 + step * torch.arange(number, dtype=torch.float64)
    middle, inside = squares[:-1] + step / 2, squares.clone()
    inside[-1] = potential.cutoff**2 * (1 - 1e-15)  # at the cutoff itself there is no more force
    powers = step ** torch.arange(4, dtype=torch.float64)
    found = torch.zeros(len(kinds), len(kinds), number, 4, dtype=torch.float64)
    for (i, a), (j, b) in combinations_with_replacement(enumerate(kinds), 2):
        found[i, j] = found[j, i] = row = derivatives(potential, inside, a, b) * powers
        exact = derivatives(potential, middle, a, b, 1) * powers[:2]
        near = exact.abs() + exact[:, 1:].abs()  # where u is zero, its change from knot to knot
        fits = (at_middle(row) - exact).abs() <= ROUNDING * near + 1e-16
        other = derivatives(potential, inside, b, a, 0)[:, 0]
        if not bool(fits.all()) or not torch.allclose(other, row[:, 0], rtol=1e-14, atol=0.0):
            return None
    return found


def at_middle(row: Tensor) -> Tensor:
    """u and step u' of the quintics half-way between knots, (knots - 1, 2)."""
    p, q = row[:-1], row[1:]
    value, slope, curvature = (slice(n, n + 2) for n in range(3))
    rise, bend = (p - q)[:, slope], (p + q)[:, curvature]
    return (p + q)[:, value] / 2 + 5 * rise / 32 + bend / 64


def derivatives(
    potential: EdgePotential, squares: Tensor, center: int, neighbor: int, order: int = 3
) -> Tensor:
    """u and its derivatives by r^2 (eV, A^2) at these r^2, (..., 1 + order): twice what the center has."""
    with torch.enable_grad():
        squares = squares.clone().requires_grad_()
        r = squares.sqrt()
        vectors = torch.stack([r, 0 * r, 0 * r])[..., None]
        species = (torch.full((len(r),), center), torch.full((len(r), 1), neighbor))
        found = [2 * potential.atomic_energies(vectors, *species)]
        for _ in range(order):
            found += torch.autograd.grad(found[-1].sum(), squares, create_graph=True)
    return torch.stack(found, -1).detach()
