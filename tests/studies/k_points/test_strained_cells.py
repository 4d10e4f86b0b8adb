"""The shear stress of a k mesh: against closed forms, and against the free electrons of chapter 1."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

import mlipbook as mb
from mlipbook.studies.k_points import free_electrons
from mlipbook.studies.k_points import labels as k_points
from mlipbook.studies.k_points import strained_cells as study
from mlipbook.units import GPa


def strained(strain: np.ndarray) -> Atoms:
    atoms = Atoms("Na2", [[0, 0, 0], [3, 0, 0]], cell=9 * np.eye(3), pbc=True)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return atoms


def test_shear_of_a_strained_cube():
    strain = np.array([[0.0, 0.01, -0.02], [0.01, 0.0, 0.03], [-0.02, 0.03, 0.0]])
    np.testing.assert_allclose(study.shear(strained(strain)), [0.03, -0.02, 0.01], rtol=2e-3)
    strain[0, 1] = 0.02
    with pytest.raises(ValueError, match="no strained cube"):
        study.shear(strained(strain))


def test_slope_and_its_error():
    x, noise = np.array([1.0, 2.0, -1.0, 0.0]), np.array([0.1, 0.0, 0.1, -0.2])  # x @ noise = 0
    value, sem = study.slope(x, -3 * x + noise)
    assert value == pytest.approx(-3) and sem == pytest.approx(np.sqrt(0.06 / 3 / 6))


def test_what_labels_have_beyond_the_potential_is_found():
    potential, stiffness = mb.potentials.LennardJones(0.05, 3.3, 4.4), 3.0
    rng, frames = np.random.default_rng(0), []
    for phase in ("solid", "liquid", "solid", "liquid"):
        strain = rng.uniform(-0.03, 0.03, (3, 3))
        atoms = strained((strain + strain.T) / 2)
        stress = potential.evaluate(mb.Structures.from_ase(atoms)).stress[0].numpy()
        stress = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        stress[3:] += stiffness * GPa * study.shear(atoms)
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((2, 3)), stress=stress)
        atoms.info["phase"] = phase
        frames.append(atoms)
    found = study.records(potential, {"Gamma": frames})
    for phase in ("solid", "liquid"):
        item = found[f"Gamma, {phase}: per strain"]
        assert item["value"] == pytest.approx(stiffness) and item["n"] == 2
        expected = np.sqrt(np.mean([study.shear(a) ** 2 for a in frames if a.info["phase"] == phase]))
        assert found[f"Gamma, {phase}: shear stress missed"]["value"] == pytest.approx(stiffness * expected)


@pytest.mark.parametrize("mesh, shift", [(1, 0.0), (2, 0.5)])
def test_free_energy_of_a_cube_is_that_of_chapter_1(mesh, shift):
    found = study.free_energy(128, 17.2 * np.eye(3), mesh, shift, k_points.WIDTH)
    expected = free_electrons.gas(128, 17.2, mesh, shift, k_points.WIDTH).free_energy
    assert found == pytest.approx(expected, rel=1e-9)


def test_one_k_point_has_the_wrong_sign_and_many_the_stiffness_of_the_pressure():
    meshes = ((1, 0), (2, 0.5), (6, 0.5))
    one, four, many = (study.free_electrons(128, 17.2, *mesh, k_points.WIDTH) for mesh in meshes)
    pressure = free_electrons.converged_gas(128, 17.2, k_points.WIDTH).pressure / GPa
    assert one < -1 and 0.7 * many < four < 0.9 * many
    # A free gas has no shear modulus: as the cell is sheared at first order, F changes by its volume only,
    # Omega = edge^3 (1 - strain^2), and P dOmega gives the slope P.
    assert many == pytest.approx(pressure, rel=0.02)
