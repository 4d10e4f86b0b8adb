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

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

from mlipbook import archive, campaign, observables
from mlipbook import free_energy as fe
from mlipbook.averages import mean
from mlipbook.dynamics import NPT, Limits, thermalize
from mlipbook.free_energy import Sampling
from mlipbook.free_energy.replicas import LIQUID, SOLID
from mlipbook.free_energy.series import block_means
from mlipbook.potentials import Potential
from mlipbook.structures import Structures
from mlipbook.studies.command import command
from mlipbook.studies.sodium import PHASES, Phase
from mlipbook.studies.table1.boxes import SPRING, box, heated, starts
from mlipbook.studies.table1.jobs import (
    QUANTITIES,
    REFERENCE,
    SEEDS,
    SHORT,
    TEMPERATURE,
    Job,
    done,
    jobs_of,
    keep,
    member,
    name_of,
    path_of,
    volume_at,
)
from mlipbook.studies.table1.potentials import POTENTIALS, SETTINGS, Setting
from mlipbook.units import fs

TIMESTEP = 4.0  # fs
GUESS = {"solid": 39.9, "liquid": 41.0}  # A^3 per atom, where volume runs start
SAMPLING = Sampling(error=1.5e-4, max_steps=12_000)
SETTLE, STEPS, EVERY = 500, 2000, 10  # of a volume run: steps left out, of all steps, between samples


def measured_volume(potential: Potential, phase: str, temperature: float, seed: int = 0, **run: Any) -> Job:
    """Volume (A^3 per atom) and energy (eV per atom, with 3/2 kT) at zero pressure, [value, error] each.

    Eight replicas of 128 atoms in isotropic NPT; errors from the scatter of the replicas. run: options of
    `Simulation.run`. Raises PhaseChange if one of them is in another phase in a tenth of the run, by the
    limits of free energies.
    """
    boxes = starts(phase, 8, GUESS[phase], temperature)
    state = thermalize(boxes, heated(phase, temperature), seed)
    observe = {"volume": observables.volume, "energy": observables.enthalpy, "q6": observables.q6}
    simulation = NPT(potential, TIMESTEP * fs, temperature)
    seen = simulation.run(state, STEPS, observe, EVERY, limits=Limits(closest=0.0), **run).observed
    late = {name: x[SETTLE // EVERY :] for name, x in seen.items()}
    q6, blocks = late["q6"].mean(0), block_means(late["q6"])
    lost = blocks < SOLID if phase == "solid" else blocks > LIQUID / len(boxes[0]) ** 0.5
    if bool(lost.any()):
        raise fe.PhaseChange(f"a {phase} at {temperature:g} K did not stay one: Q6 = {q6.tolist()}")
    found = {name: list(mean(late[name].mean(0) / len(boxes[0]))) for name in ("volume", "energy")}
    return {"q6": [float(q6.min()), float(q6.max())], **found}


def free_energy(
    potential: Potential,
    phase: str,
    temperature: float,
    *,
    atoms: int,
    volume: float,
    timestep: float = TIMESTEP,
    device: str = "cpu",
    **run: Any,
) -> Job:
    """F and all that it is made of, eV per atom; timestep: fs; run: options of `free_energy.solid`."""
    structures = Structures.from_ase(box(phase, atoms, volume, temperature), device=device)
    integrate = partial(fe.solid, spring=SPRING) if phase == "solid" else fe.liquid
    found = integrate(potential, structures, temperature, timestep=timestep * fs, **run)
    return {
        "terms": {name: list(term) for name, term in found.terms.items()},
        "F": list(found.total),
        "energy": list(found.energy),
        "pressure": list(found.pressure),
        "volume": volume,
        "parameters": dict(found.parameters),
        "windows": found.windows.table(),
    }


def difference(
    potential: Potential,
    reference: Potential,
    phase: str,
    temperature: float,
    *,
    atoms: int,
    volume: float,
    device: str = "cpu",
    **run: Any,
) -> Job:
    """F of the potential minus F of the reference at the same volume, and the pressure that one has there;
    run: options of `free_energy.windows`."""
    structures = Structures.from_ase(box(phase, atoms, volume, temperature), device=device)
    path, options = fe.path(3, k=0.0).with_end(), {"timestep": TIMESTEP * fs, "phase": phase, **run}
    found = fe.windows(potential, reference, structures, path, temperature, **options)
    return {
        "difference": list(found.integral),
        "pressure": list(fe.average(found[-1].pressure)),
        "volume": volume,
        "windows": found.table(),
    }


def perform(
    job: Job, folder: Path, potentials: Path, device: str = "cpu", sampling: Sampling = SAMPLING
) -> None:
    """Do a job and write its file."""

    def work(potential: Potential, store: Path) -> Job:
        quantity, state = job["quantity"], (job["phase"], job["temperature"])
        run: dict[str, Any] = {"seed": crc32(name_of(job).encode()), "store": store, "progress": False}
        if quantity == "volume":
            return measured_volume(potential, *state, **run)
        run |= {"sampling": sampling, "device": device, "atoms": job["atoms"]}
        if quantity == "difference":
            run["volume"] = volume_at(folder, {**job, "setting": REFERENCE[0]}, potentials)
            found = difference(potential, member(potentials, *REFERENCE), *state, **run)
        else:
            run["timestep"] = TIMESTEP / 2 if quantity == SHORT else TIMESTEP
            run["volume"] = volume_at(folder, job, potentials)
            found = free_energy(potential, *state, **run)
        return {"sampling": archive.described(sampling), **found}

    keep(path_of(folder, job), job, potentials, work, device)


def unfinished(folder: Path, jobs: Sequence[Job], potentials: Path, sampling: Sampling) -> list[Job]:
    """Jobs without a result of the present potentials that was sampled so."""
    how = archive.described(sampling)
    return [job for job in jobs if not done(path_of(folder, job), potentials, sampling=how)]


def run(
    folder: Path,
    jobs: Sequence[Job],
    potentials: Path,
    device: str = "cpu",
    sampling: Sampling = SAMPLING,
    workers: int = 1,
) -> None:
    """Do what is not done yet. Raises campaign.CampaignError at the end if jobs failed."""
    work = partial(perform, folder=folder, potentials=potentials, device=device, sampling=sampling)
    campaign.run(work, unfinished(folder, jobs, potentials, sampling), campaign.processes(workers))


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
    sampling = replace(SAMPLING, error=error, max_steps=max_steps)
    states = settings, seeds, phases, temperatures
    volumes = jobs_of("volume", *states) if "volume" in quantities else []
    others = [QUANTITIES[name] for name in quantities if name != "volume"]
    for jobs in (volumes, [job for quantity in others for job in jobs_of(quantity, *states, atoms)]):
        run(folder, jobs, potentials, device, sampling, workers)
