"""Batches of structures: shapes, units, the way from and to ASE, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms, FixedPlane
from ase.data import atomic_masses
from conftest import SKEW, ann, scattered

import mlipbook as mb


def test_ase_round_trip():
    frames = [scattered("Ag3Se2", SKEW, seed=seed) for seed in (0, 1)]
    structures = mb.Structures.from_ase(frames)
    assert structures.positions.shape == (2, 5, 3) and structures.positions.dtype == torch.float64
    assert structures.to_ase() == frames
    assert len(structures) == 2 and structures.n_atoms == 5
    assert structures.symbols == ("Ag", "Ag", "Ag", "Se", "Se")


def test_volumes_and_masses():
    frames = [scattered("AgSe", scale * SKEW, seed=0) for scale in (1.0, -1.0)]  # a left-handed cell too
    structures = mb.Structures.from_ase(frames)
    np.testing.assert_allclose(structures.volumes, [frame.cell.volume for frame in frames], rtol=1e-14)
    np.testing.assert_array_equal(structures.masses, atomic_masses[[47, 34]])


def test_masses_and_constraints_come_from_ase_and_go_back():
    isotopes = scattered("Ag3Se2", SKEW, seed=0)
    isotopes.set_masses([107.0, 109.0, None, 80.0, 74.0])
    isotopes.set_constraint([FixAtoms([0, 3]), FixAtoms([1]), FixedPlane(4, [0, 0, 1])])
    structures = mb.Structures.from_ase([isotopes, isotopes])
    assert structures.masses.tolist() == [107.0, 109.0, atomic_masses[47], 80.0, 74.0]
    for same in (structures, structures.to("cpu"), structures.moved(structures.positions + 1)):
        for back in same.to_ase():
            np.testing.assert_array_equal(back.get_masses(), isotopes.get_masses())
            assert [c.todict() for c in back.constraints] == [c.todict() for c in isotopes.constraints]
    held = replace(structures, constraints=structures.constraints[:2])
    assert held.fixed.tolist() == [True, True, False, True, False] and held.n_fixed == 3
    with pytest.raises(ValueError, match="constraint FixedPlane: dynamics keep FixAtoms and no other"):
        _ = structures.fixed  # while energies and forces do not ask
    free = isotopes.copy()
    free.set_constraint()
    potential = ann(structures)
    found, without = (potential.evaluate(mb.Structures.from_ase(x)).forces for x in (isotopes, free))
    assert torch.equal(found, without)
    usual = mb.Structures.from_ase(scattered("Ag3Se2", SKEW, seed=0))
    assert not usual.to_ase()[0].has("masses") and not usual.to_ase()[0].constraints and usual.n_fixed == 0


def test_constraints_are_copied():
    atoms = bulk("Na", cubic=True)
    atoms.set_constraint(FixAtoms([0]))
    structures = mb.Structures.from_ase(atoms)
    atoms.constraints[0].index[0] = 1
    assert structures.fixed.tolist() == [True, False]
    structures.to_ase()[0].constraints[0].index[0] = 1
    assert structures.to_ase()[0].constraints[0].index.tolist() == [0]


@pytest.mark.parametrize("mass", [0.0, -1.0, np.nan, np.inf])
def test_masses_that_are_none_are_refused(mass):
    structures = mb.Structures.from_ase(bulk("Na", cubic=True))
    with pytest.raises(ValueError, match="atom 1 has a mass of .* amu; give a positive one"):
        replace(structures, masses=torch.tensor([1.0, mass], dtype=torch.float64))
    with pytest.raises(ValueError, match=r"masses \(3,\), torch.float64: give \(2,\) float64"):
        replace(structures, masses=torch.ones(3, dtype=torch.float64))


def test_moved_structures_have_their_own_volumes_and_are_checked_by_the_next_search():
    old = mb.Structures.from_ase(scattered("AgSe", SKEW, seed=0))
    known = old.volumes, old.inverse_cells, old.symbols
    same_cell, grown = old.moved(old.positions + 1), old.moved(2 * old.positions, 2 * old.cells)
    assert same_cell.volumes is known[0] and same_cell.symbols is known[2]
    torch.testing.assert_close(grown.volumes, 8 * known[0])
    torch.testing.assert_close(grown.inverse_cells, known[1] / 2)
    assert torch.equal(old.positions + 1, same_cell.positions) and old.volumes is known[0]
    edges = mb.neighbors.build(old, 3.0, skin=0.5)
    for broken in (old.moved(old.positions * torch.nan), old.moved(old.positions, old.cells * torch.nan)):
        assert not edges.cover(broken)
        with pytest.raises(ValueError, match="structure 0"):
            mb.neighbors.build(broken, 3.0)


@pytest.mark.parametrize("factor", [1.1, torch.tensor([1.1, 0.9], dtype=torch.float64).view(2, 1, 1)])
def test_what_swollen_structures_take_over_is_what_they_would_find(factor):
    old = mb.Structures.from_ase([scattered("AgSe", SKEW, seed=seed) for seed in (0, 1)])
    assert old.inverse_cells.shape == (2, 3, 3)  # known, so that it is taken over
    new = old.swollen(factor * old.positions, factor)
    afresh = replace(new)
    assert torch.equal(new.cells, factor * old.cells) and "inverse_cells" in vars(new)
    torch.testing.assert_close(new.volumes, afresh.volumes, rtol=1e-14, atol=0)
    torch.testing.assert_close(new.inverse_cells, afresh.inverse_cells, rtol=1e-13, atol=1e-16)


def test_frames_of_one_batch_agree():
    na = bulk("Na", cubic=True)
    with pytest.raises(ValueError, match=r"structure 1 \(Na\d*, pbc \[True, True, True\]\) has other atoms"):
        mb.Structures.from_ase([na, na * (2, 1, 1)])
    with pytest.raises(ValueError, match="other atoms or order than structure 0"):
        mb.Structures.from_ase([Atoms("NaK", cell=9 * np.eye(3)), Atoms("KNa", cell=9 * np.eye(3))])
    with pytest.raises(ValueError, match="pbc"):
        mb.Structures.from_ase([na, Atoms("Na2", na.positions, cell=na.cell)])
    heavy, held = na.copy(), na.copy()
    heavy.set_masses([23.0, 24.0])
    held.set_constraint(FixAtoms([1]))
    for other, name in ((heavy, "masses"), (held, "constraints")):
        with pytest.raises(ValueError, match=rf"structure 2 \(Na2, .*\) has other {name} than structure 0"):
            mb.Structures.from_ase([na, na, other])
    with pytest.raises(ValueError, match=r"frames \[\]: give a list of ase.Atoms"):
        mb.Structures.from_ase([])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_positions_that_are_not_finite_are_refused(value):
    frames = [bulk("Na", cubic=True) for _ in range(3)]
    frames[2].positions[1, 0] = value
    with pytest.raises(ValueError, match="structure 2, atom 1: position is .*not finite"):
        mb.Structures.from_ase(frames)


@pytest.mark.parametrize(
    "cell", [np.zeros((3, 3)), [[3, 0, 0], [0, 3, 0], [3, 3, 0]], np.full((3, 3), np.nan)]
)
def test_flat_periodic_cells_are_refused(cell):
    good = Atoms("Na", cell=4 * np.eye(3), pbc=True)
    with pytest.raises(
        ValueError, match="structure 1: cell .* not finite, or flat .* set the cell, or pbc=False"
    ):
        mb.Structures.from_ase([good, Atoms("Na", cell=cell, pbc=True)])


def test_wrong_shapes_are_refused():
    structures = mb.Structures.from_ase(bulk("Na", cubic=True))
    with pytest.raises(ValueError, match=r"expected \(B, 2, 3\) and \(B, 3, 3\)"):
        replace(structures, cells=structures.cells[0])
    with pytest.raises(ValueError, match=r"positions \(1, 2, 3\) .* do not fit species \(3,\)"):
        replace(structures, species=torch.tensor([11, 11, 11]))


def test_flat_cells_of_slabs_are_refused():
    with pytest.raises(ValueError, match="structure 0"):
        mb.Structures.from_ase(Atoms("Na", cell=[0, 4, 4], pbc=(True, True, False)))
    with pytest.raises(ValueError, match="structure 0"):
        mb.Structures.from_ase(Atoms("Na", cell=[np.nan, 4, 4], pbc=(True, True, False)))


def test_slab_without_a_third_vector():
    a = Atoms("Na2", [[0, 0, 0], [1, 1, 2.0]], cell=[4, 4, 0], pbc=(True, True, False))
    b = Atoms("Na2", [[0, 0, 0], [1, 1, 2.0]], cell=[4, 4, 30], pbc=(True, True, False))
    s, t = mb.Structures.from_ase(a), mb.Structures.from_ase(b)
    p = ann(t)
    assert torch.equal(p.evaluate(s).energy, p.evaluate(t).energy)


def test_single_precision_positions_are_refused():
    with pytest.raises(ValueError, match="float64"):
        mb.Structures(torch.zeros(1, 1, 3), torch.eye(3)[None], torch.tensor([11]))
