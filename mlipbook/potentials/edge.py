"""Potentials: whatever turns structures into energies, forces and virials.

A strictly local potential is a function from edge vectors to atomic energies, and one gradient with
respect to the edge vectors gives everything else (derivation: chapter 3):

    g_e = dU/dr_e                      e = (i -> j), every pair listed twice
    F   = scatter(i, +g) + scatter(j, -g)
    w_e = - r_e (x) g_e
    W   = scatter w_e to j (definition I, Eq. 12), to i (II, Eq. 13), half each (III, Eq. 14)
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mlipbook import neighbors
from mlipbook.neighbors import Edges
from mlipbook.potentials.close_pairs import report_close_pairs
from mlipbook.potentials.contract import DEFINITIONS, Base, Definition
from mlipbook.structures import FLAT, Structures


@dataclass(frozen=True)
class Evaluation:
    """Energies (B, N) eV, forces (B, N, 3) eV/A and atomic virials (B, N, 3, 3) eV of B structures. A member
    axis stands in front if the potential has several members. volumes: (B,) A^3.
    """

    energies: Tensor
    forces: Tensor
    virials: Tensor
    volumes: Tensor

    @cached_property
    def energy(self) -> Tensor:
        """Total energies U, (B,) eV (Eq. 1)."""
        return self.energies.sum(-1)

    @cached_property
    def virial(self) -> Tensor:
        """Total virials W = -dU/dstrain, (B, 3, 3) eV; the same for all three definitions."""
        return self.virials.sum(-3)

    @property
    def stress(self) -> Tensor:
        """Static stress -W/volume in ASE's sign, (B, 3, 3) eV/A^3; of slabs and rods see `has_stress`. Raises
        ValueError without a volume.
        """
        if bool((self.volumes < FLAT).any()):
            raise ValueError(
                "an isolated cluster has no volume, hence no stress; use .virial (slabs and rods have one in "
                "a cell of three lattice vectors)"
            )
        return -self.virial / self.volumes[:, None, None]

    @property
    def pressure(self) -> Tensor:
        """Static pressure -Tr(stress)/3, (B,) eV/A^3, without the kinetic part."""
        return -self.stress.diagonal(dim1=-2, dim2=-1).mean(-1)


class EdgePotential(Base):
    """A potential that is a sum of atomic energies, each a function of the edges of its atom. Subclasses set
    `cutoff` (angstrom) and write `atomic_energies`; `evaluate` is written once, here.
    """

    def atomic_energies(self, vectors: Tensor, center_species: Tensor, neighbor_species: Tensor) -> Tensor:
        """Atomic energies (A,) eV, or (members, A), from edge vectors (3, A, K) angstrom. Species are atomic
        numbers, (A,) and (A, K). Edges beyond the cutoff must not count.
        """
        raise NotImplementedError

    def check(self, structures: Structures) -> None:
        """Raise ValueError if the potential cannot describe these structures."""

    def evaluate(
        self, structures: Structures, definition: Definition = "I", edges: Edges | None = None
    ) -> Evaluation:
        """Energies, forces and atomic virials of a batch of structures.

        definition: "I", "II" or "III", the atomic virial of Eq. 12, 13 or 14. edges: a neighbor list to
        reuse (default: a new one). Distances are taken in float64, then cast to the potential's dtype.
        Raises ValueError for unknown species, definitions, overlapping atoms, lists that are too short.
        Warns CloserThanTrained if a pair is closer than in the training set, or of a kind never met there.
        """
        recorded = being_recorded(structures.positions)
        edges = list_for(self, structures, definition, edges)
        species = edges.species(structures)
        vectors = edges.vectors(structures).to(self.dtype).requires_grad_()
        if self.shortest and not recorded:
            report_close_pairs(vectors.detach(), edges, structures, self.shortest)
        with torch.enable_grad():
            energies = self.atomic_energies(vectors, *species)
            g = edge_gradients(energies, vectors)
        forces, virials = scatter(g.double(), vectors.detach().double(), edges, definition)
        shape = (*energies.shape[:-1], len(structures), structures.n_atoms)
        return Evaluation(
            energies.detach().double().view(shape),
            forces.view(*shape, 3),
            virials.view(*shape, 3, 3),
            volumes_of(structures),
        )


def list_for(
    potential: EdgePotential, structures: Structures, definition: Definition, edges: Edges | None
) -> Edges:
    """The neighbor list given, or a new one; ValueError for what `evaluate` refuses."""
    refuse_call(potential, structures, definition, edges)
    return neighbors.build(structures, potential.cutoff) if edges is None else edges


def refuse_call(
    potential: EdgePotential, structures: Structures, definition: Definition, edges: Edges | None
) -> None:
    """Raise ValueError for structures, definitions and neighbor lists that `evaluate` does not take."""
    if definition not in DEFINITIONS:
        raise ValueError(f"definition {definition!r}: the atomic virial is one of {', '.join(DEFINITIONS)}")
    if not being_recorded(structures.positions):
        potential.check(structures)
    if edges is None:
        return
    if edges.cutoff < potential.cutoff:
        raise ValueError(
            f"the neighbor list reaches {edges.cutoff} A, the potential {potential.cutoff} A; build it with "
            "the potential's cutoff"
        )
    shape, of = (len(structures), structures.n_atoms), (len(edges.built_for), edges.built_for.n_atoms)
    if shape != of or len(edges.neighbor) != shape[0] * shape[1]:
        raise ValueError(
            f"the neighbor list is of {of[0]} structures of {of[1]} atoms, {len(edges.neighbor)} rows, these "
            f"are {shape[0]} of {shape[1]}; build one for them"
        )
    if not being_recorded(structures.positions) and not edges.hold(structures):
        raise ValueError(
            "the neighbor list is of other atoms, or they have moved too far since: build a new one, with a "
            "skin if it is to be kept while atoms move"
        )


def being_recorded(tensor: Tensor) -> bool:
    """Whether a CUDA graph is being recorded now: then there are no numbers to look at."""
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()


def volumes_of(structures: Structures) -> Tensor:
    """(B,) A^3; zeros of clusters, whatever their box."""
    return structures.volumes if any(structures.pbc) else torch.zeros_like(structures.volumes)


def edge_gradients(energies: Tensor, vectors: Tensor) -> Tensor:
    """g_e = dU/dr_e, (3, A, K) eV/A; of every member, (members, 3, A, K), if energies are (members, A) eV.
    vectors: (3, A, K) angstrom, from which the energies were computed under autograd; RuntimeError otherwise.
    """
    totals = energies.sum(-1)
    if totals.ndim == 0:
        return torch.autograd.grad(totals, vectors)[0]
    each = torch.eye(len(totals), dtype=totals.dtype, device=totals.device)
    return torch.autograd.grad(totals, vectors, each, is_grads_batched=True)[0]


def scatter(g: Tensor, vectors: Tensor, edges: Edges, definition: Definition) -> tuple[Tensor, Tensor]:
    """Forces (..., A, 3) and atomic virials (..., A, 3, 3) from edge gradients (..., 3, A, K)."""
    forces = g.sum(-1) - to_neighbors(g, edges)
    w = -vectors[:, None] * g[..., None, :, :, :]  # (..., 3, 3, A, K) = -r_a g_b
    if definition == "I":
        virials = to_neighbors(w, edges)
    elif definition == "II":
        virials = w.sum(-1)
    else:
        virials = 0.5 * (to_neighbors(w, edges) + w.sum(-1))
    return forces.movedim(-1, -2), virials.movedim(-1, -3)


def to_neighbors(values: Tensor, edges: Edges) -> Tensor:
    """Sum edge values (..., A, K) at the neighbors, (..., A)."""
    out = values.new_zeros(values.shape[:-1])
    return out.index_add(-1, edges.neighbor.flatten(), values.flatten(-2))
