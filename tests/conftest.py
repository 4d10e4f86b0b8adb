"""The table of structures, the random potential and the numerical derivative that the tests share."""

import numpy as np
import pytest
import torch
from ase import Atoms

import mlipbook as mb
from mlipbook.potentials import EdgePotential, PairPotential

torch.set_num_threads(1)

BOX = np.diag([9.3, 9.6, 9.9])  # wider than twice the cutoffs below
SKEW = np.array([[7.1, 0.0, 0.0], [2.3, 7.4, 0.0], [-1.7, 2.1, 7.9]])
TINY = np.array([[3.7, 0.0, 0.0], [0.8, 4.3, 0.0], [0.3, -0.5, 5.1]])  # atoms see themselves


def scattered(symbols: str, cell: np.ndarray, pbc=True, seed: int = 0, closest: float = 2.1) -> Atoms:
    """Atoms at random places in a cell, no two images closer than `closest` (angstrom)."""
    rng, atoms = np.random.default_rng(seed), Atoms(cell=cell, pbc=pbc)
    for symbol in Atoms(symbols).symbols:
        while True:
            trial = atoms + Atoms(symbol, [rng.random(3) @ cell], cell=cell, pbc=pbc)
            edges = mb.neighbors.build(mb.Structures.from_ase(trial), 6.0)
            if (
                not edges.real.any()
                or edges.vectors(mb.Structures.from_ase(trial)).norm(dim=0).min() > closest
            ):
                atoms = trial
                break
    return atoms


def batch(*frames: Atoms) -> mb.Structures:
    return mb.Structures.from_ase(frames)


CASES = {
    "one species": batch(scattered("Na16", BOX, seed=9)),
    "two species": batch(scattered("Ag9Se6", BOX, seed=1)),
    "triclinic": batch(scattered("Ag5Se3", SKEW, seed=2)),
    "small cell": batch(scattered("AgSe", TINY, seed=3)),
    "slab": batch(scattered("Ag4Se4", SKEW, (True, True, False), seed=4)),
    "cluster": batch(scattered("Ag6Se5", 0.7 * BOX, False, seed=5)),
    "mixed batch": batch(*(scattered("Ag2Se", cell, seed=6) for cell in (BOX, SKEW, 1.1 * TINY))),
}


@pytest.fixture(params=CASES)
def structures(request) -> mb.Structures:
    """Each of the table: one and two species, triclinic and small cells, slab, cluster, mixed batch."""
    return CASES[request.param]


def features(descriptor: mb.Chebyshev, structures: mb.Structures, skin: float = 0.0) -> torch.Tensor:
    edges = mb.neighbors.build(structures, descriptor.cutoff, skin)
    return descriptor.features(edges.vectors(structures), *edges.species(structures))


def ann(structures: mb.Structures, **settings) -> mb.ANNPotential:
    """A potential of random weights for these structures, with normalization and reference energies."""
    elements = tuple(dict.fromkeys(structures.symbols))
    descriptor = mb.Chebyshev(elements, 4.5, 6, 4.1, 3)
    potential = mb.ANNPotential(descriptor, (8, 6), **settings)
    G = features(descriptor, structures)
    for network in potential.networks.values():
        network.mean.copy_(G.mean(0))
        network.mean_square.copy_(G.mean(0) ** 2 + G.var(0, correction=0).clamp(min=0.1))
    potential.energy_scale.fill_(0.7)
    potential.energy_shift.fill_(-0.3)
    potential.reference_energies = {element: -1.5 - k for k, element in enumerate(elements)}
    return potential


def moved(structures: mb.Structures, displacements: torch.Tensor) -> mb.Structures:
    """One structure with displacements (D, N, 3) angstrom added: D structures."""
    D = len(displacements)
    return mb.Structures(
        structures.positions + displacements,
        structures.cells.repeat(D, 1, 1),
        structures.species,
        structures.pbc,
    )


def strained(structures: mb.Structures, strains: torch.Tensor) -> mb.Structures:
    """One structure under strains (D, 3, 3), r_a -> r_a + strain_ab r_b: D structures."""
    deformations = torch.eye(3).to(strains) + strains.mT
    return mb.Structures(
        structures.positions @ deformations,
        structures.cells @ deformations,
        structures.species,
        structures.pbc,
    )


def one(structures: mb.Structures, b: int) -> mb.Structures:
    """Structure b of a batch."""
    return mb.Structures(
        structures.positions[b : b + 1], structures.cells[b : b + 1], structures.species, structures.pbc
    )


def derivative(energy, change, directions: torch.Tensor, step: float = 1e-4) -> torch.Tensor:
    """d energy(change(s * direction))/ds at 0 for each direction (D, ...), by five points: O(step^4).

    energy: structures to (..., B) eV. change: displacements or strains to structures.
    """
    up, down, up2, down2 = (energy(change(s * step * directions)) for s in (1, -1, 2, -2))
    return (8 * (up - down) - (up2 - down2)) / (12 * step)


class AsymmetricPairs(EdgePotential):
    """u(r) split 0.8 to silver and 0.2 to selenium: the same forces as the half split."""

    def __init__(self, pairs: PairPotential, share: float):
        super().__init__()
        self.pairs, self.share, self.cutoff = pairs, share, pairs.cutoff

    def atomic_energies(self, vectors, center_species, neighbor_species):
        r = vectors.square().sum(0).sqrt()
        u = torch.where(r < self.cutoff, self.pairs.energy(r, center_species[:, None], neighbor_species), 0.0)
        share = 0.5 + (self.share - 0.5) * torch.sign(center_species[:, None] - neighbor_species)
        return (share * u).sum(-1)


TETRAHEDRAL = [(0.5, 0, 0.25), (0.5, 0, 0.75), (0, 0.5, 0.25), (0, 0.5, 0.75)]


def crystal(edge: float = 4.993) -> Atoms:
    sites = [(0, 0, 0), (0.5, 0.5, 0.5), *TETRAHEDRAL]
    return Atoms("Se2Ag4", scaled_positions=sites, cell=[edge] * 3, pbc=True)
