"""The study of the superionic reference: distributions, diffusion and Coulomb sums against what is known."""

import numpy as np
import pytest
import torch
from ase import Atoms

import mlipbook as mb
from mlipbook.dynamics import Trajectory, thermalize
from mlipbook.studies.conductivity import superionic
from mlipbook.studies.conductivity.silver_selenide import crystal
from mlipbook.studies.conductivity.superionic import Sizes
from mlipbook.units import ps

SMALL = Sizes(4, 2, 2, settle=0.05, length=0.4, piece=0.2, window=(0.04, 0.15))  # ps


def test_pairs_of_unlike_atoms_are_those_that_are_left():
    """Rock salt: six unlike neighbors at a/2, no like pair there."""
    a = 5.6
    salt = mb.Structures.from_ase(
        Atoms(
            "Ag4Se4",
            scaled_positions=[
                (0, 0, 0),
                (0, 0.5, 0.5),
                (0.5, 0, 0.5),
                (0.5, 0.5, 0),
                (0.5, 0, 0),
                (0, 0.5, 0),
                (0, 0, 0.5),
                (0.5, 0.5, 0.5),
            ],
            cell=[a] * 3,
            pbc=True,
        )
        * 3
    )
    edges = torch.tensor([2.7, 2.9, 3.8, 4.1], dtype=torch.float64)
    found = superionic.partial_distributions(salt, edges)
    shells, volume = 4 * np.pi / 3 * np.diff(edges.numpy() ** 3), float(salt.volumes[0])
    unlike = found["Ag-Se"][0].numpy() * shells * 108 / volume  # neighbors of the other kind
    like = found["Ag-Ag"][0].numpy() * shells * 107 / volume
    np.testing.assert_allclose(unlike, [6, 0, 0], atol=1e-12)
    np.testing.assert_allclose(like, [0, 0, 12], atol=1e-12)


def test_the_first_peak_of_a_parabola_is_its_vertex():
    r = (superionic.BINS[1:] + superionic.BINS[:-1]) / 2
    g = (4 - (r - torch.tensor([[2.613], [4.3]])) ** 2).clamp(min=0)
    np.testing.assert_allclose(superionic.first_peak(g), [2.613, 4.3], atol=1e-9)


def test_diffusion_of_a_random_walk_in_the_usual_unit():
    """Silver walks with <step^2> = 6 D dt per step, selenium stays: D = 2.5e-5 cm^2/s."""
    D, interval = 0.25, superionic.EVERY * superionic.TIMESTEP / ps  # A^2/ps, ps
    state = thermalize(crystal(2), [500.0] * 4)
    silver = (state.structures.species == 47)[:, None]
    rng = np.random.default_rng(0)
    steps = torch.as_tensor(rng.normal(scale=(2 * D * interval) ** 0.5, size=(401, 4, 48, 3)))
    walk = torch.where(silver, steps, torch.zeros_like(steps)).cumsum(0)
    sizes = Sizes(2, 4, 4, 0.0, length=20.0, piece=10.0, window=(1.0, 4.0))
    times = interval * torch.arange(401, dtype=torch.float64)
    positions = state.structures.positions + walk
    cells = state.structures.cells.expand(401, -1, -1, -1)
    trajectory = Trajectory(state, times, {}, times, positions, cells, 0 * positions)
    moved = {s: superionic.diffusion(trajectory, s, sizes) for s in ("Ag", "Se")}
    # Those at rest do not diffuse relative to their lattice; the walkers' center of mass does so a little.
    assert abs(moved["Ag"]["value"] - 2.5) < 4 * moved["Ag"]["sem"] < 1.0
    assert abs(moved["Se"]["value"]) < 0.2 and moved["Ag"]["n"] == 8


@pytest.mark.slow
def test_a_small_run_is_of_the_right_kind():
    volume = superionic.run(500.0, SMALL)
    records, drawn = superionic.at_constant_volume(volume, SMALL)
    assert 0.3 < records["500 K: Q6 of Se"]["value"] < 0.511
    assert records["500 K: first peak of Se-Se"]["value"] == pytest.approx(4.3, abs=0.15)
    assert records["500 K: potential energy"]["value"] > -0.94  # that of the perfect crystal
    assert len(drawn["r"]) == len(drawn["g"]["Ag-Se"]) and len(drawn["lags"]) == len(drawn["msd"]["Se"])
    pressure = superionic.run(500.0, SMALL, pressure=0.0)
    records = superionic.at_zero_pressure(pressure, 500.0, SMALL)
    assert records["lattice constant, 500 K"]["value"] == pytest.approx(4.99, abs=0.05)


def test_damping_and_shifting_change_coulomb_forces_by_a_fifth():
    atoms = crystal(3)
    atoms.rattle(0.2, seed=0)
    frames = [atoms, atoms.copy()]
    frames[1].rattle(0.1, seed=1)
    found = superionic.truncation(mb.Structures.from_ase(frames))
    assert (
        0.1
        < found["Coulomb: rms difference of forces"]["value"] / found["Coulomb: rms of forces"]["value"]
        < 0.4
    )
    assert abs(found["Coulomb: difference of pressure"]["value"]) < 0.1


def test_the_full_coulomb_sum_has_forces_and_virial_of_its_energy():
    atoms = crystal(1)
    atoms.rattle(0.2, seed=0)
    charge = {"Ag": 0.4, "Se": -0.8}

    def energy(strain: float) -> float:
        moved = atoms.copy()
        moved.set_cell(moved.cell * (1 + strain), scale_atoms=True)
        return float(superionic.full_coulomb(mb.Structures.from_ase(moved), charge)[0][0])

    E, F, W = superionic.full_coulomb(mb.Structures.from_ase(atoms), charge)
    assert float(F.sum(1).abs().max()) < 1e-10
    # Coulomb energies are of degree -1 in lengths: Tr W = E.
    assert float(W[0].trace()) == pytest.approx(float(E[0]), rel=1e-9)
    assert -(energy(1e-4) - energy(-1e-4)) / 2e-4 == pytest.approx(float(E[0]), rel=1e-6)
