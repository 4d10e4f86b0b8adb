"""Stored descriptor derivatives: what training needs of a structure, computed once.

Descriptors do not learn, so dG/dr of every edge and dG/dstrain of every atom are constants of the data set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers
from ase.geometry import find_mic
from torch import Tensor
from torch.nn.functional import pad

from mlipbook import neighbors
from mlipbook.descriptors import Chebyshev
from mlipbook.potentials import shortest_distances
from mlipbook.potentials.ann import ANNPotential
from mlipbook.potentials.contract import Distances
from mlipbook.structures import Structures, has_stress

SAME = 1e-5  # A: positions that files round
VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))  # xx, yy, zz, yz, xz, xy


@dataclass(frozen=True)
class Batch:
    """Structures with their stored derivatives: A atoms in all, each moved by K atoms (itself and neighbors).

    features (A, F); derivatives (A, 3 K + 6, F): of an atom's features with respect to the positions of
    the atoms `moves` (A, K), then the six B of the virial; frame (A,) structure of each atom; species (A,);
    n_atoms (I,). Targets less reference energies and fixed repulsion: U (I,), F (A, 3), W (I, 6);
    present (3, I): 1 where the structure has the label.
    """

    features: Tensor
    derivatives: Tensor
    moves: Tensor
    frame: Tensor
    species: Tensor
    n_atoms: Tensor
    U: Tensor
    F: Tensor
    W: Tensor
    present: Tensor

    def to(self, like: Tensor) -> "Batch":
        """On the device of `like`; floating-point fields in its dtype."""
        moved = {k: v.to(like) if v.is_floating_point() else v.to(like.device) for k, v in vars(self).items()}
        return Batch(**moved)


@dataclass(frozen=True)
class Prepared:
    """One structure before padding: A atoms, K edges each, F features; targets less the fixed repulsion."""

    features: Tensor  # (A, F)
    position_derivatives: Tensor  # (A, K + 1, 3, F)
    strain_derivatives: Tensor  # (A, 6, F)
    moves: Tensor  # (A, K + 1)
    species: Tensor  # (A,)
    U: Tensor  # () eV
    F: Tensor  # (A, 3) eV/A
    W: Tensor  # (6,) eV
    present: Tensor  # (3,) bool: has U, F, W
    shortest: dict[tuple[str, str], float]


def prepare(potential: ANNPotential, atoms: Atoms, name: str) -> Prepared:
    """Descriptor derivatives and labels of one structure; errors begin with `name`."""
    try:
        structures = Structures.from_ase(atoms)
        potential.check(structures)
        edges = neighbors.build(structures, potential.cutoff)
        U, F, W = labels_of(atoms)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    r = edges.vectors(structures).requires_grad_()
    species = edges.species(structures)
    descriptor = Chebyshev(**potential.descriptor.settings)  # float64, on the CPU
    G = descriptor.features(r, *species)
    each = torch.eye(G.shape[1]).to(G)[:, None, :].expand(-1, G.shape[0], -1)
    dG = torch.autograd.grad(G, r, each, is_grads_batched=True)[0]  # (F, 3, A, K)
    r, rows = r.detach(), torch.arange(G.shape[0])[:, None]
    dG_positions = torch.cat([-dG.sum(-1, keepdim=True), dG], -1)  # the center moves against all its edges
    B = -torch.stack([(r[a] * dG[:, b]).sum(-1) for a, b in zip(*VOIGT, strict=True)])  # (6, F, A)
    present = torch.tensor([bool(torch.isfinite(x).all()) for x in (U, F, W)])
    if potential.repulsion is not None:
        below = potential.repulsion.evaluate(structures, edges=edges)
        U, F, W = U - below.energy[0], F - below.forces[0], W - below.virial[0][VOIGT]
    return Prepared(
        features=G.detach(),
        position_derivatives=dG_positions.permute(2, 3, 1, 0).contiguous(),
        strain_derivatives=B.permute(2, 0, 1).contiguous(),
        moves=torch.cat([rows, edges.neighbor], 1),
        species=species[0],
        U=U.nan_to_num(),
        F=F.nan_to_num(),
        W=W.nan_to_num(),
        present=present,
        shortest=shortest_distances(r, edges, structures),
    )


def labels_of(atoms: Atoms) -> tuple[Tensor, Tensor, Tensor]:
    """Labels U () eV, F (N, 3) eV/A, W = -volume * stress (6,) eV of a frame; NaN where there is none.

    Reads the results of the frame's calculator, the free energy before the energy; a stress where there is
    one (`structures.has_stress`). Raises ValueError for labels that are not finite, have a wrong shape, or
    are of another structure.
    """
    if found := atoms.calc.results if atoms.calc is not None else {}:
        refuse_labels_of_another(atoms)
    energy = found.get("free_energy", found.get("energy"))
    W = -atoms.cell.volume * np.asarray(found["stress"]) if "stress" in found and has_stress(atoms) else None
    shapes = {"energy": (energy, ()), "forces": (found.get("forces"), (len(atoms), 3)), "stress": (W, (6,))}
    labels = []
    for key, (value, shape) in shapes.items():
        label = torch.full(shape, torch.nan, dtype=torch.float64)
        if value is not None:
            label = torch.as_tensor(np.asarray(value, dtype=float))
            if tuple(label.shape) != shape:
                raise ValueError(f"{key} has shape {tuple(label.shape)}, expected {shape}")
            if not bool(torch.isfinite(label).all()):
                raise ValueError(f"{key} holds NaN or infinity; remove the label or the frame")
        labels.append(label)
    return labels[0], labels[1], labels[2]


def refuse_labels_of_another(atoms: Atoms) -> None:
    """Raise ValueError if the calculator's results are of other atoms, another cell or other positions."""
    if (labeled := getattr(atoms.calc, "atoms", None)) is None:  # calculators outside of ASE need not keep it
        return
    same = np.array_equal(labeled.numbers, atoms.numbers) and np.array_equal(labeled.pbc, atoms.pbc)
    same = same and np.allclose(labeled.cell.array, atoms.cell.array, rtol=0, atol=SAME)
    if same:
        moves, _ = find_mic(atoms.positions - labeled.positions, atoms.cell, atoms.pbc)  # wrapped or not
        same = bool(np.abs(moves).max() < SAME)
    if not same:
        raise ValueError(
            "the labels are of another structure: atoms, cell or positions changed since they were computed; "
            "label this one, or give a SinglePointCalculator of its own"
        )


def collate(potential: ANNPotential, prepared: Sequence[Prepared]) -> Batch:
    """Join structures of any size and composition; rows are padded to the longest neighbor list."""
    K = max(p.moves.shape[1] for p in prepared)
    sizes = torch.tensor([len(p.species) for p in prepared])
    species = torch.cat([p.species for p in prepared])
    starts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)[:, None]
    frame = torch.arange(len(sizes)).repeat_interleave(sizes)
    more = [K - p.moves.shape[1] for p in prepared]
    motion = [pad(p.position_derivatives, (0, 0, 0, 0, 0, m)) for p, m in zip(prepared, more, strict=True)]
    moves = [pad(p.moves, (0, m)) for p, m in zip(prepared, more, strict=True)]
    strain = torch.cat([p.strain_derivatives for p in prepared])
    reference = potential.reference_energy(species)
    U_reference = torch.zeros(len(sizes)).to(reference).index_add(0, frame, reference)
    return Batch(
        features=torch.cat([p.features for p in prepared]),
        derivatives=torch.cat([torch.cat(motion).flatten(1, 2), strain], 1),
        moves=torch.cat(moves) + starts,
        frame=frame,
        species=species,
        n_atoms=sizes.double(),
        U=torch.stack([p.U for p in prepared]) - U_reference,
        F=torch.cat([p.F for p in prepared]),
        W=torch.stack([p.W for p in prepared]),
        present=torch.stack([p.present for p in prepared], 1).double(),
    ).to(potential.energy_scale)


def make_batches(potential: ANNPotential, prepared: Sequence[Prepared], size: int) -> list[Batch]:
    """Batches of `size` structures in the order given, made once: an epoch copies nothing."""
    return [collate(potential, prepared[k : k + size]) for k in range(0, len(prepared), size)]


def prepare_all(potential: ANNPotential, frames: Sequence[Atoms], part: str) -> list[Prepared]:
    """All frames of the `part` ("train", "valid") of a data set; raises ValueError naming the frame."""
    named = ((f"{part} frame {k} ({a.info.get('frame', 'no name')})", a) for k, a in enumerate(frames))
    return [prepare(potential, atoms, name) for name, atoms in named]


def shortest_of(prepared: Sequence[Prepared], known: Distances) -> dict[tuple[str, str], float]:
    """The shortest distance per pair of species (angstrom) in these structures and those known before."""
    found = dict(known)
    for pair, distance in chain.from_iterable(p.shortest.items() for p in prepared):
        found[pair] = min(distance, found.get(pair, distance))
    return found


def normalize(
    potential: ANNPotential, prepared: Sequence[Prepared], reference_energies: dict[str, float] | None
) -> None:
    """As aenet does: atoms' features get zero mean and unit variance, species by species; cohesive energies
    per atom fall into [-1, 1]. E_atom: given (eV), or least squares of U on the composition.
    """
    features, species = torch.cat([p.features for p in prepared]), torch.cat([p.species for p in prepared])
    for element, network in potential.networks.items():
        G = features[species == atomic_numbers[element]]
        if len(G):
            network.mean.copy_(G.mean(0))
            network.mean_square.copy_(G.square().mean(0))
    if not (labeled := [p for p in prepared if p.present[0]]):
        return
    elements = potential.descriptor.species
    numbers = torch.tensor([atomic_numbers[s] for s in elements])
    composition = torch.stack([(p.species[:, None] == numbers).sum(0) for p in labeled]).double()
    U = torch.stack([p.U for p in labeled])
    solution = torch.linalg.lstsq(composition, U[:, None], driver="gelsd").solution[:, 0].tolist()
    potential.reference_energies = reference_energies or dict(zip(elements, solution, strict=True))
    if missing := [s for s in elements if s not in potential.reference_energies]:
        raise ValueError(
            f"reference_energies lack {missing[0]}; give E_atom of each of {', '.join(elements)}"
        )
    E_atom = torch.tensor([potential.reference_energies[s] for s in elements], dtype=torch.float64)
    cohesive = (U - composition @ E_atom) / composition.sum(1)
    low, high = cohesive.min(), cohesive.max()
    potential.energy_scale.copy_(2 / (high - low) if high > low else torch.ones(()))
    potential.energy_shift.copy_((high + low) / 2)
