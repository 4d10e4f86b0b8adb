"""The map of cost weights: every member is trained as it would be alone."""

import numpy as np
import pytest
import torch

from mlipbook import ANNPotential, Chebyshev, Cost, datasets, errors, fit
from mlipbook.studies.stress import cost_weights
from mlipbook.studies.stress.kinds import CostPerMember

POINTS = [(1.0, 1.0, 0.0), (100.0, 1.0, 10.0)]


@pytest.fixture(scope="module")
def frames():
    return {part: datasets.load("na-gamma", part)[:2] for part in datasets.SPLITS}


@pytest.fixture(scope="module")
def mapped(frames):
    settings = {"members": 2, "epochs": 3, "progress": False}
    return cost_weights.fit_map(POINTS, frames["train"], frames["valid"], **settings)


def test_member_of_a_map_is_the_fit_with_its_weights(frames, mapped):
    """The fourth: seed 3, the weights of the second point; to all digits where they are double."""
    descriptor = Chebyshev(("Na",), 6.5, 16, 6.5, 4)
    each = CostPerMember(each=tuple(point for point in POINTS for _ in range(2)))
    alone, together = ANNPotential(descriptor, seed=3), ANNPotential(descriptor, members=4)
    for potential, cost in ((alone, Cost(*POINTS[1])), (together, each)):
        settings = {"epochs": 3, "learning_rate": 1e-2, "progress": False}
        fit(potential, frames["train"], frames["valid"], cost, **settings)
    for got, single, want in zip(
        *(p.parameters() for p in (together.member(3), mapped.member(3), alone)), strict=True
    ):
        assert torch.allclose(got, want, rtol=0, atol=1e-9)
        assert torch.allclose(single, want, rtol=0, atol=1e-4)
    assert not torch.allclose(next(mapped.member(3).parameters()), next(mapped.member(1).parameters()))


def test_held_out_errors_are_those_of_the_potential(frames, mapped):
    found, table = cost_weights.held_out_errors(mapped, frames["train"]), errors(mapped, frames["train"])
    for name in ("energy", "force", "stress"):
        assert np.allclose(found[name], table.rmse[name], rtol=1e-9)
    assert np.allclose(found["bias"], table.bias["pressure"], rtol=1e-9)


def test_map_and_records_keep_the_order_of_the_grid(frames):
    p_U, p_W = (1, 100), (0, 1)
    settings = {"members": 2, "epochs": 1, "progress": False}
    grid = cost_weights.cost_map(p_U, p_W, frames, **settings)
    assert {x.shape for x in grid.values()} == {(2, 2, 2)}
    grid["stress"] = np.arange(8.0).reshape(2, 2, 2)
    found = cost_weights.records(p_U, p_W, grid)
    assert found["stress error, EFP"] == {"value": 2.5, "sem": 0.5, "n": 2, "unit": "GPa"}
    assert found["stress error, EF, energy-heavy"]["value"] == 4.5


def test_learning_curve_has_a_row_for_each_size(frames):
    settings = {"members": 1, "epochs": 1, "progress": False}
    curve = cost_weights.learning_curve((1, 2), POINTS, frames, **settings)
    assert {x.shape for x in curve.values()} == {(2, 2, 1)}
    assert not np.array_equal(curve["force"][0], curve["force"][1])
