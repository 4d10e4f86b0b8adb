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

import os
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
from mlipbook.studies.melting import teacher as teaching
from mlipbook.studies.melting.ramps import (  # noqa: F401 - also for whom this is the study
    CLOSEST,
    COOLING,
    EDGES,
    EVERY,
    FRAMES,
    HEATING,
    LATTICE,
    TIMESTEP,
    Plateaus,
    Ramps,
    in_single_precision,
    plateaus,
    ramp_steps,
    ramps_of,
    run_ramps,
    starts,
)
from mlipbook.studies.sodium import by_part
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


def train_missing(folder: Path, size: Size) -> None:
    """Train what is missing: the teacher, its students on snapshots of its ramps, students of real labels.

    Raises ValueError for what is there, but made of something else.
    """
    options: dict[str, Any] = {"members": size.seeds, "epochs": size.epochs}
    if not (folder / "teacher.npz").exists():
        teaching.train_teacher().save(folder / "teacher.npz")
    if not made(folder / "students.npz", **learned_from(folder, size), **options):
        parts = teacher_snapshots(folder, size)
        teaching.train_students(parts["train"], parts["valid"], **options).save(folder / "students.npz")
    train, valid = (datasets.load("na-gamma", part) for part in ("train", "valid"))
    if not made(folder / "direct.npz", train=train, valid=valid, **options):
        teaching.train_students(train, valid, **options).save(folder / "direct.npz")


def learned_from(folder: Path, size: Size) -> dict[str, Any]:
    """What the students' snapshots are made of."""
    return {"teacher": load(folder / "teacher.npz"), "rate": size.snapshot_rate, "replicas": size.replicas}


def teacher_snapshots(folder: Path, size: Size) -> dict[str, list[Atoms]]:
    """Part -> labeled frames of ramps of their own and of hot liquids, kept in the folder's snapshots.xyz."""
    file = folder / "snapshots.xyz"
    if not made(file, **learned_from(folder, size)):
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
    """A campaign's job: Ramps or Plateaus of one model, as a dictionary, and the CPU seconds they took.

    The job's "potential" is the identity of its model: results of another one are not taken for its own.
    """
    began = time.process_time()
    potential = model(Path(folder), job["model"])
    options: dict[str, Any] = {"store": Path(folder) / "runs" / f"{name_of(job)}, {job['potential'][:12]}"}
    options["progress"] = False
    if "rate" in job:
        rate, settings = job["rate"], {k: job[k] for k in ("pressure", "replicas")}
        found: Any = ramps_of(*run_ramps(potential, rate, **settings, **options), rate)
    else:
        found = plateaus(potential, job["solid"], job["liquid"], job["length"], **options)
    return {"found": vars(found), "seconds": time.process_time() - began}


@command()
def prepare(folder: Path) -> None:
    """Train the teacher and its students, where they are missing."""
    train_missing(folder, Size())


@command()
def run(folder: Path, only: Sequence[str] | None = None, workers: int = 1) -> None:
    """All dynamics. only: names of models (default: all); workers: processes."""
    todo = [job for job in jobs(Size()) if not only or job["model"] in only]
    known = {name: identity(model(folder, name)) for name in {job["model"] for job in todo}}
    todo = [{**job, "potential": known[job["model"]]} for job in todo]
    work = partial(perform, folder=str(folder))  # which may move: what runs does not depend on it
    campaign.run(work, todo, campaign.processes(workers), folder / "done", name="melting")
