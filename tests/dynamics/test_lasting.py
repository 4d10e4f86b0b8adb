"""A replica that breaks leaves the others' run as it would have been without it."""

from dataclasses import replace

import pytest
import torch
from ase import Atoms

import mlipbook as mb
from mlipbook.dynamics import NVE, NVT, Limits, State, Unstable, lasting, thermalize
from mlipbook.potentials import LennardJones
from mlipbook.units import fs

ARGON = LennardJones(0.0104, 3.4, 8.0)
OBSERVE = {"positions": lambda state: state.structures.positions}
NEAR = Limits(closest=2.5)  # A


def pairs(closing: list[float]) -> State:
    """Two argon atoms each, 4 A apart, that approach at so many A per internal time."""
    atoms = Atoms("Ar2", [[8.0, 10.0, 10.0], [12.0, 10.0, 10.0]], cell=[20.0] * 3, pbc=True)
    state = thermalize(mb.Structures.from_ase([atoms] * len(closing)), 10.0)
    speed = torch.tensor(closing, dtype=torch.float64)[:, None, None] / 2
    along = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]], dtype=torch.float64)
    return replace(state, momenta=state.masses[:, None] * speed * along)


@pytest.mark.parametrize("simulation", [NVE(ARGON, 2 * fs), NVT(ARGON, 2 * fs, 10.0, 1e5 * fs)])
def test_the_others_go_on_bit_for_bit(simulation):
    start = pairs([0.01, 1.0, 0.02])
    found = lasting.run(simulation, start, 60, OBSERVE, 4, NEAR)
    whole = simulation.run(start, 60, OBSERVE, 4, limits=Limits(closest=0.0), progress=False)
    assert found.lasted.tolist() == [True, False, True]
    assert set(found.broken[:, 0].tolist()) == {1}
    assert len(found.observed["positions"]) == 15
    for b in (0, 2):
        assert torch.equal(found.observed["positions"][:, b], whole.observed["positions"][:, b])
    step = int(found.broken[0, 1])  # the last good one
    distance = (whole.observed["positions"][:, 1, 1] - whole.observed["positions"][:, 1, 0]).norm(dim=-1)
    assert distance[step // 4 - 1] >= 2.5 > distance[step // 4]


def test_a_replica_that_broke_starts_again():
    """From its own start: it breaks again after as many steps."""
    found = lasting.run(NVE(ARGON, 2 * fs), pairs([0.01, 1.0]), 60, OBSERVE, 4, NEAR)
    steps = found.broken[:, 1]
    assert len(steps) > 1
    assert bool((steps.diff() == steps[0]).all())


def test_a_run_of_which_nothing_lasts_ends():
    with pytest.raises(Unstable, match="replica 0"):
        lasting.run(NVE(ARGON, 2 * fs), pairs([0.4, 0.5]), 200, OBSERVE, 4, NEAR)
    with pytest.raises(Unstable) as stop:
        lasting.run(NVE(ARGON, 2 * fs), pairs([0.4, 0.5]), 200, OBSERVE, 4, NEAR)
    seen = stop.value.trajectory  # also what came before the first replica broke
    assert len(seen.observed["positions"]) == seen.state.step // 4 > 1
    start = pairs([0.01, 0.02])
    lost = replace(start, momenta=start.momenta * torch.tensor([[[1.0]], [[float("inf")]]]))
    with pytest.raises(Unstable):
        lasting.run(NVE(ARGON, 2 * fs), lost, 8, OBSERVE, 4, NEAR)
