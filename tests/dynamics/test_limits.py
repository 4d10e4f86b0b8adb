"""Runs that blow up end as Unstable, whatever the potential; sound ones do not."""

from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
import torch
from ase import Atoms
from ase.build import bulk

import mlipbook as mb
from mlipbook.dynamics import NPT, NVE, NVT, Langevin, Limits, Ramp, State, Unstable, thermalize
from mlipbook.potentials import LennardJones
from mlipbook.units import fs, kB

AENET = Path(__file__).parents[1] / "data" / "aenet"
ALUMINUM = LennardJones(0.1, 2.6, 6.0)
CRYSTAL = bulk("Al", a=4.0, cubic=True) * (2, 2, 2)
OBSERVE = {"temperature": mb.observables.temperature}


def hot(T: float = 300.0) -> State:
    return thermalize(CRYSTAL, T, seed=1)


def light() -> State:
    """As of a mass in other units: a thousandth."""
    state = hot()
    structures = replace(state.structures, masses=state.masses / 1000)
    return replace(state, structures=structures, momenta=state.momenta / 1000**0.5)


WRONG = {
    "NVE, 35 fs": (lambda: NVE(ALUMINUM, 35 * fs), hot),
    "NVT, fs forgotten": (lambda: NVT(ALUMINUM, 2.0, 300.0), hot),
    "NVT, fs forgotten, longer": (lambda: NVT(ALUMINUM, 5.0, 300.0), hot),
    "Langevin, fs forgotten": (lambda: Langevin(ALUMINUM, 5.0, 300.0), hot),
    "NPT, fs forgotten": (lambda: NPT(ALUMINUM, 3.0, 300.0), hot),
    "NVE, wrong masses": (lambda: NVE(ALUMINUM, 2 * fs), light),
    "NVT, wrong masses": (lambda: NVT(ALUMINUM, 2 * fs, 300.0), light),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("every", [1, 10, 400])
def test_a_run_that_blows_up_is_unstable(case, every):
    """Seen often, or not before its end. The message says what to do, the last state is a good one."""
    simulation, start = WRONG[case]
    with pytest.raises(
        Unstable, match=r"step \d+.*shorten the time step \(.* fs;.*relaxed structure"
    ) as stop:
        simulation().run(start(), 400, OBSERVE, every, progress=False)
    good = stop.value.state
    assert bool(torch.isfinite(good.structures.positions).all())
    assert float(good.temperature) < 6000.0


def test_a_network_in_a_hole_is_unstable():
    """From aenet's file, which tells no distances: temperature and invariant may look well there."""
    potential = mb.aenet.read({"Na": AENET / "na_16_4" / "Na.nn"})
    assert not potential.shortest
    atoms = mb.aenet.read_xsf(AENET / "structures" / "na128.xsf")
    start = thermalize(atoms, 300.0, seed=1)
    NVT(potential, 1 * fs, 300.0).run(start, 20, progress=False)
    with pytest.raises(Unstable, match=r"shortest distance.*outside 1\.66"):
        anywhere = Limits(temperature=inf, drift=inf)
        NVT(potential, 28 * fs, 300.0).run(start, 100, limits=anywhere, progress=False)


def dimer(distance: float) -> State:
    atoms = Atoms("Al2", [[8.0, 10.0, 10.0], [8.0 + distance, 10.0, 10.0]], cell=[20.0] * 3, pbc=True)
    return thermalize(atoms, 0.0)


SOUND = {
    "from rest, turning points": lambda: NVE(ALUMINUM, 2 * fs).run(dimer(3.4), 600, every=1, progress=False),
    "energy set free": lambda: NVT(ALUMINUM, 0.5 * fs, 300.0).run(dimer(2.3), 600, progress=False),
    "large time step": lambda: Langevin(ALUMINUM, 12 * fs, 300.0).run(hot(), 600, progress=False),
    "hot start": lambda: NVT(ALUMINUM, 2 * fs, 10.0).run(hot(900.0), 600, progress=False),
}


@pytest.mark.parametrize("case", SOUND)
def test_a_sound_run_is_not_stopped(case):
    SOUND[case]()


def test_a_thermostat_that_changes_is_no_drift():
    """The invariant of other surroundings is another quantity: on a ramp it changes by N_f xi dkT."""
    simulation = NVT(ALUMINUM, 2 * fs, Ramp(50.0, 1000.0, 200), thermostat_time=20 * fs)
    run = simulation.run(hot(50.0), 200, OBSERVE, every=100, progress=False)
    jump = float(run.observed["invariant"].diff(dim=0).abs().max())
    assert jump > 1.5 * run.state.degrees_of_freedom / 2 * kB * 1000.0


def test_limits_can_be_lifted():
    anywhere = Limits(0.0, (0.0, inf), temperature=inf, drift=inf)
    run = NVE(ALUMINUM, 35 * fs).run(hot(), 50, OBSERVE, limits=anywhere, progress=False)
    assert float(run.observed["temperature"][-1]) > 1e6
