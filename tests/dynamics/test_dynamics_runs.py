"""Running molecular dynamics: batches, schedules, lists, resuming after a kill, and clear stops."""

import math
import os
import random
import resource
import signal
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from threading import RLock

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import read
from tqdm import tqdm

from mlipbook import archive, dynamics, neighbors, observables
from mlipbook.dynamics import trajectory
from mlipbook.potentials import Base, Evaluation, LennardJones, Wrapper
from mlipbook.units import fs, kB

ARGON = LennardJones(0.0104, 3.4, 4.6)
CRYSTAL = bulk("Ar", "fcc", a=5.5, cubic=True) * (2, 2, 2)
BAR = 6.2e-7  # eV/A^3

# A process forked from one with threads may hang; a fork server has none.
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["mlipbook.dynamics"])


def simulation(name: str, T=60.0, P=100 * BAR) -> dynamics.Simulation:
    return {
        "NVE": lambda: dynamics.NVE(ARGON, 5 * fs),
        "NVT": lambda: dynamics.NVT(ARGON, 5 * fs, T),
        "Langevin": lambda: dynamics.Langevin(ARGON, 5 * fs, T),
        "NPT": lambda: dynamics.NPT(ARGON, 5 * fs, T, P),
    }[name]()


def temperature(state):
    return state.temperature


def volume(state):
    return state.volume


def same(a: dynamics.State, b: dynamics.State, **tolerance: float) -> None:
    """The two states agree, to the last bit if no tolerance is given."""
    tolerance = tolerance or {"rtol": 0, "atol": 0}
    assert a.step == b.step and a.seeds == b.seeds and a.degrees_of_freedom == b.degrees_of_freedom
    torch.testing.assert_close(a.structures.positions, b.structures.positions, **tolerance)
    torch.testing.assert_close(a.structures.cells, b.structures.cells, **tolerance)
    torch.testing.assert_close(a.momenta, b.momenta, **tolerance)
    assert a.extended.keys() == b.extended.keys()
    for name in a.extended:
        torch.testing.assert_close(a.extended[name], b.extended[name], **tolerance)


# ---- batches, schedules, observations ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["NVE", "NVT", "Langevin", "NPT"])
def test_replicas_of_a_batch_are_single_runs(name):
    """Of their own temperatures, pressures and seeds."""
    T, P = [30.0, 60.0, 90.0], [0.0, 200 * BAR, 900 * BAR]
    together = simulation(name, T, P).run(
        dynamics.thermalize(CRYSTAL, T, seed=4), 100, {"volume": volume}, progress=False
    )
    for b in range(3):
        start = dynamics.thermalize(CRYSTAL, [T[b]], seed=4 + b)
        alone = simulation(name, T[b], P[b]).run(start, 100, {"volume": volume}, progress=False)
        for key, series in alone.observed.items():
            torch.testing.assert_close(together.observed[key][:, b : b + 1], series, rtol=0, atol=1e-9)
        ours, theirs = together.state.structures, alone.state.structures
        torch.testing.assert_close(ours.positions[b : b + 1], theirs.positions, rtol=0, atol=1e-9)
        torch.testing.assert_close(ours.cells[b : b + 1], theirs.cells, rtol=0, atol=1e-9)
    positions = together.state.structures.positions
    assert float((positions[0] - positions[1]).abs().max()) > 0.1  # replicas are not copies


class Notes:
    """A method that does nothing and notes what it is told."""

    def __init__(self):
        self.seen = []

    def begin(self, state, kT):
        return state

    def step(self, state, forces, timestep, kT, pressure):
        self.seen.append((state.step, kT / kB, pressure))
        return replace(state, step=state.step + 1)

    def invariant(self, state, kT, pressure):
        return torch.as_tensor(kT)


def test_ramps_set_temperature_and_pressure_at_each_step_and_stay():
    notes = Notes()
    T = dynamics.Ramp(100.0, torch.tensor([200.0, 50.0]), 20)
    ramped = dynamics.Simulation(ARGON, notes, 5 * fs, T, dynamics.Ramp(0.0, 0.1, 10))
    start = replace(dynamics.thermalize(CRYSTAL, [100.0] * 2), step=7)  # ramps count from the start of a run
    ramped.run(start, 30, progress=False)
    assert [step for step, *_ in notes.seen] == list(range(7, 37))
    ends = np.array([200.0, 50.0])
    for n, (_, given, pressure) in enumerate(notes.seen):
        np.testing.assert_allclose(given, 100 + (ends - 100) * min(n / 20, 1))
        np.testing.assert_allclose(pressure, [0.1 * min(n / 10, 1)] * 2)


def test_kinetic_temperature_follows_a_ramp():
    """Friction that forgets all momenta within a step: each step's temperature is the one that was set."""
    start = dynamics.thermalize(CRYSTAL, [100.0] * 16, seed=2)
    ramp = dynamics.Ramp(20.0, 80.0, 200)
    langevin = dynamics.Langevin(ARGON, 2 * fs, ramp, friction_time=0.2 * fs)
    observed = langevin.run(start, 200, {"temperature": temperature}, every=1, progress=False).observed
    asked = torch.tensor([float(ramp(n)) for n in range(200)], dtype=torch.float64)
    ratio = (observed["temperature"] / asked[:, None]).tensor_split(4)
    for quarter in ratio:
        error = float(quarter.std()) / math.sqrt(quarter.numel())
        assert error < 0.006
        assert abs(float(quarter.mean()) - 1) < 4 * error


def test_observations_and_frames_come_at_their_times():
    start = dynamics.thermalize(CRYSTAL, [60.0] * 3, seed=1)
    trajectory = simulation("NPT").run(start, 50, {"volume": volume}, every=10, frames=25, progress=False)
    torch.testing.assert_close(trajectory.time, torch.arange(10, 60, 10).double() * 5 * fs)
    torch.testing.assert_close(trajectory.frame_time, torch.tensor([25.0, 50.0]).double() * 5 * fs)
    assert trajectory.observed["volume"].shape == trajectory.observed["invariant"].shape == (5, 3)
    assert trajectory.positions.shape == (2, 3, 32, 3) and trajectory.cells.shape == (2, 3, 3, 3)
    assert torch.equal(trajectory.positions[-1], trajectory.state.structures.positions)
    assert torch.equal(trajectory.observed["volume"][-1], trajectory.state.volume)
    frames = trajectory.atoms(replica=1)
    assert len(frames) == 2 and frames[1].get_chemical_formula() == "Ar32"
    np.testing.assert_array_equal(frames[1].positions, trajectory.positions[1, 1])
    np.testing.assert_array_equal(frames[1].cell.array, trajectory.cells[1, 1])


@pytest.mark.parametrize("name", ["NVT", "Langevin", "NPT"])
def test_a_run_goes_on_from_its_last_state(name):
    start = dynamics.thermalize(CRYSTAL, [60.0] * 2, seed=1)
    md = simulation(name)
    once = md.run(start, 60, progress=False).state
    twice = md.run(md.run(start, 25, progress=False).state, 35, progress=False).state
    same(once, twice, rtol=0, atol=1e-10)


class FreshLists(Wrapper):
    """A potential that trusts no neighbor list."""

    def evaluate(self, structures, definition="I", edges=None):
        return self.potential.evaluate(structures, definition)


def test_kept_neighbor_lists_give_the_trajectory_of_fresh_ones(monkeypatch):
    """In a liquid whose box breathes, where atoms travel farther than the lists reach."""
    monkeypatch.setenv("MLIPBOOK_FAST", "off")  # in C, pair potentials of few atoms look at no list
    builds, build = [], neighbors.build
    monkeypatch.setattr(neighbors, "build", lambda *arguments: builds.append(1) or build(*arguments))
    hot = bulk("Ar", "fcc", a=6.0, cubic=True) * (2, 2, 2)
    start = dynamics.thermalize(hot, [400.0] * 2, seed=1)
    ends, counts = [], []
    for potential in (ARGON, FreshLists(ARGON)):
        builds.clear()
        md = dynamics.NPT(potential, 4 * fs, 400.0, 3000 * BAR, barostat_time=200 * fs)
        ends.append(md.run(start, 250, progress=False).state)
        counts.append(len(builds))
    travelled = (ends[0].structures.positions - start.structures.positions).norm(dim=-1)
    assert float(travelled.max()) > 2 and counts[0] < 25 < 250 <= counts[1]
    same(*ends, rtol=0, atol=1e-7)


# ---- stores ------------------------------------------------------------------------------------------


def stored_run(folder, observable=volume) -> dynamics.Trajectory:
    start = dynamics.thermalize(CRYSTAL, [60.0, 90.0], seed=21)
    md = dynamics.Langevin(ARGON, 5 * fs, dynamics.Ramp(60.0, 90.0, 240))
    return md.run(start, 240, {"volume": observable}, 4, frames=20, store=folder, chunk=10, progress=False)


def stored_run_in_a_child(folder) -> None:
    tqdm.set_lock(
        RLock()
    )  # its default one is a semaphore of the system, which a killed process leaves behind
    stored_run(folder)


def identical(a: dynamics.Trajectory, b: dynamics.Trajectory) -> None:
    same(a.state, b.state)
    for name in ("time", "frame_time", "positions", "cells"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert a.observed.keys() == b.observed.keys()
    for name, series in a.observed.items():
        assert torch.equal(series, b.observed[name]), name
    assert a.times.keys() == b.times.keys() and all(torch.equal(x, b.times[k]) for k, x in a.times.items())


def kept(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("part-*.npz")}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> dynamics.Trajectory:
    return stored_run(tmp_path_factory.mktemp("uninterrupted"))


@pytest.mark.slow
def test_run_killed_at_random_moments_ends_bit_identical(tmp_path, uninterrupted):
    moments = random.Random(0)
    for parts in (6, 12):
        child = CONTEXT.Process(target=stored_run_in_a_child, args=(tmp_path,))
        child.start()
        while len(list(tmp_path.glob("part-*.npz"))) < parts and child.is_alive():
            time.sleep(0.001)
        time.sleep(0.02 * moments.random())
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert child.exitcode == -signal.SIGKILL, "the run ended before it was killed"
    before = kept(tmp_path)
    assert 12 <= len(before) < 24
    resumed = stored_run(tmp_path)
    assert before.items() <= kept(tmp_path).items()  # what was there is kept as it was
    assert resumed.state.step == 240 and len(resumed.time) == 60
    identical(resumed, uninterrupted)
    again = stored_run(tmp_path)  # nothing left to do: it is read
    identical(again, uninterrupted)
    assert torch.equal(again.state.potential_energy, uninterrupted.state.potential_energy)


@pytest.mark.parametrize("ensemble", ["NVE", "NVT", "Langevin", "NPT"])
@pytest.mark.parametrize("replicas", [1, 2])
def test_a_finished_store_reads_back_to_the_same_bits_in_every_field(tmp_path, ensemble, replicas):
    start, md = dynamics.thermalize(CRYSTAL, [60.0, 90.0][:replicas], seed=5), simulation(ensemble)
    ran, read = (md.run(start, 90, store=tmp_path, chunk=40, progress=False) for _ in range(2))
    identical(ran, read)
    for name in ("energies", "forces", "virials", "volumes"):
        assert torch.equal(getattr(ran.state.evaluated, name), getattr(read.state.evaluated, name)), name
    assert np.array_equal(ran.state.two_K_host, read.state.two_K_host)
    for name in ("volume", "instantaneous_pressure", "pressure_tensor", "temperature"):
        assert torch.equal(getattr(ran.state, name), getattr(read.state, name)), name


def test_a_store_in_use_is_refused_and_free_again_after_a_kill(tmp_path, uninterrupted):
    child = CONTEXT.Process(target=stored_run_in_a_child, args=(tmp_path,))
    child.start()
    while not list(tmp_path.glob("part-*")):
        assert child.is_alive()
        time.sleep(0.001)
    with pytest.raises(archive.InUse, match=f"in use by process {child.pid} on "):
        stored_run(tmp_path)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    identical(stored_run(tmp_path), uninterrupted)
    assert {path.name for path in tmp_path.iterdir()} == {f"part-{i:05d}.npz" for i in range(24)}


def test_a_part_with_odd_metadata_is_damaged(tmp_path):
    stored_run(tmp_path)
    path = tmp_path / "part-00023.npz"
    arrays, metadata = archive.load(path)
    odd = [("identity", None), ("seeds", 3), ("step", "x"), ("degrees_of_freedom", None), ("step", None)]
    for name, value in odd:
        archive.save(path, arrays, {**metadata, name: value})
        with pytest.raises(archive.Damaged, match="part-00023.npz: not a part of a trajectory"):
            stored_run(tmp_path)
    for name in [name for name in arrays if not name.startswith("observed.")]:
        archive.save(path, {key: x for key, x in arrays.items() if key != name}, metadata)
        with pytest.raises(archive.Damaged, match="part-00023.npz: not a part of a trajectory"):
            stored_run(tmp_path)


@contextmanager
def file_size_limit():
    """Lets a size be set beyond which the kernel refuses to let files grow, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield hard
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_disk_that_fills_up_gives_a_clear_error_and_loses_nothing(tmp_path, uninterrupted, monkeypatch):
    look = trajectory.Recorder.look

    def filling(recorder, state):
        if state.step == 60:
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
        look(recorder, state)

    monkeypatch.setattr(trajectory.Recorder, "look", filling)
    with (
        file_size_limit() as hard,
        pytest.raises(OSError, match="part-00005.npz cannot be written.*make the same call again"),
    ):
        stored_run(tmp_path)
    monkeypatch.undo()
    before = kept(tmp_path)
    assert len(before) == 5 and not list(tmp_path.glob("*.tmp"))
    identical(stored_run(tmp_path), uninterrupted)
    assert before.items() <= kept(tmp_path).items()


def test_folder_that_cannot_be_written_is_an_error_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match=r"file.*cannot be written"):
        stored_run(tmp_path / "file" / "run", lambda state: pytest.fail("a step was made"))


def test_folder_of_another_run_is_refused_and_left_alone(tmp_path):
    start, first = dynamics.thermalize(CRYSTAL, [60.0] * 2, seed=1), simulation("NPT")

    def run(md=first, start=start, steps=20, observe=None, every=10):
        md.run(start, steps, observe, every, store=tmp_path, chunk=10, progress=False)

    run()
    before = kept(tmp_path)
    others = {
        "integrator": {"md": replace(first, timestep=4 * fs)},
        "integrator is Mar.*not Nose": {"md": simulation("NVT")},
        "temperature": {
            "md": replace(first, temperature=torch.tensor([60.0, 60.00001], dtype=torch.float64))
        },
        "pressure": {"md": replace(first, outer_pressure=99 * BAR)},
        "potential": {"md": replace(first, potential=LennardJones(0.0105, 3.4, 4.6))},
        "start": {"start": dynamics.thermalize(CRYSTAL, [60.0] * 2, seed=2)},
        "every": {"every": 5},
        "observed": {"observe": {"volume": volume}},
        "observed is": {"observe": {"volume": dynamics.Every(5, volume)}},
        "holds steps up to 20": {"steps": 10},
    }
    for what, changes in others.items():
        with pytest.raises(ValueError, match=what):
            run(**changes)
    assert kept(tmp_path) == before


@pytest.mark.parametrize(
    "other",
    [
        dynamics.State.instantaneous_pressure.fget,
        lambda state: state.volume + 1e-9,
        lambda state: state.volume,
    ],
)
def test_another_observable_under_the_same_name_is_refused(tmp_path, other):
    stored_run(tmp_path)
    with pytest.raises(
        ValueError, match=r"whose observed is volume volume \[\w+\], not volume .* \[\w+\]; give"
    ):
        stored_run(tmp_path, other)


def test_one_replica_of_many_that_starts_a_bit_elsewhere_is_another_run(tmp_path):
    start, md = dynamics.thermalize(CRYSTAL, np.full(40, 60.0), seed=1), simulation("NVE")
    md.run(start, 2, every=2, store=tmp_path, progress=False)
    momenta = start.momenta.clone()
    momenta[20, 16, 1] = np.nextafter(float(momenta[20, 16, 1]), 9.0)
    with pytest.raises(ValueError, match="of something else, whose start is 40 of 32 atoms"):
        md.run(replace(start, momenta=momenta), 2, every=2, store=tmp_path, progress=False)


def test_a_store_of_an_older_version_is_refused_in_words(tmp_path):
    stored_run(tmp_path)
    path = tmp_path / "part-00000.npz"
    arrays, metadata = archive.load(path)
    archive.save(path, arrays, {**metadata, "version": 2, "identity": {"start": "a hash"}})
    with pytest.raises(ValueError, match="part-00000.npz: of an older version, .*; give another folder"):
        stored_run(tmp_path)


def test_parts_beyond_99999_come_last(tmp_path, monkeypatch):
    monkeypatch.setattr("mlipbook.dynamics.store.name_of", lambda number: f"part-{number + 99998:05d}.npz")
    stored_run(tmp_path)
    assert (tmp_path / "part-100000.npz").exists()
    identical(stored_run(tmp_path), stored_run(tmp_path / "another"))


def test_missing_part_is_named(tmp_path):
    stored_run(tmp_path)
    (tmp_path / "part-00003.npz").unlink()
    with pytest.raises(ValueError, match="part-00003.npz is missing"):
        stored_run(tmp_path)


# ---- stops -------------------------------------------------------------------------------------------


class Failing(Base):
    """Lennard-Jones until atom 5 of replica 1 has gone 0.1 A; its forces are not a number from there on."""

    cutoff = 4.6

    def evaluate(self, structures, definition="I", edges=None):
        result = ARGON.evaluate(structures, definition, edges)
        gone = float((structures.positions[1, 5] - torch.as_tensor(CRYSTAL.positions[5])).norm()) > 0.1
        result.forces[1, 5] += math.nan if gone else 0.0
        return result


class Committee(Base):
    """Two members that disagree the more, the closer atoms are."""

    cutoff, members = 4.6, 2

    def evaluate(self, structures, definition="I", edges=None):
        a, b = (LennardJones(e, 3.4, 4.6).evaluate(structures, definition, edges) for e in (0.0104, 0.0120))
        pairs = (torch.stack([getattr(a, x), getattr(b, x)]) for x in ("energies", "forces", "virials"))
        return Evaluation(*pairs, a.volumes)


def stop_cases():
    hot = dynamics.thermalize(CRYSTAL, [30.0, 3000.0], seed=3)
    cold = dynamics.thermalize(CRYSTAL, [30.0, 31.0], seed=3)
    burst = dynamics.NPT(ARGON, 2 * fs, [30.0, 3000.0], 0.0, barostat_time=50 * fs)
    return {
        "NaN": (dynamics.NVE(Failing(), 5 * fs), cold, dynamics.Limits(), "nan"),
        "too close": (dynamics.NVE(ARGON, 2 * fs), hot, dynamics.Limits(closest=3.0), "shortest distance"),
        "volume": (burst, hot, dynamics.Limits(), "volume"),
        "spread": (dynamics.NVE(Committee(), 2 * fs), hot, dynamics.Limits(spread=0.1), "spread"),
    }


@pytest.mark.parametrize("case", ["NaN", "too close", "volume", "spread"])
def test_broken_run_stops_with_its_last_good_state(case, tmp_path):
    """The error names step, replica and reason; its state is that of the same run without limits."""
    md, start, limits, reason = stop_cases()[case]
    with pytest.raises(dynamics.Unstable, match=rf"step \d+.* 1[:,].*{reason}") as stop:
        md.run(start, 200, every=2, store=tmp_path, chunk=10, limits=limits, progress=False)
    good, bad = stop.value.state, int(str(stop.value).split()[1].strip(",:"))
    assert 0 < bad - 2 <= good.step < bad and len(stop.value.trajectory.time) == good.step // 2
    md, start, *_ = stop_cases()[case]
    again = md.run(start, good.step, limits=dynamics.Limits(0.0, (0.0, math.inf)), progress=False)
    same(again.state, good, rtol=0, atol=1e-10)
    saved = dynamics.thermalize(read(tmp_path / "last-good.extxyz", ":"), 0.0).structures
    torch.testing.assert_close(saved.positions, good.structures.positions, rtol=0, atol=1e-7)
    torch.testing.assert_close(saved.cells, good.structures.cells, rtol=0, atol=1e-7)


@pytest.mark.parametrize("replicas", [1, 2])
def test_thermostats_that_explode_stop_a_run_as_unstable(replicas):
    """Numbers of a single replica are floats, whose powers overflow with an error of their own."""
    start = dynamics.thermalize(CRYSTAL, [60.0] * replicas, seed=1)
    rates = torch.full((replicas, 2, 3), -1e6, dtype=torch.float64)
    with pytest.raises(dynamics.Unstable), np.errstate(all="ignore"):
        simulation("NPT").run(replace(start, extended={"v_xi": rates}), 20, progress=False)


def test_atoms_on_top_of_each_other_stop_a_run_as_unstable():
    """What the neighbor list refuses in the middle of a step, too, names the replica."""
    start = dynamics.thermalize(CRYSTAL, [30.0] * 2, seed=3)
    wild = replace(start, momenta=start.momenta * torch.tensor([1.0, 1e200]).view(2, 1, 1))
    with pytest.raises(dynamics.Unstable, match="step 1.*(structure|replica) 1") as stop:
        dynamics.NVE(ARGON, 5 * fs).run(wild, 10, progress=False)
    assert torch.equal(stop.value.state.structures.positions, start.structures.positions)


@pytest.mark.parametrize(
    "mistake, message",
    [
        (lambda start: dynamics.NVE(ARGON, 0.0), "timestep 0.0.*positive"),
        (lambda start: dynamics.NVT(ARGON, 1.0, 60.0, thermostat_time=-1.0), "thermostat_time -1.0"),
        (lambda start: dynamics.NVT(ARGON, 1.0, 0.0).run(start, 1), "thermostats need positive"),
        (
            lambda start: dynamics.NVT(ARGON, 1.0, [60.0] * 3).run(start, 1),
            "temperature of shape.*2 replicas",
        ),
        (lambda start: dynamics.NPT(ARGON, 1.0, 60.0, math.nan).run(start, 1), "pressure.*not finite"),
        (lambda start: dynamics.NVE(ARGON, 1.0).run(start, 0), "steps 0.*1 or more"),
        (lambda start: dynamics.NVE(ARGON, 1.0).run(start, 5, {"V": volume}), "every 10: give at most the 5"),
        (lambda start: dynamics.NVE(ARGON, 1.0).run(start, 50, {"invariant": volume}), "always there"),
        (lambda start: dynamics.thermalize(CRYSTAL, -1.0), "negative temperature"),
        (lambda start: dynamics.thermalize(start.structures, [60.0] * 3), "temperature of shape.*2 replicas"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(mistake, message):
    start = dynamics.thermalize(CRYSTAL, [60.0] * 2)
    with pytest.raises(ValueError, match=message):
        mistake(start)


def test_observables_in_a_list_have_no_names():
    start = dynamics.thermalize(CRYSTAL, 60.0)
    with pytest.raises(TypeError, match="observe .*: give functions by name"):
        dynamics.NVE(ARGON, 1.0).run(start, 20, [volume])


def test_observables_may_give_numbers_of_python_and_numpy():
    observe = {"float": lambda s: float(s.volume), "numpy": lambda s: s.volume.numpy(), "tensor": volume}
    start = dynamics.thermalize(CRYSTAL, 60.0)
    seen = dynamics.NVE(ARGON, 1.0 * fs).run(start, 20, observe, progress=False).observed
    assert torch.equal(seen["float"][:, None], seen["tensor"]) and torch.equal(seen["numpy"], seen["tensor"])


def test_constant_pressure_refuses_a_cluster():
    cluster = Atoms("Ar2", [[0, 0, 0], [0, 0, 3.8]])
    with pytest.raises(ValueError, match="NPT needs structures periodic in all directions"):
        dynamics.NPT(ARGON, 5 * fs, 60.0).run(dynamics.thermalize(cluster, 60.0), 1, progress=False)


# ---- shapes of systems -------------------------------------------------------------------------------


def test_clusters_run_and_have_no_pressure():
    cluster = Atoms("Ar3", positions=[[0, 0, 0], [3.8, 0, 0], [1.9, 3.3, 0]])
    trajectory = dynamics.NVE(ARGON, 2 * fs).run(dynamics.thermalize(cluster, 10.0), 20, progress=False)
    assert len(trajectory.time) == 2
    with pytest.raises(ValueError, match="no volume, and no density"):
        observables.density(trajectory.state)
    with pytest.raises(ValueError, match="no volume"):
        _ = trajectory.state.instantaneous_pressure


def test_observables_have_intervals_of_their_own(tmp_path):
    """Also across parts that hold none of them, and read back; what stands at both intervals is the same."""
    start, md = dynamics.thermalize(CRYSTAL, [60.0, 70.0], seed=1), simulation("NPT")
    observe = {"volume": volume, "seldom": dynamics.Every(25, volume), "often": dynamics.Every(2, volume)}
    run = partial(md.run, start, 100, observe, 5, store=tmp_path, chunk=20, progress=False)
    found, read = run(), run()
    identical(found, read)
    assert {name: len(series) for name, series in found.observed.items()} == {
        **{"volume": 20, "invariant": 20, "seldom": 4, "often": 50}
    }
    assert set(found.times) == {"seldom", "often"}
    timestep = md.timestep
    torch.testing.assert_close(found.times["seldom"], 25 * timestep * torch.arange(1.0, 5).double())
    torch.testing.assert_close(found.times["often"], 2 * timestep * torch.arange(1.0, 51).double())
    assert torch.equal(found.observed["seldom"], found.observed["volume"][4::5])
    assert torch.equal(found.observed["often"][4::5], found.observed["volume"][1::2])
    with pytest.raises(ValueError, match="steps from one observation to the next"):
        dynamics.Every(0, volume)


def test_what_is_seen_more_often_ends_with_the_last_good_state_too():
    simulation, start, limits, _ = stop_cases()["too close"]
    observe = {"volume": dynamics.Every(1, volume)}
    with pytest.raises(dynamics.Unstable) as stop:
        simulation.run(start, 400, observe, every=10, limits=limits, progress=False)
    found = stop.value.trajectory
    assert len(found.observed["volume"]) == len(found.times["volume"]) == found.state.step


def test_a_stopped_trajectory_ends_with_its_last_good_state():
    simulation, start, limits, _ = stop_cases()["too close"]
    with pytest.raises(dynamics.Unstable) as stop:
        simulation.run(start, 400, every=10, frames=1, limits=limits, progress=False)
    found = stop.value.trajectory
    assert len(found.frame_time) == found.state.step == 10 * len(found.time)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: dynamics.NVT(ARGON, fs, 60.0, chain=0), "chain 0"),
        (lambda: dynamics.Ramp(60.0, 70.0, 0), "steps 0"),
        (lambda: dynamics.thermalize(CRYSTAL, 60.0, seed=-1), "seed -1"),
        (lambda: small_run(dynamics.NVE(ARGON, fs), limits=dynamics.Limits(spread=0.1)), "committee"),
    ],
)
def test_settings_that_mean_nothing_are_refused(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()


def small_run(simulation, **options):
    return simulation.run(dynamics.thermalize(CRYSTAL, 60.0), 10, progress=False, **options)
