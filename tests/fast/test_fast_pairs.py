"""Pair potentials in C, by a table, are those of PyTorch."""

import pytest
import torch
from ase import Atoms
from ase.build import bulk

import mlipbook as mb
from mlipbook.fast.pairs import NativePairs
from mlipbook.potentials import AgI, AgSe, LennardJones, PairPotential
from mlipbook.studies.conductivity.silver_selenide import crystal

NAMES = ("energies", "forces", "virials")


def rattled(atoms, seed=0):
    atoms.rattle(0.25, seed=seed)
    return atoms


def sheared(atoms):
    atoms.set_cell(atoms.cell.array + [[0, 0.7, 0], [0, 0, -0.5], [0.3, 0, 0]], scale_atoms=True)
    return atoms


CASES = {
    "Ag2Se": (AgSe(), [rattled(crystal(4), seed) for seed in range(2)]),
    "AgI, sheared": (
        AgI(),
        [sheared(rattled(bulk("AgI", "zincblende", a=6.47, cubic=True) * 4))],
    ),
    "cluster": (AgSe(), [Atoms(a.symbols, a.positions) for a in [rattled(crystal(2))]]),
    "one kind": (
        LennardJones(0.0104, 3.4, 8.0),
        [rattled(bulk("Ar", cubic=True, a=5.3) * 4)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_energies_forces_and_virials_are_those_of_the_potential_by_each_definition(case):
    potential, frames = CASES[case]
    structures, native = mb.Structures.from_ase(frames), NativePairs(potential)
    found = native.evaluate(structures)
    assert found.energies.abs().max() > 0.05
    for definition in ("I", "II", "III"):
        expected = potential.evaluate(structures, definition)
        for name in NAMES:
            difference = (getattr(found, name) - getattr(expected, name)).abs().max()
            assert difference < 1e-12 * getattr(expected, name).abs().max()
    torch.testing.assert_close(found.volumes, expected.volumes)


def test_forces_are_the_slopes_of_the_energies_between_knots():
    potential = NativePairs(AgSe())
    ends = [1.75, 1.75 + 1e-5]
    middle = sum(ends) / 2
    pairs = [Atoms("AgSe", [[0, 0, 0], [r, 0, 0]]) for r in (*ends, middle)]
    found = potential.evaluate(mb.Structures.from_ase(pairs))
    slope = float(found.energy[1] - found.energy[0]) / (ends[1] - ends[0])
    assert float(found.forces[2, 0, 0]) == pytest.approx(slope, rel=1e-6)


def test_pairs_closer_than_the_table_and_small_cells_are_left_to_the_potential():
    potential = AgSe()
    native = NativePairs(potential)
    pair = mb.Structures.from_ase(Atoms("AgSe", [[0, 0, 0], [0.9, 0, 0]]))
    small = mb.Structures.from_ase(rattled(crystal(1)))
    for structures in (pair, small):
        one, other = (p.evaluate(structures) for p in (potential, native))
        for name in NAMES:
            assert torch.equal(getattr(one, name), getattr(other, name))


def test_what_the_potential_refuses_is_refused():
    sodium = mb.Structures.from_ase(Atoms("Na"))
    with pytest.raises(ValueError, match="Na"):
        NativePairs(AgSe()).evaluate(sodium)
    argon = mb.Structures.from_ase(CASES["one kind"][1])
    native = NativePairs(LennardJones(0.0104, 3.4, 8.0))
    with pytest.raises(ValueError, match="definition"):
        native.evaluate(argon, "IV")
    with pytest.raises(ValueError, match="reaches"):
        native.evaluate(argon, edges=mb.neighbors.build(argon, 3.0))
    with pytest.raises(ValueError, match="overlap"):
        native.evaluate(mb.Structures.from_ase(Atoms("Ar2", [[0, 0, 0], [0.001, 0, 0]])))
    for other in (mb.ANNPotential(mb.Chebyshev(("Ar",), 5.0, 2, 4.0, 1)), LennardJones(0.01, 0.8, 0.9)):
        with pytest.raises(TypeError, match="pairs.c|tables"):
            NativePairs(other)


def step(r, *species):
    return torch.where(r < 3.5, 0.1, 0.0) + 0.01 * torch.relu(6.0 - r) ** 2


def test_a_table_that_is_not_the_potential_is_not_used():
    potential, structures = PairPotential(step, 6.0), mb.Structures.from_ase(CASES["one kind"][1])
    one, other = (p.evaluate(structures) for p in (potential, NativePairs(potential)))
    assert torch.equal(one.energies, other.energies) and torch.equal(one.forces, other.forces)


def test_a_table_follows_its_potential():
    potential = LennardJones(0.0104, 3.4, 8.0)
    structures, native = mb.Structures.from_ase(CASES["one kind"][1]), NativePairs(potential)
    before = native.evaluate(structures).energy
    potential.energy = LennardJones(0.0208, 3.4, 8.0).energy
    torch.testing.assert_close(native.evaluate(structures).energy, 2 * before)
    ions, frames = CASES["Ag2Se"]
    ions, structures = AgSe(), mb.Structures.from_ase(frames)
    native = NativePairs(ions)
    before = native.evaluate(structures).energy
    ions.table[:5] *= 2
    found, wanted = native.evaluate(structures).energy, ions.evaluate(structures).energy
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)
    assert (found - before).abs().min() > 1.0
