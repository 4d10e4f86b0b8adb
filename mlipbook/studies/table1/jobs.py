"""Jobs of Table 1: which there are, where results lie, and whether they are of the present potentials."""

import hashlib
import time
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlipbook import archive, bookkit
from mlipbook.potentials.ann import ANNPotential, load
from mlipbook.studies.command import device_name
from mlipbook.studies.sodium import PHASES, in_single_precision
from mlipbook.studies.table1.potentials import POTENTIALS, SETTINGS

SEEDS = (0, 1, 2)
REFERENCE = ("128-4k", 0)  # setting and seed
TEMPERATURE = 350.0  # K
SHORT = "free energy, half the time step"
QUANTITIES = {"volume": "volume", "difference": "difference", "free-energy": "free energy", "short": SHORT}
Job = dict[str, Any]


def jobs_of(
    quantity: str,
    settings: Iterable[str] = SETTINGS,
    seeds: Iterable[int] = SEEDS,
    phases: Iterable[str] = PHASES,
    temperatures: Iterable[float] = (TEMPERATURE,),
    atoms: Iterable[int] = (128,),
) -> list[Job]:
    """Of one of the QUANTITIES, the most important first."""
    keys = ("temperature", "atoms", "seed", "phase", "setting")
    every = product(temperatures, atoms, seeds, phases, settings)
    jobs: list[Job] = [{"quantity": quantity, **dict(zip(keys, x, strict=True))} for x in every]
    return [job for job in jobs if quantity != "difference" or (job["setting"], job["seed"]) != REFERENCE]


def name_of(job: Job) -> str:
    return "{quantity}, {setting}, seed {seed}, {phase}, {atoms} atoms, {temperature:g} K".format(**job)


def path_of(folder: Path, job: Job) -> Path:
    return folder / f"{name_of(job).replace(', ', '_').replace(' ', '-')}.json"


def member(potentials: Path, setting: str, seed: int) -> ANNPotential:
    return in_single_precision(load(potentials / f"{setting}.npz"), seed)


def fingerprint(potentials: Path, job: Job) -> str:
    """Of the files of a job's potentials: it tells results of other potentials than the present ones."""
    settings = [job["setting"], *([REFERENCE[0]] if job.get("quantity") == "difference" else [])]
    files = [(potentials / f"{setting}.npz").read_bytes() for setting in settings]
    return "-".join(hashlib.sha256(file).hexdigest()[:12] for file in files)


def done(path: Path, potentials: Path, **how: Any) -> bool:
    """Whether a job has a result, of the present potentials and made so (older results do not tell)."""
    if not path.exists():
        return False
    found = archive.read_json(path)
    same = all(found.get(name, x) == x for name, x in how.items())
    return same and found["potential"] == fingerprint(potentials, found)


def keep(
    path: Path, job: Job, potentials: Path, work: Callable[[ANNPotential, Path], Job], device: str = "cpu"
) -> None:
    """Do a job, work(its potential, a store for its dynamics), and write its file."""
    torch.set_num_threads(1)
    began, cpu = time.perf_counter(), time.process_time()
    made = fingerprint(potentials, job)
    potential = member(potentials, job["setting"], job["seed"])
    found = work(potential, path.parent / "runs" / f"{made}-{path.stem}")
    spent = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
    about = {"device": device_name(device), **spent, "commit": bookkit.results.COMMIT}
    archive.write_json(path, {**job, "potential": made, **found, **about})


def volume_at(folder: Path, job: Job, potentials: Path = POTENTIALS) -> float:
    """A^3 per atom for the free energies of all seeds: the mean of the seeds measured, to 0.01 A^3. Raises
    FileNotFoundError if there is none, ValueError if one is of other potentials than these."""
    every = [path_of(folder, {**job, "quantity": "volume", "atoms": 128, "seed": seed}) for seed in SEEDS]
    paths = [path for path in every if path.exists()]
    if not paths:
        raise FileNotFoundError(f"{every[0]} is missing: run `volume` first")
    if stale := [path for path in paths if not done(path, potentials)]:
        raise ValueError(
            f"{stale[0]}: the volume of other potentials than those in {potentials}; run `volume` again"
        )
    return round(float(np.mean([archive.read_json(path)["volume"][0] for path in paths])), 2)
