"""Jobs of Table 1: which there are, where results lie, and whether they are of the present potentials."""

import hashlib
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from mlipbook import archive
from mlipbook.potentials.ann import ANNPotential, load
from mlipbook.studies.table1.potentials import POTENTIALS, SETTINGS

Phase = Literal["solid", "liquid"]
PHASES: tuple[Any, ...] = get_args(Phase)
SEEDS = (0, 1, 2)
REFERENCE = ("128-4k", 0)  # setting and seed
TEMPERATURE = 350.0  # K
SHORT = "free energy, half the time step"
QUANTITIES = {"volume": "volume", "difference": "difference", "free-energy": "free energy", "short": SHORT}
Job = dict[str, Any]


def member(potentials: Path, setting: str, seed: int) -> ANNPotential:
    """A potential in single precision, silent about close pairs, which references make at small lambda."""
    potential = load(potentials / f"{setting}.npz").member(seed).float()
    potential.shortest = {}
    return potential


def fingerprint(potentials: Path, job: Job) -> str:
    """Of the files of a job's potentials: it tells results of other potentials than the present ones."""
    settings = [job["setting"], *([REFERENCE[0]] if job["quantity"] == "difference" else [])]
    files = [(potentials / f"{setting}.npz").read_bytes() for setting in settings]
    return "-".join(hashlib.sha256(file).hexdigest()[:12] for file in files)


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


def results(folder: Path) -> list[dict[str, Any]]:
    """All finished jobs in a folder, by name."""
    return [archive.read_json(path) for path in sorted(folder.glob("*_*.json"))]


def unfinished(
    folder: Path, jobs: Iterable[Job], potentials: Path = POTENTIALS, how: str | None = None
) -> list[Job]:
    """Jobs without a result of the present potentials, and sampled so (`sampled_by`), if `how` is given."""

    def done(job: Job) -> bool:
        path = path_of(folder, job)
        found = archive.read_json(path) if path.exists() else {"potential": None}
        same = how is None or found.get("sampling", how) == how  # older results do not tell
        return same and found["potential"] == fingerprint(potentials, job)

    return [job for job in jobs if not done(job)]


def volume_at(folder: Path, job: Job, potentials: Path = POTENTIALS) -> float:
    """A^3 per atom for the free energies of all seeds: the mean of the seeds measured, to 0.01 A^3.

    Raises FileNotFoundError if there is none, ValueError if one is of other potentials than these.
    """
    like = [{**job, "quantity": "volume", "atoms": 128, "seed": seed} for seed in SEEDS]
    paths = [path for path in (path_of(folder, each) for each in like) if path.exists()]
    if not paths:
        raise FileNotFoundError(f"{path_of(folder, like[0])} is missing: run `volume` first")
    if stale := set(paths) & {path_of(folder, each) for each in unfinished(folder, like, potentials)}:
        raise ValueError(
            f"{min(stale)}: the volume of other potentials than those in {potentials}; run `volume` again"
        )
    return round(float(np.mean([archive.read_json(path)["volume"][0] for path in paths])), 2)
