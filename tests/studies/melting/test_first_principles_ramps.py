"""First-principles ramps go on after a kill to the same bits, keep every label, and end where they should."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import mlipbook as mb
from mlipbook import archive, dynamics
from mlipbook.studies.melting import first_principles as ramps
from mlipbook.studies.melting import first_principles_files, first_principles_plan

SHORT = replace(ramps.heating(1), start="start", length=0.02 * 12, outer=20.0)


class Stand:
    """In the place of first principles: another network, which may be killed."""

    iterations, settings = 1, {"ecut": 1.0}

    def __init__(self, potential, kill_at=None):
        self.potential, self.kill_at, self.calls = potential, kill_at, 0

    def __call__(self, structures):
        if self.calls == self.kill_at:
            raise KeyboardInterrupt
        self.calls += 1
        return self.potential.evaluate(structures)


@pytest.fixture
def folder(tmp_path, monkeypatch, sodium_pair):
    inner, _ = sodium_pair
    monkeypatch.setattr(first_principles_files, "PART", 5)
    inner.save(tmp_path / "inner.npz")
    state = dynamics.thermalize(mb.datasets.load("na-gamma")[0], 340.0)
    ramps.save_state(tmp_path / "starts" / "start.npz", state, {})
    return tmp_path


@pytest.fixture(scope="module")
def sodium_pair():
    def potential(seed):
        descriptor = mb.Chebyshev(
            ("Na",), radial_cutoff=5.0, radial_order=3, angular_cutoff=4.0, angular_order=1
        )
        made = mb.ANNPotential(descriptor, hidden=(4,), seed=seed)
        train = mb.datasets.load("na-gamma", "train")[:8]
        mb.fit(made, train, train[:2], epochs=10, progress=False)
        made.shortest = {}
        return made

    return potential(0), potential(1)


def everything(folder):
    files = sorted((folder / SHORT.name).glob("*.npz"))
    assert [file.name for file in files] == ["checkpoint.npz", "part-0000.npz", "part-0001.npz"]
    return {(file.name, name): x for file in files for name, x in archive.load(file)[0].items()}


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(folder, tmp_path_factory, sodium_pair):
    _, costly = sodium_pair
    ramps.perform(SHORT, folder, Stand(costly))
    whole = everything(folder)
    (folder / SHORT.name).rename(folder / "whole")
    for kill_at in (4, 7):
        with pytest.raises(KeyboardInterrupt):
            ramps.perform(SHORT, folder, Stand(costly, kill_at))
    ramps.perform(SHORT, folder, Stand(costly))
    again = everything(folder)
    assert whole.keys() == again.keys()
    for key in whole:
        if key[1] != "row.seconds":
            assert np.array_equal(whole[key], again[key]), key


def test_a_run_begins_at_its_start_with_forces_of_first_principles(folder, sodium_pair):
    inner, costly = sodium_pair
    start = folder / "starts" / "start.npz"
    state, _, _ = ramps.load_state(start)
    ramps.perform(replace(SHORT, length=0.04), folder, Stand(costly))
    fresh, _ = archive.load(folder / SHORT.name / "checkpoint.npz")
    (folder / SHORT.name).rename(folder / "fresh")
    used = state.updated(step=4000, result=inner.evaluate(state.structures))  # as dynamics leaves it
    ramps.save_state(start, used, {})
    ramps.perform(replace(SHORT, length=0.04), folder, Stand(costly))
    again, _ = archive.load(folder / SHORT.name / "checkpoint.npz")
    assert len(again["row.energy"]) == 2
    assert np.array_equal(again["positions"], fresh["positions"])


def test_every_call_is_a_label_of_its_structure(folder, sodium_pair):
    _, costly = sodium_pair
    ramps.perform(SHORT, folder, Stand(costly))
    part, _ = archive.load(folder / SHORT.name / "part-0001.npz")
    assert part["positions"].shape == (5, 128, 3)
    structures = mb.Structures(
        torch.as_tensor(part["positions"][3:4].astype(float)),
        torch.as_tensor(part["cell"][3:4].astype(float)),
        torch.full((128,), 11),
    )
    result = costly.evaluate(structures)
    assert np.allclose(part["forces"][3], result.forces[0].numpy(), atol=1e-4)
    assert np.allclose(part["stress"][3], result.stress[0].numpy(), atol=1e-6)
    assert np.isclose(part["energy"][3], float(result.energy), atol=1e-3)


def test_a_folder_of_another_run_is_refused(folder, sodium_pair, monkeypatch):
    _, costly = sodium_pair
    with pytest.raises(KeyboardInterrupt):
        ramps.perform(SHORT, folder, Stand(costly, 3))
    other = Stand(costly)
    other.settings = {"ecut": 2.0}
    start = folder / "starts" / "start.npz"
    state, _, _ = ramps.load_state(start)
    bits = start.read_bytes()

    def refused(what, run=SHORT, forces=None):
        with pytest.raises(ValueError, match=rf"its {what} is .*move the folder away"):
            ramps.perform(run, folder, forces or Stand(costly))

    refused("last", replace(SHORT, last=480.0))
    refused("first_principles", forces=other)
    ramps.save_state(start, state.updated(momenta=state.momenta.nextafter(torch.ones(()))), {})
    refused("begins")
    start.write_bytes(bits)
    monkeypatch.setitem(ramps.SETTINGS, "barostat", 400.0)
    refused("barostat")
    monkeypatch.undo()


def test_a_checkpoint_tells_where_it_comes_from(folder, sodium_pair):
    _, costly = sodium_pair
    ramps.perform(replace(SHORT, length=0.02), folder, Stand(costly))
    _, metadata = archive.load(folder / SHORT.name / "checkpoint.npz")
    assert {"commit", "versions", "date", "seconds"} <= metadata["provenance"].keys()


def test_a_heated_crystal_ends_three_picoseconds_after_it_melted():
    outer, run = 20.0, ramps.heating(1)
    crystal, liquid = np.full(400, 0.45), np.full(150, 0.05)
    assert not ramps.done(run, outer, 400, crystal)
    assert not ramps.done(run, outer, 549, np.concatenate([crystal, liquid[1:]]))
    assert ramps.done(run, outer, 550, np.concatenate([crystal, liquid]))
    assert not ramps.done(run, outer, 551, np.concatenate([crystal, liquid, [0.3]]))
    assert ramps.done(run, outer, 929, np.full(929, 0.45))
    assert not ramps.done(ramps.cooling(1), outer, 550, np.full(550, 0.05))


def test_the_outer_step_is_the_longest_whose_invariant_stays_level(tmp_path, monkeypatch):
    level = {
        "nve-30fs": (0.05, 0.2),
        "npt-30fs": (0.05, 0.0),
        "nve-20fs": (0.02, 0.05),
        "npt-20fs": (0.02, 0.0),
    }
    monkeypatch.setattr(first_principles_plan, "level", lambda folder, name: level.get(name))
    assert ramps.outer_step(tmp_path) == 20.0
    level["nve-30fs"] = (0.05, -0.09)
    assert ramps.outer_step(tmp_path) == 30.0
    level["npt-30fs"] = None
    assert ramps.outer_step(tmp_path) == 20.0
