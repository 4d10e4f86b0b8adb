"""Melting on heating, freezing on cooling: do EF-fits and EFP-fits follow their teacher (Fig. 1)?

The teacher (see `teacher`) is fitted to real labels. It heats a crystal and cools a liquid of 128 atoms at
zero pressure, eight replicas of each in one batch; students are trained on snapshots of such ramps and
repeat them. `melting` scores the students against the teacher. The teacher under pressure is a model whose
pressure error is known: it gives the bulk modulus and dT/dP of the causal law. Students of the real labels
themselves hold plateaus.

    python -m mlipbook.studies.hysteresis prepare --folder FOLDER     train teacher and students
    python -m mlipbook.studies.hysteresis run --folder FOLDER         all dynamics: an hour of one core

Both go on where they stopped. `hysteresis_report` makes results/full/hysteresis.json and .npz of it.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.build import bulk

from mlipbook import campaign, datasets, observables
from mlipbook.ann import ANNPotential, load
from mlipbook.dynamics import NPT, Limits, Ramp, State, Trajectory, Unstable, thermalize
from mlipbook.dynamics.trajectory import write_extxyz
from mlipbook.studies import teacher as teaching
from mlipbook.studies.active_learning import by_part
from mlipbook.units import GPa, fs

TIMESTEP = 2.9  # fs
HEATING, COOLING = (280.0, 480.0), (400.0, 200.0)  # K
EVERY, FRAMES = 50, 250  # steps between observations, and between frames for g(r)
SETTLE = 2.0  # ps at the start of a ramp that are left out
EDGES = np.linspace(2.0, 8.0, 61)  # A, bins of g(r)
CLOSEST = 2.3  # A; a pair that is closer was in no label: the replica is lost
LIQUID_Q6 = 0.12  # of labeled frames that start a liquid; some cold ones have begun to crystallize
# Students of the ramps' snapshots alone had met few pairs below 2.7 A and let atoms fall onto each other in
# the liquid at 450 K; hot liquids teach them what repulsion is. All go to training but one.
HOT = (450.0, 500.0, 550.0, 600.0, 650.0, 700.0, 750.0, 800.0)  # K
HOT_PARTS = ("train", "train", "train", "train", "train", "valid", "train", "train")
HOT_STEPS = 1500
LATTICE = 4.27  # A, of the crystal that starts; the barostat finds its own


def per_atom(state: State, quantity: Any) -> torch.Tensor:
    return quantity(state) / state.structures.n_atoms


OBSERVED: dict[str, Callable[[State], torch.Tensor]] = {
    "density": observables.density,  # g/cm^3
    "enthalpy": partial(per_atom, quantity=observables.enthalpy),  # eV/atom, at zero pressure
    "potential energy": partial(per_atom, quantity=observables.potential_energy),  # eV/atom
    "pressure": observables.pressure,  # eV/A^3
    "q6": observables.q6,
    "shortest": observables.shortest_distance,  # A
}


@dataclass(frozen=True)
class Ramps:
    """Heated and cooled replicas of one potential; axes (branch, replica, sample), branches heating, cooling.

    temperature: (2, samples) K, of the thermostat. observed: name -> (2, replicas, samples), see OBSERVED.
    frame_temperature: (2, frames) K. g: (2, replicas, frames, bins) in the bins EDGES. stopped: "", or why
    the run ended early (samples it lacks are nan). Samples of the first SETTLE ps are left out.
    """

    temperature: np.ndarray
    observed: Mapping[str, np.ndarray]
    frame_temperature: np.ndarray
    g: np.ndarray
    stopped: str = ""

    @property
    def lost(self) -> np.ndarray:
        """Replicas that came to have a pair closer than CLOSEST, or no number, (2, replicas)."""
        return np.logical_not((self.observed["shortest"] > CLOSEST).all(axis=-1))


# ---- the dynamics ---------------------------------------------------------------------------------------


def starts(replicas: int) -> list[Atoms]:
    """`replicas` perfect bcc crystals of 128 atoms; as many labeled liquids, the nearest to COOLING in T."""
    labeled = [atoms for atoms in datasets.load("na-gamma") if atoms.info["q6"] < LIQUID_Q6]
    nearest = sorted(labeled, key=lambda atoms: abs(atoms.info["md_temperature_K"] - COOLING[0]))
    crystal = bulk("Na", "bcc", a=LATTICE, cubic=True) * (4, 4, 4)
    return [crystal] * replicas + [nearest[b % len(nearest)] for b in range(replicas)]


def moving(replicas: int, temperature: np.ndarray, seed: int) -> State:
    """The starts with velocities. Perfect crystals get twice the heat: half of it goes into vibrations."""
    twice = np.repeat([2.0, 1.0], replicas)
    return thermalize(starts(replicas), twice * temperature, seed=seed)


def run_ramps(
    potential: ANNPotential,
    rate: float,
    *,
    replicas: int = 8,
    seed: int = 0,
    pressure: float = 0.0,
    store: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> tuple[Trajectory, str]:
    """Heat `replicas` crystals and cool as many liquids at this rate (K/ps) in one batch of isotropic NPT.

    pressure: GPa. The second value is "", or why the run ended early: nothing stops it but numbers that are
    none, atoms on top of each other, and volumes that halve or double; close pairs are observed instead.
    """
    first, last = np.repeat(np.transpose([HEATING, COOLING]), replicas, axis=1)
    steps = ramp_steps(rate)
    schedule = Ramp(first, last, steps)
    simulation = NPT(in_single_precision(potential), TIMESTEP * fs, schedule, pressure * GPa)
    options: dict[str, Any] = {"every": EVERY, "frames": FRAMES, "store": store, "progress": progress}
    try:
        start = moving(replicas, first, seed)
        return simulation.run(start, steps, OBSERVED, limits=Limits(closest=0.0), **options), ""
    except Unstable as stop:
        return stop.trajectory, str(stop)


def ramp_steps(rate: float) -> int:
    """Steps of a ramp at this rate (K/ps), a whole number of intervals between frames."""
    return FRAMES * round((HEATING[1] - HEATING[0]) / rate * 1e3 / TIMESTEP / FRAMES)


def in_single_precision(potential: ANNPotential) -> ANNPotential:
    """A copy with a float32 network, silent about close pairs: the ramps observe the shortest distance."""
    copy = potential.member(0).float()
    copy.shortest = None
    return copy


def ramps_of(trajectory: Trajectory, stopped: str, rate: float) -> Ramps:
    """What `run_ramps` at this rate gave."""
    steps, skip = ramp_steps(rate), SETTLE * 1e3 / TIMESTEP
    T = schedule_of(np.arange(EVERY, steps + 1, EVERY), steps)
    kept = np.arange(EVERY, steps + 1, EVERY) > skip
    T_frames = schedule_of(np.arange(FRAMES, steps + 1, FRAMES), steps)
    kept_frames = np.arange(FRAMES, steps + 1, FRAMES) > skip
    observed = {name: by_branch(trajectory.observed[name].numpy(), len(kept))[..., kept] for name in OBSERVED}
    g = by_branch(pair_distributions(trajectory), len(kept_frames))
    g = np.moveaxis(g, -1, 2)[:, :, kept_frames]
    return Ramps(T[:, kept], observed, T_frames[:, kept_frames], g, stopped)


def schedule_of(step: np.ndarray, steps: int) -> np.ndarray:
    """Temperature of both branches after these steps of a ramp, (2, len(step)) K."""
    return np.array([a + (b - a) * step / steps for a, b in (HEATING, COOLING)])


def by_branch(series: np.ndarray, samples: int) -> np.ndarray:
    """(T, 2 replicas, ...) to (2, replicas, ..., samples); nan where the run ended before."""
    full = np.full((samples, *series.shape[1:]), np.nan)
    full[: len(series)] = series
    return np.moveaxis(full.reshape(samples, 2, -1, *series.shape[2:]), 0, -1)


def pair_distributions(trajectory: Trajectory) -> np.ndarray:
    """g(r) of the frames, (frames, replicas, bins); nan in cells narrower than 2 EDGES[-1]."""
    structures = trajectory.state.structures
    g = np.full((*trajectory.positions.shape[:2], len(EDGES) - 1), np.nan)
    for k, (positions, cells) in enumerate(zip(trajectory.positions, trajectory.cells, strict=True)):
        wide = cells.det() > (2 * EDGES[-1]) ** 3
        if bool(wide.any()):
            frame = type(structures)(positions[wide], cells[wide], structures.species.cpu())
            g[k, wide.numpy()] = observables.pair_distribution(frame, torch.as_tensor(EDGES)).numpy()
    return g


# ---- plateaus -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plateaus:
    """Crystals and liquids at constant temperatures and zero pressure; branches solid, liquid.

    temperature: (2, replicas) K. observed: name -> (2, replicas, samples). g: (2, replicas, bins), averages.
    """

    temperature: np.ndarray
    observed: Mapping[str, np.ndarray]
    g: np.ndarray
    stopped: str = ""


def plateaus(
    potential: ANNPotential,
    solid: Sequence[float],
    liquid: Sequence[float],
    length: float,
    *,
    seed: int = 0,
    store: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Plateaus:
    """A crystal at each temperature of `solid` (K), a liquid at each of `liquid`, `length` ps after SETTLE.

    As many of the one as of the other.
    """
    n, temperature = len(solid), np.array([*solid, *liquid], float)
    steps, settle = (FRAMES * max(1, round(t * 1e3 / TIMESTEP / FRAMES)) for t in (length + SETTLE, SETTLE))
    simulation = NPT(in_single_precision(potential), TIMESTEP * fs, temperature)
    options: dict[str, Any] = {"every": EVERY, "frames": FRAMES, "store": store, "progress": progress}
    stopped = ""
    try:
        start = moving(n, temperature, seed)
        trajectory = simulation.run(start, steps, OBSERVED, limits=Limits(closest=0.0), **options)
    except Unstable as stop:
        trajectory, stopped = stop.trajectory, str(stop)
    observed = {
        name: by_branch(trajectory.observed[name].numpy(), steps // EVERY)[..., settle // EVERY :]
        for name in OBSERVED
    }
    g = by_branch(pair_distributions(trajectory), steps // FRAMES)[..., settle // FRAMES :].mean(-1)
    return Plateaus(temperature.reshape(2, n), observed, g, stopped)


# ---- the study ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """How much of everything. rate, snapshot_rate: K/ps; other_rates: the teacher's, for the rate's effect.

    pressure: GPa, at which the teacher's ramps are repeated. solid, liquid: K, temperatures of the plateaus;
    plateau: ps, their length.
    """

    rate: float = 15.0
    other_rates: tuple[float, ...] = (7.5, 30.0)
    snapshot_rate: float = 25.0
    pressure: float = 0.3
    replicas: int = 8
    seeds: int = 5
    epochs: int = 60
    solid: tuple[float, ...] = (250.0, 300.0, 350.0, 390.0)
    liquid: tuple[float, ...] = (300.0, 350.0, 400.0, 450.0)
    plateau: float = 5.0


def prepare(folder: Path, size: Size) -> None:
    """Train what is missing: the teacher, its students on snapshots of its ramps, students of real labels."""
    options: dict[str, Any] = {"members": size.seeds, "epochs": size.epochs}
    if not (folder / "teacher.npz").exists():
        teaching.train_teacher().save(folder / "teacher.npz")
    if not (folder / "students.npz").exists():
        parts = teacher_snapshots(folder, size)
        teaching.train_students(parts["train"], parts["valid"], **options).save(folder / "students.npz")
    if not (folder / "direct.npz").exists():
        train, valid = (datasets.load("na-gamma", part) for part in ("train", "valid"))
        teaching.train_students(train, valid, **options).save(folder / "direct.npz")


def teacher_snapshots(folder: Path, size: Size) -> dict[str, list[Atoms]]:
    """Part -> labeled frames of ramps of their own and of hot liquids, kept in the folder's snapshots.xyz."""
    file = folder / "snapshots.xyz"
    if not file.exists():
        teacher = load(folder / "teacher.npz")
        options: dict[str, Any] = {"replicas": size.replicas, "seed": 1000, "store": folder / "snapshots"}
        ramps, _ = run_ramps(teacher, size.snapshot_rate, **options)
        q6 = ramps.observed["q6"][FRAMES // EVERY - 1 :: FRAMES // EVERY].numpy()
        hot = hot_liquids(teacher, folder / "hot")
        labeled = teaching.snapshots(teacher, ramps, q6)
        labeled += teaching.snapshots(teacher, hot, np.zeros((len(hot.positions), len(HOT))), HOT_PARTS)
        write_extxyz(file, labeled)
    frames: Any = ase.io.read(file, ":")
    return by_part(frames)


def hot_liquids(teacher: ANNPotential, store: str | os.PathLike[str]) -> Trajectory:
    """A liquid at each temperature of HOT and zero pressure, at the start from near COOLING."""
    first = thermalize(starts(len(HOT))[len(HOT) :], HOT, seed=2000)
    simulation = NPT(in_single_precision(teacher), TIMESTEP * fs, np.array(HOT))
    return simulation.run(
        first, HOT_STEPS, every=EVERY, frames=FRAMES, limits=Limits(closest=0.0), store=store
    )


def model(folder: Path, name: str) -> ANNPotential:
    """By name: teacher; EF 0, EFP 0, ..., its students; direct EF 0, ..., students of real labels."""
    if name == "teacher":
        return load(folder / "teacher.npz")
    *direct, kind, seed = name.split()
    committee = load(folder / ("direct.npz" if direct else "students.npz"))
    return next(p for k, s, p in teaching.each_member(committee) if (k, s) == (kind, int(seed)))


def names(size: Size, prefix: str = "") -> list[str]:
    """Names of students, seed by seed."""
    return [f"{prefix}{kind} {seed}" for seed in range(size.seeds) for kind in teaching.KINDS]


def jobs(size: Size) -> list[dict[str, Any]]:
    """What to run, most important first: teacher, teacher under pressure, students, plateaus, other rates."""
    first = [("teacher", size.rate, p) for p in (0.0, size.pressure)]
    students = [(name, size.rate, 0.0) for name in names(size)]
    rates = [("teacher", rate, 0.0) for rate in size.other_rates]
    ramps = [
        {"model": m, "rate": r, "pressure": p, "replicas": size.replicas}
        for m, r, p in first + students + rates
    ]
    settings = {"solid": list(size.solid), "liquid": list(size.liquid), "length": size.plateau}
    held = [{"model": name, **settings} for name in ("teacher", *names(size, "direct "))]
    return [*ramps[: len(first + students)], *held, *ramps[len(first + students) :]]


def name_of(job: dict[str, Any]) -> str:
    if "rate" in job:
        return "{model}, {rate:g} K per ps, {pressure:g} GPa".format(**job)
    return f"{job['model']}, plateaus"


def perform(job: dict[str, Any], folder: str) -> dict[str, Any]:
    """A campaign's job: Ramps or Plateaus of one model, as a dictionary, and the CPU seconds they took."""
    began = time.process_time()
    potential = model(Path(folder), job["model"])
    options: dict[str, Any] = {"store": Path(folder) / "runs" / name_of(job), "progress": False}
    if "rate" in job:
        rate, settings = job["rate"], {k: job[k] for k in ("pressure", "replicas")}
        found: Any = ramps_of(*run_ramps(potential, rate, **settings, **options), rate)
    else:
        found = plateaus(potential, job["solid"], job["liquid"], job["length"], **options)
    return {"found": vars(found), "seconds": time.process_time() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["prepare", "run"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", nargs="*", help="names of models (default: all)")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True, parents=True)
    torch.set_num_threads(1)
    size = Size()
    if given.command == "prepare":
        return prepare(given.folder, size)
    todo = [job for job in jobs(size) if not given.only or job["model"] in given.only]
    executor = partial(ProcessPoolExecutor, given.workers) if given.workers > 1 else None
    campaign.run(partial(perform, folder=str(given.folder)), todo, executor, given.folder / "done")


if __name__ == "__main__":
    main()
