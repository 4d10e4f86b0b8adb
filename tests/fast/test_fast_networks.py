"""Force calls in C are those of PyTorch."""

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

import mlipbook as mb
from mlipbook.fast.networks import Native
from mlipbook.potentials.ann import MemberPerReplica
from mlipbook.potentials.close_pairs import CloserThanTrained
from mlipbook.studies.conductivity.silver_selenide import crystal

NAMES = ("energies", "forces", "virials")


def potential_of(species, members=1, seed=0, repulsion=None, **settings):
    """Networks that were not trained, on features of a usual size."""
    orders = {"radial_cutoff": 6.0, "radial_order": 7, "angular_cutoff": 4.5, "angular_order": 3}
    descriptor = mb.Chebyshev(species, **{**orders, **settings})
    potential = mb.ANNPotential(descriptor, (6, 5), members=members, seed=seed, repulsion=repulsion)
    for network in potential.networks.values():
        network.mean[:] = 1.0
        network.mean_square[:] = 26.0
    return potential


def rattled(atoms, amplitude=0.2, seed=0):
    atoms.rattle(amplitude, seed=seed)
    return atoms


def silver_selenide(copies=1):
    return mb.Structures.from_ase([rattled(crystal(2), seed=seed) for seed in range(copies)])


CASES = {
    "two species": (potential_of(("Ag", "Se")), silver_selenide(2)),
    "another order of species": (
        potential_of(("Ag", "Se"), environments={"Se": ("Se", "Ag")}),
        silver_selenide(),
    ),
    "one species": (potential_of(("Na",)), mb.Structures.from_ase(rattled(bulk("Na", cubic=True) * 4))),
    "several images of a neighbor": (potential_of(("Na",)), mb.Structures.from_ase(rattled(bulk("Na")))),
    "molecule": (potential_of(("H", "O")), mb.Structures.from_ase(molecule("H2O"))),
    "one neighbor of none": (
        potential_of(("H", "O"), radial_cutoff=1.2, angular_cutoff=1.2),
        mb.Structures.from_ase(molecule("H2O2")),
    ),
    "angular farther than radial": (
        potential_of(("Na",), radial_cutoff=4.0, angular_cutoff=5.5),
        mb.Structures.from_ase(rattled(bulk("Na", cubic=True) * 3)),
    ),
    "lowest orders": (
        potential_of(("Ag", "Se"), radial_order=0, angular_order=0),
        silver_selenide(),
    ),
    "first orders": (potential_of(("Ag", "Se"), radial_order=1, angular_order=1), silver_selenide()),
    "high orders": (potential_of(("Ag", "Se"), radial_order=20, angular_order=8), silver_selenide()),
    "committee": (potential_of(("Ag", "Se"), members=3), silver_selenide(2)),
    "a member for each replica": (
        MemberPerReplica(potential_of(("Ag", "Se"), members=2)),
        silver_selenide(4),
    ),
    "repulsion": (potential_of(("Ag", "Se"), repulsion=2.6), silver_selenide()),
}


@pytest.mark.parametrize("definition", ["I", "II", "III"])
@pytest.mark.parametrize("case", CASES)
def test_energies_forces_and_virials_are_those_of_the_potential(case, definition):
    potential, structures = CASES[case]
    one, other = (p.evaluate(structures, definition) for p in (potential, Native(potential)))
    for name in NAMES:
        expected, found = getattr(one, name), getattr(other, name)
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
    assert torch.equal(one.volumes, other.volumes)


def test_single_precision_errs_as_little_as_in_pytorch():
    potential, structures = CASES["two species"]
    exact, single = Native(potential).evaluate(structures), potential_of(("Ag", "Se")).float()
    for name in NAMES:
        errors = [
            (getattr(p.evaluate(structures), name) - getattr(exact, name)).abs().max()
            for p in (single, Native(single))
        ]
        assert errors[1] < 2 * errors[0]


def test_dynamics_keep_their_energy_with_lists_that_are_kept():
    potential, structures = CASES["two species"]
    state = mb.dynamics.thermalize(structures, 300.0)
    runs = [
        mb.dynamics.NVE(p, 2 * mb.units.fs).run(state, 20, progress=False)
        for p in (potential, Native(potential))
    ]
    moved = runs[0].state.structures.positions - structures.positions
    assert moved.abs().max() > 0.05
    positions = [run.state.structures.positions for run in runs]
    torch.testing.assert_close(*positions, rtol=0, atol=1e-9)


def test_pairs_closer_than_trained_are_reported():
    potential, structures = potential_of(("Ag", "Se")), silver_selenide()
    potential.shortest = {("Ag", "Ag"): 1.0, ("Ag", "Se"): 1.0, ("Se", "Se"): 1.0}
    Native(potential).evaluate(structures)  # none is closer
    potential.shortest = {("Ag", "Ag"): 1.0, ("Ag", "Se"): 2.9, ("Se", "Se"): 1.0}
    with pytest.warns(CloserThanTrained, match="Ag-Se"):
        Native(potential).evaluate(structures)
    del potential.shortest["Se", "Se"]
    potential.shortest["Ag", "Se"] = 1.0
    with pytest.warns(CloserThanTrained, match="Se-Se pairs were"):
        Native(potential).evaluate(structures)


def test_what_the_potential_refuses_is_refused():
    potential, structures = CASES["two species"]
    other = mb.neighbors.build(mb.Structures.from_ase(rattled(crystal(3))), 6.0)
    for one in (potential, Native(potential)):
        with pytest.raises(ValueError, match="neighbor list is of 1 structures of 162 atoms"):
            one.evaluate(structures, edges=other)
    with pytest.raises(ValueError, match="Na"):
        Native(potential).evaluate(mb.Structures.from_ase(bulk("Na")))
    with pytest.raises(ValueError, match="definition"):
        Native(potential).evaluate(structures, "IV")
    with pytest.raises(ValueError, match="reaches"):
        Native(potential).evaluate(structures, edges=mb.neighbors.build(structures, 3.0))
    with pytest.raises(TypeError, match="ANN"):
        Native(mb.potentials.AgSe())


def test_the_library_leaves_tiny_numbers_alone():
    """Some compilers link code that rounds them to zero, for the whole process."""
    Native(potential_of(("Na",)))
    assert np.float64(5e-324) * 1.0 > 0 and torch.tensor(1e-310, dtype=torch.float64) * 1.0 > 0
