"""The ASE calculator: derivatives, conserved energy with a kept neighbor list, committees, clusters."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import fcc111
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.lj import LennardJones
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.stress import voigt_6_to_full_3x3_stress
from conftest import BOX, CASES, SKEW, ann, scattered

import mlipbook as mb
from mlipbook import neighbors


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 0, 1)])
@pytest.mark.parametrize("name", ["triclinic", "small cell"])
def test_forces_and_stress_are_those_of_ase(name, pbc):
    """ASE's own central differences, to their O(eps^2): of crystals, slabs and rods."""
    atoms = CASES[name].to_ase()[0]
    atoms.pbc = pbc
    atoms.calc = mb.Calculator(ann(CASES[name]))
    forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
    np.testing.assert_allclose(calculate_numerical_forces(atoms, eps=1e-4), forces, rtol=0, atol=1e-6)
    numerical = calculate_numerical_stress(atoms, eps=1e-5, voigt=False)
    np.testing.assert_allclose(numerical, stress, rtol=0, atol=1e-7)
    assert abs(forces).max() > 0.01 and abs(stress).max() > 1e-3


def test_results_are_those_of_the_potential():
    structures = CASES["two species"]
    atoms, potential = structures.to_ase()[0], ann(structures)
    atoms.calc = mb.Calculator(potential)
    result = potential.evaluate(structures)
    assert atoms.get_potential_energy() == pytest.approx(float(result.energy), rel=1e-14)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    np.testing.assert_allclose(atoms.get_potential_energies(), result.energies[0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(atoms.get_forces(), result.forces[0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), result.stress[0], rtol=0, atol=1e-15)
    stresses = voigt_6_to_full_3x3_stress(atoms.get_stresses())  # ASE's six components are the symmetric part
    W = result.virials[0].numpy()
    np.testing.assert_allclose(stresses, -(W + W.swapaxes(1, 2)) / 2 / atoms.cell.volume, rtol=0, atol=1e-15)


def test_a_potential_that_was_fitted_since_is_asked_again():
    structures = CASES["two species"]
    atoms, potential = structures.to_ase()[0], ann(structures)
    atoms.calc = mb.Calculator(potential)
    before = atoms.get_potential_energy()
    potential.energy_shift.copy_(potential.energy_shift + 1.0)
    assert atoms.get_potential_energy() == pytest.approx(before + len(atoms), rel=1e-12)


def total_energies(atoms: Atoms, timestep: float) -> list[float]:
    """Kinetic plus potential energy along 300 fs of ASE's velocity Verlet; timestep in fs."""
    dynamics, energies = VelocityVerlet(atoms, timestep * units.fs), []
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
    dynamics.run(int(300 / timestep))
    return energies


@pytest.mark.slow
def test_dynamics_conserves_energy_and_keeps_its_list(monkeypatch):
    """Verlet's error is O(dt^2): half the step, a quarter of the fluctuation; a list lives many steps."""
    builds, build = [], neighbors.build
    monkeypatch.setattr(neighbors, "build", lambda *arguments: builds.append(arguments) or build(*arguments))
    start = scattered("Ag9Se6", BOX, seed=1, closest=2.4)
    velocities = np.random.default_rng(0).normal(size=(15, 3)) * np.sqrt(0.03 / start.get_masses())[:, None]
    fluctuation = {}
    for timestep in (2.0, 1.0):
        atoms = start.copy()
        atoms.set_velocities(velocities)
        atoms.calc = mb.Calculator(ann(CASES["two species"], repulsion=3.0), skin=0.8)
        builds.clear()
        energies = total_energies(atoms, timestep)
        fluctuation[timestep] = np.ptp(energies)
        assert 2 <= len(builds) <= 0.2 * len(energies)
    assert fluctuation[1.0] < 5e-3 * atoms.get_kinetic_energy()
    assert 3 < fluctuation[2.0] / fluctuation[1.0] < 5
    np.testing.assert_allclose(atoms.get_momenta().sum(0), start.get_masses() @ velocities, rtol=1e-9)
    fresh = mb.Calculator(atoms.calc.potential)
    np.testing.assert_allclose(atoms.get_forces(), fresh.get_forces(atoms), rtol=0, atol=1e-12)


def test_committee_gives_mean_and_spread():
    structures = CASES["triclinic"]
    atoms, potential = structures.to_ase()[0], ann(structures, members=3)
    atoms.calc = mb.Calculator(potential)
    singles = [potential.member(m).evaluate(structures) for m in range(3)]
    U = np.array([float(s.energy) for s in singles])
    F = np.array([s.forces[0].numpy() for s in singles])
    assert atoms.get_potential_energy() == pytest.approx(U.mean(), rel=1e-13)
    np.testing.assert_allclose(atoms.get_forces(), F.mean(0), rtol=0, atol=1e-13)
    assert atoms.calc.spread["energy"] == pytest.approx(U.std(ddof=1), rel=1e-10)
    np.testing.assert_allclose(atoms.calc.spread["forces"], F.std(0, ddof=1), rtol=0, atol=1e-13)
    stress = np.mean([s.stress[0].numpy() for s in singles], axis=0)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), stress, rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", ["cluster", "slab"])
def test_structures_without_a_volume_have_no_stress(name):
    """A cluster, whatever its box, and a slab with two lattice vectors."""
    atoms = CASES[name].to_ase()[0]
    if name == "slab":
        atoms.cell[2] = 0
    atoms.calc = mb.Calculator(ann(CASES[name]))
    np.testing.assert_allclose(atoms.get_forces().sum(0), 0, atol=1e-13)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_slabs_relax_in_their_plane_as_with_ase():
    """A slab of Lennard-Jones atoms: the stress of ASE's own calculator, and the cell it relaxes to."""
    start, found = fcc111("Al", (2, 2, 3), a=4.0, vacuum=8.0), []
    theirs = LennardJones(sigma=2.6, epsilon=0.1, rc=6.0, smooth=False)
    for calculator in (theirs, mb.Calculator(mb.potentials.LennardJones(0.1, 2.6, 6.0))):
        atoms = start.copy()
        atoms.calc = calculator
        stress = atoms.get_stress()
        assert stress[:2] == pytest.approx([-0.0052477] * 2, abs=5e-8)
        assert BFGS(FrechetCellFilter(atoms, mask=[1, 1, 0, 0, 0, 1]), logfile=None).run(0.01, 50)
        found.append((stress, atoms.cell.array, atoms.positions))
    for ase, ours in zip(*found, strict=True):
        np.testing.assert_allclose(ours, ase, rtol=0, atol=1e-9)
    assert abs(found[0][1] - start.cell).max() > 0.02


def test_one_calculator_for_other_structures():
    """The kept list is not used for other atoms, cells or boundaries."""
    frames = [
        scattered("Ag3Se2", SKEW, seed=2),
        scattered("Ag4Se2", SKEW, seed=3),
        scattered("Ag3Se2", SKEW, False, 2),
    ]
    frames.append(frames[0].copy())
    frames[-1].set_cell(1.1 * SKEW, scale_atoms=True)
    frames.append(frames[0][[3, 1, 2, 0, 4]])
    potential = ann(CASES["two species"])
    kept = mb.Calculator(potential)
    for atoms in frames + frames[::-1]:
        energy = float(potential.evaluate(mb.Structures.from_ase(atoms)).energy)
        atoms.calc = kept
        assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-13)


def test_unknown_species_are_refused():
    atoms = CASES["two species"].to_ase()[0]
    atoms.calc = mb.Calculator(ann(CASES["one species"]))
    with pytest.raises(ValueError, match="atom 0 is Ag, but the descriptor knows only Na"):
        atoms.get_potential_energy()
