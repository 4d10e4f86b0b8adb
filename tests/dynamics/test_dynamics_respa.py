"""Multiple time stepping is a trajectory of the costly potential, whatever moves the atoms in between."""

from dataclasses import replace

import pytest
import torch
from ase.build import bulk

from mlipbook import dynamics
from mlipbook.dynamics.methods import MartynaTobiasKlein, NoseHoover, VelocityVerlet
from mlipbook.dynamics.respa import Respa
from mlipbook.dynamics.simulation import Simulation
from mlipbook.potentials import LennardJones
from mlipbook.units import fs, kB

T = 40.0  # K
ARGON = LennardJones(0.0104, 3.4, 6.5)
OTHER = LennardJones(0.0100, 3.42, 6.5)  # stands for a fit: forces some percent off
METHODS = {
    "NVE": VelocityVerlet(),
    "NVT": NoseHoover(100 * fs, 3),
    "NPT": MartynaTobiasKlein(100 * fs, 500 * fs, 3),
}
ANYWHERE = dynamics.Limits(closest=0.0)


def start(seed: int = 0) -> dynamics.State:
    crystal = bulk("Ar", "fcc", a=5.4, cubic=True) * (3, 3, 3)
    return dynamics.thermalize(crystal, T, seed=seed)


def run(method, potential, state, timestep, steps, every):
    simulation = Simulation(potential, method, timestep * fs, T)
    return simulation.run(state, steps, every=every, limits=ANYWHERE, progress=False)


@pytest.mark.parametrize("name", METHODS)
def test_with_the_costly_potential_inside_it_is_the_method_itself(name):
    method = METHODS[name]
    plain = run(method, ARGON, start(), 5.0, 24, 4)
    respa = run(Respa(method, ARGON, 4), ARGON, start(), 5.0, 24, 4)
    assert torch.allclose(
        plain.state.structures.positions, respa.state.structures.positions, rtol=0, atol=1e-10
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_the_invariant_of_the_costly_energy_varies_with_the_square_of_the_outer_step(name):
    def spread(n):
        trajectory = run(Respa(METHODS[name], OTHER, n), ARGON, start(), 0.5, 3200, n)
        return float(trajectory.observed["invariant"].std())

    assert 3.2 < spread(64) / spread(32) < 4.8
    # The inner dynamics keeps its own energy, not the costly one.
    inner = run(METHODS[name], OTHER, start(), 0.5, 3200, 32)
    state = inner.state.updated(result=ARGON.evaluate(inner.state.structures))
    ours = run(Respa(METHODS[name], OTHER, 32), ARGON, start(), 0.5, 32, 32)
    costly = METHODS[name].invariant(state, 40 * kB, 0.0) - ours.observed["invariant"][0]
    assert abs(float(costly)) > 20 * spread(32)


@pytest.mark.parametrize("name", METHODS)
def test_it_is_reversible(name):
    method = Respa(METHODS[name], OTHER, 5)
    there = run(method, ARGON, start(), 4.0, 50, 5).state
    extended = {key: -value if key in ("v_xi", "v_eps") else value for key, value in there.extended.items()}
    turned = replace(there, momenta=-there.momenta, extended=extended, result=None)
    back = run(method, ARGON, turned, 4.0, 50, 5).state
    assert torch.allclose(back.structures.positions, start().structures.positions, rtol=0, atol=1e-9)
    assert torch.allclose(back.structures.cells, start().structures.cells, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_it_follows_the_costly_potential_and_not_the_inner_one():
    ends = {}
    for name, method, potential in (
        ("costly", METHODS["NPT"], ARGON),
        ("respa", Respa(METHODS["NPT"], OTHER, 4), ARGON),
        ("inner", METHODS["NPT"], OTHER),
    ):
        ends[name] = run(method, potential, start(), 2.0, 400, 4).state.structures
    away = (ends["inner"].positions - ends["costly"].positions).abs().max()
    assert (ends["respa"].positions - ends["costly"].positions).abs().max() < 0.02 * away
    assert abs(ends["respa"].volumes - ends["costly"].volumes) < 0.02 * abs(
        ends["inner"].volumes - ends["costly"].volumes
    )
