"""Pair potentials in C, by a table, are those of PyTorch."""

import pytest
import torch
from ase import Atoms
from ase.build import bulk

import mlipbook as mb
from mlipbook.fast.pairs import NativePairs
from mlipbook.potentials import AgI, AgSe, LennardJones
from mlipbook.studies.conductivity.silver_selenide import crystal

NAMES = ("energies", "forces", "virials")


def rattled(atoms, seed=0):
    atoms.rattle(0.25, seed=seed)
    return atoms


def sheared(atoms):
    atoms.set_cell(atoms.cell.array + [[0, 0.7, 0], [0, 0, -0.5], [0.3, 0, 0]], scale_atoms=True)
    return atoms


CASES = {
    "Ag2Se": (AgSe(), ("Ag", "Se"), [rattled(crystal(4), seed) for seed in range(2)]),
    "AgI, sheared": (
        AgI(),
        ("Ag", "I"),
        [sheared(rattled(bulk("AgI", "zincblende", a=6.47, cubic=True) * 4))],
    ),
    "cluster": (AgSe(), ("Ag", "Se"), [Atoms(a.symbols, a.positions) for a in [rattled(crystal(2))]]),
    "one kind": (
        LennardJones(0.0104, 3.4, 8.0),
        ("Ar",),
        [rattled(bulk("Ar", cubic=True, a=5.3) * 4)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_energies_forces_and_virials_are_those_of_the_potential_by_each_definition(case):
    potential, elements, frames = CASES[case]
    structures, native = mb.Structures.from_ase(frames), NativePairs(potential, elements)
    found = native.evaluate(structures)
    assert found.energies.abs().max() > 0.05
    for definition in ("I", "II", "III"):
        expected = potential.evaluate(structures, definition)
        for name in NAMES:
            torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-9, atol=2e-9)
    torch.testing.assert_close(found.volumes, expected.volumes)


def test_forces_are_the_slopes_of_the_energies_between_knots():
    potential = NativePairs(AgSe(), ("Ag", "Se"))
    ends = [1.75, 1.75 + 1e-5]
    middle = sum(ends) / 2
    pairs = [Atoms("AgSe", [[0, 0, 0], [r, 0, 0]]) for r in (*ends, middle)]
    found = potential.evaluate(mb.Structures.from_ase(pairs))
    slope = float(found.energy[1] - found.energy[0]) / (ends[1] - ends[0])
    assert float(found.forces[2, 0, 0]) == pytest.approx(slope, rel=1e-6)


def test_pairs_closer_than_the_table_and_small_cells_are_left_to_the_potential():
    potential = AgSe()
    native = NativePairs(potential, ("Ag", "Se"))
    pair = mb.Structures.from_ase(Atoms("AgSe", [[0, 0, 0], [0.9, 0, 0]]))
    small = mb.Structures.from_ase(rattled(crystal(1)))
    for structures in (pair, small):
        one, other = (p.evaluate(structures) for p in (potential, native))
        for name in NAMES:
            assert torch.equal(getattr(one, name), getattr(other, name))


def test_other_elements_are_refused():
    with pytest.raises(ValueError, match="atom 1 is Ar"):
        NativePairs(LennardJones(0.0104, 3.4, 8.0), ("Ne",)).evaluate(
            mb.Structures.from_ase(Atoms("NeAr", [[0, 0, 0], [3.0, 0, 0]]))
        )
    with pytest.raises(ValueError, match="Na"):
        NativePairs(AgSe(), ("Ag", "Se")).evaluate(mb.Structures.from_ase(Atoms("Na")))
