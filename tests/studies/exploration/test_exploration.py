"""Dynamics that explores: ensembles, strained cells, and a stop in time."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlipbook.potentials import LennardJones
from mlipbook.studies.exploration import search as study
from mlipbook.units import kB


@pytest.fixture
def short(monkeypatch):
    for name, value in (("SETTLE", 0.03), ("NPT", 0.12), ("NVT", 0.12), ("SAMPLE", 10)):
        monkeypatch.setattr(study, name, value)


@pytest.fixture(scope="module")
def crystal() -> Atoms:
    return bulk("Na", "fcc", a=5.3, cubic=True) * 3


def test_strained_dynamics_holds_a_cell_with_all_six_strains(short, crystal):
    potential = LennardJones(0.05, 3.3, 6.5)
    frames = study.explore(potential, crystal, 100, 0.03, np.random.default_rng(3))
    assert [frame.info["time_ps"] for frame in frames] == pytest.approx([0.03, 0.06, 0.09, 0.12])
    cells = np.array([frame.cell.array for frame in frames])
    assert (cells == cells[0]).all()
    edge = np.cbrt(crystal.cell.volume)
    strain = cells[0] / edge - np.eye(3)
    np.testing.assert_allclose(strain, strain.T, atol=1e-12)
    assert (abs(strain[np.triu_indices(3, 1)]) > 1e-4).all() and abs(strain).max() < 0.06
    assert np.ptp([frame.positions for frame in frames], axis=0).min() > 0


def test_dynamics_at_ambient_pressure_lets_the_volume_go(short, crystal):
    frames = study.explore(LennardJones(0.05, 3.3, 6.5), crystal, 100, 0.0, np.random.default_rng(3))
    volumes = [frame.cell.volume for frame in frames]
    assert np.ptp(volumes) > 1
    for frame in frames:
        np.testing.assert_allclose(frame.cell.array, np.eye(3) * np.cbrt(frame.cell.volume), atol=1e-9)


def test_dynamics_stops_before_atoms_meet(short, monkeypatch, crystal):
    monkeypatch.setattr(study, "NVT", 3.0)
    nothing = LennardJones(0.0, 3.3, 6.5)  # an ideal gas
    frames = study.explore(nothing, crystal, 300, 0.01, np.random.default_rng(0))
    assert 0 < len(frames) < 50
    assert min(study.shortest(frame) for frame in frames) > study.CLOSEST


def test_velocities_have_the_temperature_and_no_momentum(crystal):
    atoms = crystal * 2
    velocities = study.maxwell_boltzmann(atoms, 300.0, np.random.default_rng(0))
    momenta = velocities * atoms.get_masses()[:, None]
    np.testing.assert_allclose(momenta.sum(axis=0), 0, atol=1e-10)
    kinetic = 0.5 * (velocities * momenta).sum()
    assert kinetic == pytest.approx(1.5 * (len(atoms) - 1) * kB * 300, rel=4 * np.sqrt(2 / 3 / 864))
