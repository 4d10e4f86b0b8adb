"""Some replicas taken out of a batch and put back."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from ase.build import bulk

import mlipbook as mb
from mlipbook.dynamics import NPT, State, thermalize
from mlipbook.potentials import LennardJones
from mlipbook.units import fs

TEMPERATURES = [40.0, 50.0, 60.0]


def batch(seed: int, temperatures=TEMPERATURES) -> State:
    """Argon after a few steps of NPT: cells, thermostats and barostat of each replica differ."""
    crystal = mb.Structures.from_ase(bulk("Ar", "fcc", 5.4, cubic=True) * 2)
    start = thermalize(crystal, temperatures, seed)
    simulation = NPT(LennardJones(0.0104, 3.4, 5.2), 5 * fs, temperatures, barostat_time=200 * fs)
    return simulation.run(start, 20, progress=False).state


def tensors(state: State) -> dict[str, torch.Tensor]:
    own = state.structures
    found = {"positions": own.positions, "cells": own.cells, "momenta": state.momenta, **state.extended}
    return found | {field.name: getattr(state.evaluated, field.name) for field in fields(state.evaluated)}


def test_replicas_are_taken_with_all_that_is_theirs():
    state = batch(0)
    some = state.take([2, 0, 2], seeds=[7, 8, 9])
    assert len(some) == 3 and some.seeds == (7, 8, 9) and some.step == state.step
    whole = tensors(state)
    for name, values in tensors(some).items():
        assert torch.equal(values, whole[name][[2, 0, 2]]), name
        assert len(torch.unique(whole[name].reshape(3, -1), dim=0)) == 3, name  # else nothing was checked
    assert state.take(torch.tensor([1])).seeds == (1,)
    torch.testing.assert_close(some.instantaneous_pressure, state.instantaneous_pressure[[2, 0, 2]])


def test_replicas_go_on_alone_as_they_would_in_the_batch():
    state = batch(0)
    simulation = NPT(LennardJones(0.0104, 3.4, 5.2), 5 * fs, 50.0, barostat_time=200 * fs)
    alone = simulation.run(state.take([1]), 20, progress=False).state
    together = simulation.run(state, 20, progress=False).state.take([1])
    torch.testing.assert_close(alone.momenta, together.momenta, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(alone.structures.cells, together.structures.cells, rtol=1e-10, atol=1e-10)


def test_replicas_are_put_back_where_they_belong():
    state, other = batch(0), batch(10, TEMPERATURES[:2])
    whole = state.put([2, 0], other)
    assert whole.seeds == (11, 1, 10)
    before, new = tensors(state), tensors(other)
    for name, values in tensors(whole).items():
        assert torch.equal(values[1], before[name][1]), name
        assert torch.equal(values[[2, 0]], new[name]), name
    torch.testing.assert_close(whole.structures.volumes[[2, 0]], other.structures.volumes)
    back = whole.put([0, 2], state.take([0, 2]))
    assert all(torch.equal(values, before[name]) for name, values in tensors(back).items())
    assert back.seeds == state.seeds


def test_what_was_never_run_begins_with_its_thermostat_at_rest():
    state = batch(0)
    start = thermalize(state.structures, TEMPERATURES, 0)
    whole = state.put([1], start.take([1]))
    assert whole.result is None
    assert all(bool((values[1] == 0).all()) for values in whole.extended.values())
    assert all(torch.equal(x[[0, 2]], state.extended[name][[0, 2]]) for name, x in whole.extended.items())
    assert state.put([1], replace(state, result=None).take([1])).result is None


def test_places_and_replicas_must_be_as_many():
    state = batch(0)
    with pytest.raises(ValueError, match=r"2 replicas for the places \[1\]"):
        state.put([1], state.take([0, 1]))
    with pytest.raises(ValueError, match=r"2 replicas for the places \[1, 1\]"):
        state.put([1, 1], state.take([0, 1]))
