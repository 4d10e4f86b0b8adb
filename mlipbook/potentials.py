"""Potentials: whatever turns structures into energies, forces and virials.

A strictly local potential is a function from edge vectors to atomic energies, and one gradient with
respect to the edge vectors gives everything else (derivation: chapter 3):

    g_e = dU/dr_e                      e = (i -> j), every pair listed twice
    F   = scatter(i, +g) + scatter(j, -g)
    w_e = - r_e (x) g_e
    W   = scatter w_e to j (definition I, Eq. 12), to i (II, Eq. 13), half each (III, Eq. 14)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn

from mlipbook import neighbors
from mlipbook.descriptors import cutoff_function
from mlipbook.neighbors import Edges
from mlipbook.recording import being_recorded
from mlipbook.structures import Structures
from mlipbook.units import bohr, coulomb_constant, hartree

DEFINITIONS = ("I", "II", "III")


class CloserThanTrained(UserWarning):
    """A pair of atoms is closer than any pair the potential was trained on."""


@dataclass(frozen=True)
class Evaluation:
    """Energies (B, N) eV, forces (B, N, 3) eV/A and atomic virials (B, N, 3, 3) eV of B structures.

    A member axis stands in front if the potential has several members. volumes: (B,) A^3.
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
        """Static stress -W/volume in ASE's sign, (B, 3, 3) eV/A^3. Raises ValueError without a cell."""
        if bool((self.volumes == 0).any()):
            raise ValueError("an isolated cluster has no volume, hence no stress; use .virial")
        return -self.virial / self.volumes[:, None, None]

    @property
    def pressure(self) -> Tensor:
        """Static pressure -Tr(stress)/3, (B,) eV/A^3, without the kinetic part."""
        return -self.stress.diagonal(dim1=-2, dim2=-1).mean(-1)


@dataclass(frozen=True)
class MixedEvaluation(Evaluation):
    """Of a `Mixture`; difference: dU/dlambda = U_a - U_b (Eq. 4-5), (B,) eV."""

    difference: Tensor


class EdgePotential(nn.Module):
    """A potential that is a sum of atomic energies, each a function of the edges of its atom.

    Subclasses set `cutoff` (angstrom) and write `atomic_energies`; `evaluate` is written once, here.
    """

    cutoff: float
    shortest: dict[tuple[str, str], float] | None = None  # trained distances per pair of species, A

    def atomic_energies(self, vectors: Tensor, center_species: Tensor, neighbor_species: Tensor) -> Tensor:
        """Atomic energies (A,) eV, or (members, A), from edge vectors (3, A, K) angstrom.

        Species are atomic numbers, (A,) and (A, K). Edges beyond the cutoff must not count.
        """
        raise NotImplementedError

    def check(self, structures: Structures) -> None:
        """Raise ValueError if the potential cannot describe these structures."""

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters(), torch.empty(0, dtype=torch.float64)).dtype

    def evaluate(
        self, structures: Structures, definition: str = "I", edges: Edges | None = None
    ) -> Evaluation:
        """Energies, forces and atomic virials of a batch of structures.

        definition: "I", "II" or "III", the atomic virial of Eq. 12, 13 or 14. edges: a neighbor list to
        reuse (default: a new one). Distances are taken in float64, then cast to the potential's dtype.
        Raises ValueError for unknown species, definitions, overlapping atoms, lists that are too short.
        Warns CloserThanTrained if a pair is closer than in the training set, or of a kind never met there.
        """
        if definition not in DEFINITIONS:
            raise ValueError(
                f"definition {definition!r}: the atomic virial is one of {', '.join(DEFINITIONS)}"
            )
        recorded = being_recorded(structures.positions)
        if not recorded:
            self.check(structures)
        if edges is None:
            edges = neighbors.build(structures, self.cutoff)
        elif edges.cutoff < self.cutoff:
            raise ValueError(
                f"the neighbor list reaches {edges.cutoff} A, the potential {self.cutoff} A; build it with "
                "the potential's cutoff"
            )
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
            structures.volumes if any(structures.pbc) else torch.zeros_like(structures.volumes),
        )


def edge_gradients(energies: Tensor, vectors: Tensor) -> Tensor:
    """g_e = dU/dr_e, (3, A, K); of every member, (members, 3, A, K), if energies are (members, A)."""
    totals = energies.sum(-1)
    if totals.ndim == 0:
        return torch.autograd.grad(totals, vectors)[0]
    each = torch.eye(len(totals), dtype=totals.dtype, device=totals.device)
    return torch.autograd.grad(totals, vectors, each, is_grads_batched=True)[0]


def scatter(g: Tensor, vectors: Tensor, edges: Edges, definition: str) -> tuple[Tensor, Tensor]:
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


def species_pair(a: int, b: int) -> tuple[str, str]:
    first, second = sorted((chemical_symbols[a], chemical_symbols[b]))
    return first, second


def shortest_distances(vectors: Tensor, edges: Edges, structures: Structures) -> dict[tuple[str, str], float]:
    """The shortest distance per pair of species, angstrom; pairs that do not meet are left out."""
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


def report_close_pairs(
    vectors: Tensor, edges: Edges, structures: Structures, shortest: dict[tuple[str, str], float]
) -> None:
    known_distances = torch.full((len(chemical_symbols),) * 2, edges.cutoff).to(vectors)
    for (a, b), distance in shortest.items():
        i, j = chemical_symbols.index(a), chemical_symbols.index(b)
        known_distances[[i, j], [j, i]] = distance
    centers, around = edges.species(structures)
    if not bool((vectors.square().sum(0) < known_distances[centers[:, None], around] ** 2).any()):
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


class PairPotential(EdgePotential):
    """u(r) between all pairs, half of it at either atom, so that the three atomic virials agree.

    energy: function of distances (A, K) angstrom and the atomic numbers of both ends, (A, 1) and (A, K),
    to pair energies in eV. What it gives beyond the cutoff (angstrom) is not used; shift it to zero there.
    """

    def __init__(self, energy: Callable[[Tensor, Tensor, Tensor], Tensor], cutoff: float):
        super().__init__()
        self.energy, self.cutoff = energy, float(cutoff)

    def atomic_energies(self, vectors: Tensor, center_species: Tensor, neighbor_species: Tensor) -> Tensor:
        r = vectors.square().sum(0).sqrt()
        u = self.energy(r, center_species[:, None], neighbor_species)
        return 0.5 * torch.where(r < self.cutoff, u, torch.zeros_like(u)).sum(-1)


def LennardJones(epsilon: float, sigma: float, cutoff: float) -> PairPotential:
    """4 epsilon ((sigma/r)^12 - (sigma/r)^6), shifted to zero at the cutoff; eV, angstrom."""
    return PairPotential(partial(shifted_lennard_jones, epsilon=epsilon, sigma=sigma, cutoff=cutoff), cutoff)


def shifted_lennard_jones(r: Tensor, *_: Tensor, epsilon: float, sigma: float, cutoff: float) -> Tensor:
    x, x_cutoff = (sigma / r) ** 6, (sigma / cutoff) ** 6
    return 4 * epsilon * (x * x - x - (x_cutoff**2 - x_cutoff))


def SoftCore(
    mu: float = 7.92e-4 * hartree, sigma: float = 6.752 * bohr, n: int = 12, cutoff: float = 8.0
) -> PairPotential:
    """mu (sigma/r)^n (Eq. 7), shifted to zero at the cutoff; eV, angstrom; mu, sigma of the paper.

    The shift makes forces and energies those of one potential; `free_energy.soft_core_cutoff` is the
    difference that it makes.
    """
    return PairPotential(partial(shifted_soft_core, mu=mu, sigma=sigma, n=n, cutoff=cutoff), cutoff)


def shifted_soft_core(r: Tensor, *_: Tensor, mu: float, sigma: float, n: int, cutoff: float) -> Tensor:
    return mu * ((sigma / r) ** n - (sigma / cutoff) ** n)


def Repulsion(cutoff: float) -> PairPotential:
    """Fixed short-range repulsion to put under a network: screened nuclei times fc(r)^2.

    Choose the cutoff (angstrom) near the shortest distances of the training data, so that the network
    learns the difference where there are data and the nuclei rule where there are none.
    """
    return PairPotential(partial(screened_nuclei, cutoff=cutoff), cutoff)


def screened_nuclei(r: Tensor, z: Tensor, z_neighbor: Tensor, cutoff: float) -> Tensor:
    """Z Z' e^2/r phi(r/a) fc(r)^2 in eV, a = 0.8854 bohr / (Z^0.23 + Z'^0.23), phi the universal screening
    function of Ziegler, Biersack, Littmark (1985)."""
    strengths, decays = (0.18175, 0.50986, 0.28022, 0.02817), (3.19980, 0.94229, 0.40290, 0.20162)
    z, z_neighbor = z.to(r.dtype), z_neighbor.to(r.dtype)
    x = r * (z**0.23 + z_neighbor**0.23) / (0.8854 * bohr)
    screening = torch.stack([c * torch.exp(-d * x) for c, d in zip(strengths, decays, strict=True)]).sum(0)
    return coulomb_constant * z * z_neighbor / r * screening * cutoff_function(r, cutoff) ** 2


class Einstein(nn.Module):
    """Atoms on springs, U = spring/2 sum |r - site|^2: the reference of crystals.

    sites: (B, N, 3) angstrom, or (1, N, 3) for all structures; positions must not be wrapped. spring: eV/A^2.
    The sites are fixed in the cell and move with it under strain: the virials are -spring u (x) u, whatever
    their definition. Raises ValueError for springs that are not positive.
    """

    cutoff = 1.0  # A; it has no use for neighbors
    sites: Tensor
    spring: Tensor

    def __init__(self, sites: Tensor, spring: float):
        super().__init__()
        if not spring > 0 or sites.ndim != 3:
            raise ValueError(f"spring {spring}, sites {tuple(sites.shape)}: give a positive one, (B, N, 3)")
        self.register_buffer("spring", torch.tensor(float(spring), dtype=torch.float64))
        self.register_buffer("sites", sites.detach().double())

    def evaluate(
        self, structures: Structures, definition: str = "I", edges: Edges | None = None
    ) -> Evaluation:
        """Shapes as in EdgePotential.evaluate. Raises ValueError if the sites do not fit the structures."""
        if self.sites.shape not in ((1, *structures.positions.shape[1:]), structures.positions.shape):
            raise ValueError(
                f"sites {tuple(self.sites.shape)} for positions {tuple(structures.positions.shape)}; give "
                "one set, or one for each structure"
            )
        u = structures.positions - self.sites
        virials = -self.spring * u[..., :, None] * u[..., None, :]
        energies = self.spring / 2 * u.square().sum(-1)
        return Evaluation(energies, -self.spring * u, virials, structures.volumes)


class IdealGas(nn.Module):
    """No interaction: the reference of fluids."""

    cutoff = 1.0  # A; it has no use for neighbors

    def evaluate(
        self, structures: Structures, definition: str = "I", edges: Edges | None = None
    ) -> Evaluation:
        """Zeros; shapes as in EdgePotential.evaluate."""
        none = torch.zeros_like(structures.positions)
        return Evaluation(none[..., 0], none, none[..., None].expand(*none.shape, 3), structures.volumes)


Potential = EdgePotential | Einstein | IdealGas


class Mixture(nn.Module):
    """U(lambda) = lambda U_a + (1 - lambda) U_b (Eq. 5). lam: a number, or (B,) one per structure."""

    cutoff: float
    lam: Tensor

    def __init__(self, a: Potential | Mixture, b: Potential | Mixture, lam: float | Tensor):
        super().__init__()
        self.a, self.b, self.cutoff = a, b, max(a.cutoff, b.cutoff)
        self.register_buffer("lam", torch.as_tensor(lam, dtype=torch.float64))

    def evaluate(
        self, structures: Structures, definition: str = "I", edges: Edges | None = None
    ) -> MixedEvaluation:
        """Both potentials, mixed; shapes and errors as in EdgePotential.evaluate.

        Raises ValueError if there are several lambdas, but not one for each structure.
        """
        if self.lam.ndim and self.lam.shape != (len(structures),):
            raise ValueError(
                f"{tuple(self.lam.shape)} lambdas for {len(structures)} structures; give one each"
            )
        a, b = (potential.evaluate(structures, definition, edges) for potential in (self.a, self.b))

        def mix(x: Tensor, y: Tensor, extra: int) -> Tensor:
            weight = self.lam.view(-1, *[1] * (extra + 1)) if self.lam.ndim else self.lam
            return weight * x + (1 - weight) * y

        return MixedEvaluation(
            mix(a.energies, b.energies, 0),
            mix(a.forces, b.forces, 1),
            mix(a.virials, b.virials, 2),
            a.volumes,
            a.energy - b.energy,
        )
