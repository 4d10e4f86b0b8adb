"""Numbers of the Fortran code aenet 2.0.4: descriptors, energies, forces, virials, heat flux."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

import mlipbook as mb
from mlipbook import aenet

FOLDER = Path(__file__).parents[1] / "data" / "aenet"
FS = 103.642696**-0.5  # ASE time units in 1 fs with the references' own, rounded, constant (u A^2/fs^2 in eV)


@pytest.fixture(scope="module")
def potential() -> mb.ANNPotential:
    return aenet.read({"Na": FOLDER / "na_16_4" / "Na.nn"})


@pytest.fixture(scope="module")
def atoms() -> Atoms:
    return aenet.read_xsf(FOLDER / "structures" / "na128.xsf")


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "na_16_4" / "reference.npz") as file:
        return dict(file)


def agree(found, expected, tolerance: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def scalars(name: str) -> dict[str, np.ndarray]:
    lines = (line.split() for line in (FOLDER / name).read_text().splitlines() if not line.startswith("#"))
    return {words[0]: np.array(words[1:], float) for words in lines}


def test_descriptor(potential, atoms, reference):
    setup = aenet.read_setup(FOLDER / "na_16_4" / "Na.stp")
    for descriptor in (potential.descriptor, aenet.descriptor([setup])):
        found = descriptor.compute(atoms)
        assert found.shape == (128, 22)
        agree(found, reference["descriptor"], 1e-11)


@pytest.mark.parametrize("path", sorted((FOLDER / "small").glob("*.xsf")), ids=lambda path: path.stem)
def test_small_cells_and_clusters(path):
    expected = path.with_suffix(".descriptor.txt")
    header = expected.read_text().splitlines()[0]
    keys = ("radial_Rc", "radial_N", "angular_Rc", "angular_N")
    numbers = [ast.literal_eval(re.search(rf"{key}=(\S+)", header)[1]) for key in keys]
    env = tuple(ast.literal_eval(re.search(r"env\(ENV\)=(\[.*?\])", header)[1]))
    setups = [aenet.Setup(element, env, "", 0.75, *numbers) for element in env]
    found = aenet.descriptor(setups).compute(aenet.read_xsf(path))
    expected = np.loadtxt(expected, ndmin=2)
    assert found.shape == expected.shape
    assert np.max(np.abs(found - expected) / np.maximum(np.abs(expected), 1)) < 1e-11


def test_reversed_environment_flips_the_weights():
    atoms = aenet.read_xsf(FOLDER / "small" / "agse_cluster.xsf")
    forward, backward = (
        aenet.descriptor([aenet.Setup(e, env, "", 0.75, 6.5, 12, 6.0, 5) for e in env]).compute(atoms)
        for env in (("Ag", "Se"), ("Se", "Ag"))
    )
    weighted_radial = np.arange(19, 19 + 13)
    assert np.abs(forward[:, weighted_radial]).max() > 0.1
    sign = np.ones(38)
    sign[weighted_radial] = -1
    agree(forward, sign * backward, 1e-12)


@pytest.mark.parametrize("definition", ["I", "II", "III"])
def test_energies_forces_virials(potential, atoms, reference, definition):
    result = potential.evaluate(mb.Structures.from_ase(atoms), definition)
    agree(result.energies[0], reference["atomic_energies"], 1e-10)
    agree(result.energy[0], reference["total_energy"], 1e-10)
    agree(result.forces[0], reference["forces"], 1e-11)
    agree(result.virial[0], reference["virial"], 1e-9)
    agree(result.virials[0], reference[f"atomic_virial_{definition}"], 1e-9)
    for other in {"I", "II", "III"} - {definition}:
        assert np.abs(result.virials[0].numpy() - reference[f"atomic_virial_{other}"]).max() > 1e-3


@pytest.mark.parametrize("definition", ["I", "II", "III"])
def test_heat_flux(potential, atoms, reference, definition):
    structures = mb.Structures.from_ase(atoms)
    velocities = torch.as_tensor(reference["velocities"])[None] / FS
    flux = mb.heat.flux(potential, structures, velocities, definition)[0] * FS / structures.volumes
    np.testing.assert_allclose(flux, reference[f"J_{definition}"], rtol=1e-9)


def test_heat_flux_of_a_cluster_moves_its_energy(potential):
    """Only definition I is d/dt sum_i r_i (eps_i + t_i)."""
    table = np.loadtxt(FOLDER / "cluster_heatflux" / "cluster.txt")
    expected = scalars("cluster_heatflux/scalars.txt")
    structures = mb.Structures.from_ase(Atoms(f"Na{len(table)}", table[:, :3]))
    result = potential.evaluate(structures)
    agree(result.energies[0], table[:, 6], 1e-10)
    agree(result.forces[0], table[:, 7:], 1e-11)
    velocities = torch.as_tensor(table[:, 3:6])[None] / FS
    for definition, miss in (("I", 0.0), ("II", 1.3e-3), ("III", 6.4e-4)):
        flux = mb.heat.flux(potential, structures, velocities, definition)[0].numpy() * FS
        np.testing.assert_allclose(flux, expected[f"VJ_{definition}"], rtol=1e-9)
        difference = np.abs(flux - expected["dMdt_numerical"]).max()
        assert difference < 5e-8 if miss == 0 else difference == pytest.approx(miss, rel=0.05)
