"""Neighbor tables against ASE's search, and the promise that a kept table misses no pair."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.neighborlist import primitive_neighbor_list
from conftest import BOX, CASES, SKEW, TINY, moved, one, scattered, strained

import mlipbook as mb
from mlipbook import neighbors
from mlipbook.structures import Structures

Pair = tuple[int, ...]


def pairs(edges: neighbors.Edges) -> set[Pair]:
    """(center, neighbor, shift) of every edge; rows of the batch."""
    center, column = edges.real.nonzero(as_tuple=True)
    columns = (center, edges.neighbor[center, column], *edges.shifts[:, center, column].long())
    found = list(zip(*(c.tolist() for c in columns), strict=True))
    assert len(set(found)) == len(found)  # no pair twice
    return set(found)


def expected(structures: Structures, cutoff: float) -> set[Pair]:
    found = set()
    for b, atoms in enumerate(structures.to_ase()):
        first = b * len(atoms)
        i, j, S = primitive_neighbor_list("ijS", atoms.pbc, atoms.cell, atoms.positions, cutoff)
        found |= {(first + a, first + c, *shift) for a, c, shift in zip(i, j, S.tolist(), strict=True)}
    return found


@pytest.mark.parametrize("cutoff", [2.5, 4.5, 8.0])
def test_pairs_are_those_of_ase(structures, cutoff):
    assert pairs(neighbors.build(structures, cutoff)) == expected(structures, cutoff)


@pytest.mark.parametrize("seed", range(8))
def test_pairs_in_random_cells(seed):
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(3, 10, 3)) + rng.uniform(-2, 2, (3, 3))
    atoms = scattered("Na2", cell, rng.random(3) < 0.7, seed, closest=1.0)
    atoms.positions += rng.integers(-3, 4, (2, 3)) @ cell  # far outside the cell
    structures = Structures.from_ase(atoms)
    assert pairs(neighbors.build(structures, 5.5)) == expected(structures, 5.5)


def test_both_searches_find_the_same(monkeypatch):
    wide = [Structures.from_ase(scattered("Ag9Se6", scale * BOX, seed=1)) for scale in (1.0, 1.4)]
    structures = Structures(
        torch.cat([s.positions for s in wide]), torch.cat([s.cells for s in wide]), wide[0].species
    )
    for case in (structures, CASES["cluster"]):
        every = pairs(neighbors.build(case, 4.5))
        with monkeypatch.context() as patch:
            patch.setitem(neighbors.ALL_PAIRS_LIMIT, "cpu", 0)
            patch.setattr(neighbors, "_all_pairs", None)
            assert pairs(neighbors.build(case, 4.5)) == every


def test_vectors_point_from_center_to_neighbor(structures):
    edges = neighbors.build(structures, 4.5, skin=0.5)
    vectors, N = edges.vectors(structures), structures.n_atoms
    assert float(vectors.norm(dim=0)[edges.real].max()) < 5.0
    atoms = structures.to_ase()
    for row, column in edges.real.nonzero().tolist()[::7]:
        b, i = divmod(row, N)
        j, S = int(edges.neighbor[row, column]) - b * N, edges.shifts[:, row, column].numpy()
        x = atoms[b].positions
        np.testing.assert_allclose(vectors[:, row, column], x[j] + S @ atoms[b].cell.array - x[i], atol=1e-13)


def test_padding_lies_beyond_the_cutoff():
    structures = CASES["mixed batch"]
    edges = neighbors.build(structures, 4.5)
    assert not edges.real.all()
    assert bool((edges.vectors(structures).norm(dim=0)[~edges.real] > 4.5).all())


def test_species_of_edges():
    structures = CASES["mixed batch"]
    edges = neighbors.build(structures, 4.5)
    centers, around = edges.species(structures)
    assert centers.tolist() == 3 * structures.species.tolist()
    assert torch.equal(around, centers[edges.neighbor])


@pytest.mark.parametrize("name", ["one species", "triclinic", "small cell", "cluster", "slab"])
def test_a_list_that_covers_misses_no_pair(name):
    """Whenever cover() says yes, every pair within the cutoff is in the list; both answers occur."""
    structures, rng = CASES[name], torch.Generator().manual_seed(0)
    edges, answers = neighbors.build(structures, 4.5, skin=0.8), []
    listed = pairs(edges)
    for _ in range(60):
        amplitude = 10 ** (0.5 - 2 * float(torch.rand((), generator=rng)))  # 0.03 to 3 A
        shift = torch.randn(structures.positions.shape, generator=rng, dtype=torch.float64)
        now = moved(structures, amplitude / 3 * shift)
        if all(structures.pbc):
            now = strained(now, 0.2 * amplitude * torch.randn(1, 3, 3, generator=rng, dtype=torch.float64))
        answers.append(edges.cover(now))
        if answers[-1]:
            assert pairs(neighbors.build(now, 4.5)) <= listed
    assert 10 < sum(answers) < 50


def test_cover_is_sharp():
    """Two atoms approaching each other by a bit less than the skin are covered, by a bit more not."""
    pair = Structures.from_ase(Atoms("Na2", [[0, 0, 0], [5.3, 0, 0]], cell=30 * np.eye(3), pbc=True))
    edges = neighbors.build(pair, 4.5, skin=0.8)
    for approach, covered in ((0.79, True), (0.81, False)):
        step = torch.zeros(1, 2, 3, dtype=torch.float64)
        step[0, :, 0] = torch.tensor([approach / 2, -approach / 2])
        assert edges.cover(moved(pair, step)) is covered
    for strain, covered in ((-0.14, True), (-0.16, False)):  # 0.8/5.3 = 0.151
        tensor = torch.zeros(1, 3, 3, dtype=torch.float64)
        tensor[0, 0, 0] = strain
        assert edges.cover(strained(pair, tensor)) is covered


def test_cover_needs_the_same_atoms_and_boundaries():
    cluster = CASES["cluster"]
    edges = neighbors.build(cluster, 4.5, skin=0.8)
    assert edges.cover(cluster)
    assert not edges.cover(CASES["one species"])
    periodic = Structures(cluster.positions, 20 * torch.eye(3)[None].double(), cluster.species)
    assert not edges.cover(periodic)
    slab = CASES["slab"]
    assert not neighbors.build(slab, 4.5, skin=0.8).cover(
        Structures(slab.positions, 1.001 * slab.cells, slab.species, slab.pbc)
    )


@pytest.mark.parametrize("cell", [BOX, SKEW, TINY], ids=["box", "skew", "tiny"])
def test_overlapping_atoms_are_refused(cell):
    good = scattered("Na2", cell, seed=7)
    wrong = good.copy()
    wrong.positions[1] = wrong.positions[0] + cell[0] - cell[2] + 0.004  # across the boundary
    with pytest.raises(ValueError, match="structure 1: atoms 0 and 1 overlap, .*e-03 A apart"):
        neighbors.build(Structures.from_ase([good, wrong]), 4.5)


def test_isolated_atoms_have_no_edges():
    structures = mb.Structures.from_ase(Atoms("Na2", [[0, 0, 0], [50, 0, 0]]))
    edges = neighbors.build(structures, 4.5)
    assert not edges.real.any() and edges.neighbor.shape == (2, 1)


def test_rows_of_a_batch_are_those_of_its_structures():
    structures = CASES["mixed batch"]
    together, N = pairs(neighbors.build(structures, 4.5)), structures.n_atoms
    alone = set()
    for b in range(len(structures)):
        alone |= {(i + b * N, j + b * N, *S) for i, j, *S in pairs(neighbors.build(one(structures, b), 4.5))}
    assert together == alone


def test_a_cell_wide_enough_for_one_image_is_searched_by_all_pairs(monkeypatch):
    """The wide skin shrinks to fit; where no skin fits, linked cells search with the whole of it."""
    searched = []
    linked = neighbors._linked_cells
    monkeypatch.setattr(
        neighbors, "_linked_cells", lambda s, reach: searched.append(reach) or linked(s, reach)
    )
    structures = CASES["one species"]  # 9.3 A wide
    fitting = neighbors.VerletLists(4.0)(structures)
    assert searched == []
    assert pairs(fitting) >= expected(structures, 4.0)
    neighbors.VerletLists(4.5)(structures)
    assert searched == [4.5 + 2.0]


def test_a_list_with_little_room_is_kept_whole_and_holds_all_pairs_while_atoms_move(monkeypatch):
    """9.3 A wide: 0.45 A of skin fit beside 4.2 A, too few to pick from."""
    built = []
    build = neighbors.build
    monkeypatch.setattr(neighbors, "build", lambda *given: built.append(given) or build(*given))
    structures, lists = CASES["one species"], neighbors.VerletLists(4.2)
    step = 0.04 * torch.randn(structures.positions.shape, generator=torch.Generator().manual_seed(0)).double()
    kept = []
    for n in range(12):
        later = replace(structures, positions=structures.positions + n * step)
        assert pairs(lists(later)) >= expected(later, 4.2)
        kept.append(lists(later) is lists.wide)
    assert all(kept) and 1 < len(built) < 12
