"""Melting on heating, freezing on cooling: do EF-fits and EFP-fits follow their teacher (Fig. 1)?

The teacher (see `teacher`) is fitted to real labels. It heats a crystal and cools a liquid of 128 atoms at
zero pressure, eight replicas of each in one batch; students are trained on snapshots of such ramps and
repeat them. `comparison` scores the students against the teacher. The teacher under pressure is a model whose
pressure error is known: it gives the bulk modulus and dT/dP of the causal law. Students of the real labels
themselves hold plateaus.

    python -m mlipbook study melting.runs prepare --folder FOLDER    # train teacher and students
    python -m mlipbook study melting.runs run --folder FOLDER        # all dynamics: an hour of one core

Both go on where they stopped. `melting.report` makes results/full/hysteresis.json and .npz of it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms

from mlipbook import campaign, datasets
from mlipbook.archive import identity, made
from mlipbook.dynamics import NPT, Limits, Trajectory, thermalize
from mlipbook.dynamics.trajectory import write_extxyz
from mlipbook.potentials.ann import ANNPotential, load
from mlipbook.studies.command import command
from mlipbook.studies.melting import ramps
from mlipbook.studies.melting import teacher as teaching
from mlipbook.studies.sodium import by_part, liquids
from mlipbook.studies.stress.kinds import train_kinds
from mlipbook.units import fs

# Students of the ramps' snapshots alone had met few pairs below 2.7 A and let atoms fall onto each other in
# the liquid at 450 K; hot liquids teach them what repulsion is. All go to training but one.
HOT = (450.0, 500.0, 550.0, 600.0, 650.0, 700.0, 750.0, 800.0)  # K
HOT_PARTS = ("train", "train", "train", "train", "train", "valid", "train", "train")
HOT_STEPS = 1500


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


def learned_from(folder: Path, size: Size) -> dict[str, Any]:
    """What the students' snapshots are made of."""
    return {"teacher": load(folder / "teacher.npz"), "rate": size.snapshot_rate, "replicas": size.replicas}


def teacher_snapshots(folder: Path, size: Size) -> dict[str, list[Atoms]]:
    """Part -> labeled frames of ramps of their own and of hot liquids, kept in the folder's snapshots.xyz."""
    file, of = folder / "snapshots.xyz", learned_from(folder, size)
    if not made(file, **of):
        teacher, options = of["teacher"], {"replicas": size.replicas, "seed": 1000}
        heated, _ = ramps.run_ramps(teacher, size.snapshot_rate, **options, store=folder / "snapshots")
        q6 = heated.observed["q6"][ramps.FRAMES // ramps.EVERY - 1 :: ramps.FRAMES // ramps.EVERY].numpy()
        hot = hot_liquids(teacher, folder / "hot")
        labeled = teaching.snapshots(teacher, heated, q6)
        molten = np.zeros((len(hot.positions), len(HOT)))
        labeled += teaching.snapshots(teacher, hot, molten, HOT_PARTS)
        write_extxyz(file, labeled)
    frames: Any = ase.io.read(file, ":")
    return by_part(frames)


def hot_liquids(teacher: ANNPotential, store: Path) -> Trajectory:
    """A liquid at each temperature of HOT and zero pressure, at the start from near COOLING."""
    first = thermalize(liquids(ramps.COOLING[0], len(HOT)), HOT, seed=2000)
    simulation = NPT(ramps.in_single_precision(teacher), ramps.TIMESTEP * fs, np.array(HOT))
    options: dict[str, Any] = {"limits": Limits(closest=0.0), "store": store}
    return simulation.run(first, HOT_STEPS, every=ramps.EVERY, frames=ramps.FRAMES, **options)


def model(folder: Path, name: str) -> ANNPotential:
    """By name: teacher; EF 0, EFP 0, ..., its students; direct EF 0, ..., students of real labels."""
    if name == "teacher":
        return load(folder / "teacher.npz")
    *direct, kind, seed = name.split()
    committee = load(folder / ("direct.npz" if direct else "students.npz"))
    return next(p for k, s, p in teaching.each_member(committee) if (k, s) == (kind, int(seed)))


def jobs(size: Size) -> list[dict[str, Any]]:
    """What to run, most important first: teacher, teacher under pressure, students, plateaus, other rates."""
    names = [f"{kind} {seed}" for seed in range(size.seeds) for kind in teaching.KINDS]

    def ramp(name: str, rate: float = size.rate, pressure: float = 0.0) -> dict[str, Any]:
        return {"model": name, "rate": rate, "pressure": pressure, "replicas": size.replicas}

    first = [ramp("teacher"), ramp("teacher", pressure=size.pressure), *map(ramp, names)]
    settings = {"solid": list(size.solid), "liquid": list(size.liquid), "length": size.plateau}
    held = [{"model": name, **settings} for name in ("teacher", *(f"direct {name}" for name in names))]
    return [*first, *held, *(ramp("teacher", rate) for rate in size.other_rates)]


def name_of(job: dict[str, Any]) -> str:
    ramp = "{model}, {rate:g} K per ps, {pressure:g} GPa" if "rate" in job else "{model}, plateaus"
    return ramp.format(**job)


def perform(job: dict[str, Any], folder: str) -> dict[str, Any]:
    """A campaign's job: Ramps or Plateaus of one model, as a dictionary, and the CPU seconds they took. The
    job's "potential" is the identity of its model: results of another one are not taken for its own."""
    began = time.process_time()
    given = {name: x for name, x in job.items() if name not in ("model", "potential")}
    store = Path(folder) / "runs" / f"{name_of(job)}, {job['potential'][:12]}"
    options: dict[str, Any] = {**given, "store": store, "progress": False}
    potential = model(Path(folder), job["model"])
    if "rate" in job:
        found: Any = ramps.ramps_of(*ramps.run_ramps(potential, **options), job["rate"])
    else:
        found = ramps.plateaus(potential, **options)
    return {"found": vars(found), "seconds": time.process_time() - began}


@command()
def prepare(folder: Path) -> None:
    """Train what is missing: the teacher, students on snapshots of its ramps, students of real labels.
    Raises ValueError for what is there, but made of something else."""
    size = Size()
    options: dict[str, Any] = {"members": size.seeds, "epochs": size.epochs}

    def students(name: str, parts: dict[str, list[Atoms]]) -> None:
        """EF-fits and EFP-fits as one committee, with paired seeds."""
        train_kinds(teaching.KINDS, parts["train"], parts["valid"], **options).save(folder / name)

    if not (folder / "teacher.npz").exists():
        teaching.train_teacher().save(folder / "teacher.npz")
    if not made(folder / "students.npz", **learned_from(folder, size), **options):
        students("students.npz", teacher_snapshots(folder, size))
    real = {part: datasets.load("na-gamma", part) for part in ("train", "valid")}
    if not made(folder / "direct.npz", **real, **options):
        students("direct.npz", real)


@command()
def run(folder: Path, only: Sequence[str] | None = None, workers: int = 1) -> None:
    """All dynamics. only: names of models (default: all); workers: processes."""
    todo = [job for job in jobs(Size()) if not only or job["model"] in only]
    known = {name: identity(model(folder, name)) for name in {job["model"] for job in todo}}
    todo = [{**job, "potential": known[job["model"]]} for job in todo]
    work = partial(perform, folder=str(folder))  # which may move: what runs does not depend on it
    campaign.run(work, todo, campaign.processes(workers), folder / "done", name="melting")
