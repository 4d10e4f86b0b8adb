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

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal
from zlib import crc32

import torch

from mlipbook import archive, bookkit, campaign, observables
from mlipbook import free_energy as fe
from mlipbook.averages import mean
from mlipbook.dynamics import NPT, Limits, thermalize
from mlipbook.free_energy import Sampling
from mlipbook.free_energy.replicas import LIQUID, SOLID
from mlipbook.free_energy.series import block_means
from mlipbook.potentials.ann import ANNPotential
from mlipbook.structures import Structures
from mlipbook.studies.command import command, device_name
from mlipbook.studies.table1.boxes import box, heated, starts
from mlipbook.studies.table1.jobs import (
    PHASES,
    QUANTITIES,
    REFERENCE,
    SEEDS,
    SHORT,
    TEMPERATURE,
    Job,
    Phase,
    fingerprint,
    jobs_of,
    member,
    name_of,
    path_of,
    unfinished,
    volume_at,
)
from mlipbook.studies.table1.potentials import POTENTIALS, SETTINGS, Setting
from mlipbook.units import fs

TIMESTEP = 4.0  # fs
GUESS = {"solid": 39.9, "liquid": 41.0}  # A^3 per atom, where volume runs start
SPRING = 0.35  # eV/A^2, 1.5 times 3 kT/<u^2> of the crystal at 350 K; any would do
SAMPLING = Sampling(error=1.5e-4, max_steps=12_000)
EMPTY: Mapping[str, Any] = MappingProxyType({})
SETTLE, STEPS, EVERY = 500, 2000, 10  # of a volume run: steps left out, of all steps, between samples


def sampled_by(sampling: Mapping[str, Any]) -> str:
    return archive.described(replace(SAMPLING, **sampling))


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
