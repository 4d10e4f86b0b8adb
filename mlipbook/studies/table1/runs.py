"""Free energies of crystal and melt by potentials of four labelings (Fig. 2, Table 1): the runs.

For each potential of `table1.potentials`: the volume of each phase at zero pressure; the Helmholtz free
energy of each phase at this volume, by thermodynamic integration; and its difference from that of the
REFERENCE potential at the latter's volume, by integration from one to the other, which is far more precise.
A job is one phase of one member of one committee; each finished one is a JSON file in the folder, so that
jobs of several machines are merged by copying files. `table1.report` makes results/full/delta-f.json of it.

    python -m mlipbook study table1.runs volume free-energy difference --folder F --workers 12
    python -m mlipbook study table1.runs free-energy --folder F --atoms 1024 --device cuda

Both go on where they stopped. The volume is measured with 128 atoms and used for 1,024 as well.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args
from zlib import crc32

import numpy as np
import torch

from mlipbook import archive, bookkit, campaign, observables
from mlipbook import free_energy as fe
from mlipbook.averages import mean
from mlipbook.dynamics import NPT, Limits, thermalize
from mlipbook.free_energy import Sampling
from mlipbook.free_energy.replicas import LIQUID, SOLID
from mlipbook.free_energy.series import block_means
from mlipbook.potentials.ann import ANNPotential, load
from mlipbook.structures import Structures
from mlipbook.studies.command import command, device_name
from mlipbook.studies.table1.boxes import box, heated, starts
from mlipbook.studies.table1.potentials import POTENTIALS, SETTINGS, Setting
from mlipbook.units import fs

Phase = Literal["solid", "liquid"]
PHASES: tuple[Any, ...] = get_args(Phase)
SEEDS = (0, 1, 2)
REFERENCE = ("128-4k", 0)  # setting and seed
TEMPERATURE = 350.0  # K
TIMESTEP = 4.0  # fs
GUESS = {"solid": 39.9, "liquid": 41.0}  # A^3 per atom, where volume runs start
SPRING = 0.35  # eV/A^2, 1.5 times 3 kT/<u^2> of the crystal at 350 K; any would do
SAMPLING = Sampling(error=1.5e-4, max_steps=12_000)
EMPTY: Mapping[str, Any] = MappingProxyType({})
SETTLE, STEPS, EVERY = 500, 2000, 10  # of a volume run: steps left out, of all steps, between samples
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


def sampled_by(sampling: Mapping[str, Any]) -> str:
    return archive.described(replace(SAMPLING, **sampling))


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


def measured_volume(
    potential: ANNPotential,
    phase: str,
    temperature: float,
    seed: int = 0,
    store: Path | None = None,
    progress: bool = True,
) -> Job:
    """Volume (A^3 per atom) and energy (eV per atom, with 3/2 kT) at zero pressure, [value, error] each.

    Eight replicas of 128 atoms in isotropic NPT; errors from the scatter of the replicas. Raises PhaseChange
    if one of them is in another phase in a tenth of the run, by the limits of free energies.
    """
    boxes = starts(phase, 8, GUESS[phase], temperature)
    state = thermalize(boxes, heated(phase, temperature), seed)
    observe = {"volume": observables.volume, "energy": observables.enthalpy, "q6": observables.q6}
    simulation = NPT(potential, TIMESTEP * fs, temperature)
    run = partial(simulation.run, store=store, progress=progress)
    trajectory = run(state, STEPS, observe, EVERY, limits=Limits(closest=0.0))
    late = {name: x[SETTLE // EVERY :].mean(0) for name, x in trajectory.observed.items()}
    blocks = block_means(trajectory.observed["q6"][SETTLE // EVERY :])
    lost = blocks < SOLID if phase == "solid" else blocks > LIQUID / len(boxes[0]) ** 0.5
    if bool(lost.any()):
        raise fe.PhaseChange(f"a {phase} at {temperature:g} K did not stay one: Q6 = {late['q6'].tolist()}")
    found = {"q6": [float(late["q6"].min()), float(late["q6"].max())]}
    for name in ("volume", "energy"):
        found[name] = list(mean(late[name] / len(boxes[0])))
    return found


def free_energy(
    potential: ANNPotential,
    phase: str,
    temperature: float,
    *,
    atoms: int,
    volume: float,
    sampling: Sampling,
    timestep: float = TIMESTEP,
    device: str = "cpu",
    seed: int = 0,
    store: Path | None = None,
    progress: bool = True,
) -> Job:
    """F and all that it is made of, eV per atom; timestep: fs."""
    structures = Structures.from_ase(box(phase, atoms, volume, temperature), device=device)
    run = partial(fe.solid, spring=SPRING) if phase == "solid" else fe.liquid
    integrate = partial(run, potential, structures, temperature, timestep=timestep * fs)
    found = integrate(sampling=sampling, seed=seed, store=store, progress=progress)
    return {
        "terms": {name: list(term) for name, term in found.terms.items()},
        "F": [found.F, found.error],
        "energy": list(found.energy),
        "pressure": list(found.pressure),
        "volume": volume,
        "parameters": dict(found.parameters),
        "windows": found.windows.table(),
    }


def difference(
    potential: ANNPotential,
    reference: ANNPotential,
    phase: str,
    temperature: float,
    *,
    atoms: int,
    volume: float,
    sampling: Sampling,
    device: str = "cpu",
    seed: int = 0,
    store: Path | None = None,
    progress: bool = True,
) -> Job:
    """F of the potential minus F of the reference at the same volume, and the pressure that one has there."""
    structures = Structures.from_ase(box(phase, atoms, volume, temperature), device=device)
    path = fe.path(3, k=0.0).with_end()
    run = partial(fe.windows, potential, reference, structures, path, temperature, timestep=TIMESTEP * fs)
    found = run(sampling=sampling, phase=phase, seed=seed, store=store, progress=progress)
    return {
        "difference": list(found.integral),
        "pressure": list(fe.average(found[-1].pressure)),
        "volume": volume,
        "windows": found.table(),
    }


def perform(
    job: Job, folder: str, potentials: str, device: str = "cpu", sampling: Mapping[str, Any] = EMPTY
) -> None:
    """Do a job and write its file; sampling: what is other than in SAMPLING."""
    torch.set_num_threads(1)
    done, models = Path(folder), Path(potentials)
    began, cpu = time.perf_counter(), time.process_time()
    potential = member(models, job["setting"], job["seed"])
    made = fingerprint(models, job)
    options: dict[str, Any] = {
        "seed": crc32(name_of(job).encode()),
        "store": done / "runs" / f"{made}-{path_of(done, job).stem}",
        "progress": False,
    }
    state = job["phase"], job["temperature"]
    if job["quantity"] == "volume":
        found = measured_volume(potential, *state, **options)
    else:
        options |= {"device": device, "atoms": job["atoms"], "sampling": replace(SAMPLING, **sampling)}
        if job["quantity"] == "difference":
            volume = volume_at(done, {**job, "setting": REFERENCE[0]}, models)
            found = difference(potential, member(models, *REFERENCE), *state, volume=volume, **options)
        else:
            options["timestep"] = TIMESTEP / 2 if job["quantity"] == SHORT else TIMESTEP
            found = free_energy(potential, *state, volume=volume_at(done, job, models), **options)
    spent = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
    about = {"device": device_name(device), **spent, "commit": bookkit.results.COMMIT}
    how = {} if job["quantity"] == "volume" else {"sampling": sampled_by(sampling)}
    result = {**job, "potential": made, **how, **found, **about}
    archive.write_json(path_of(done, job), result)


def run(folder: Path, jobs: Sequence[Job], workers: int = 1, **options: Any) -> None:
    """Do what is not done yet. Raises campaign.CampaignError at the end if jobs failed."""
    how = sampled_by(options.get("sampling", EMPTY))
    todo = unfinished(folder, jobs, Path(options["potentials"]), how)
    campaign.run(partial(perform, folder=str(folder), **options), todo, campaign.processes(workers))


@command()
def study(
    quantities: Sequence[Literal["volume", "difference", "free-energy", "short"]],
    /,
    *,
    folder: Path,
    potentials: Path = POTENTIALS,
    settings: Sequence[Setting] = SETTINGS,
    seeds: Sequence[int] = SEEDS,
    phases: Sequence[Phase] = PHASES,
    temperatures: Sequence[float] = (TEMPERATURE,),
    atoms: Sequence[int] = (128,),
    device: str = "cpu",
    error: float = SAMPLING.error,
    max_steps: int = SAMPLING.max_steps,
    workers: int = 1,
) -> None:
    """All jobs of these quantities, volumes first. error: of each free energy, eV/atom."""
    states = settings, seeds, phases, temperatures
    options: dict[str, Any] = {"potentials": str(potentials), "device": device}
    if "volume" in quantities:
        run(folder, jobs_of("volume", *states), workers, **options)
    others = [QUANTITIES[name] for name in quantities if name != "volume"]
    jobs = [job for quantity in others for job in jobs_of(quantity, *states, atoms)]
    run(folder, jobs, workers, **options, sampling={"error": error, "max_steps": max_steps})
