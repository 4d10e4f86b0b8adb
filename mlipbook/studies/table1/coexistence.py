"""Melting temperatures of the potentials of Table 1 from boxes of half crystal, half melt: the runs.

At constant energy the interfaces move until both phases are in equilibrium: what freezes heats the box, what
melts cools it (Morris, Wang, Ho, Chan, Phys. Rev. B 49, 3109 (1994); Morris, Song, J. Chem. Phys. 116, 9352
(2002)). No free energy is needed, and nothing of `table1.runs` but volumes, for a box that is nearly free of
stress. One run starts below the melting temperature, one above. A job is one run of one potential; each
finished one is a JSON file in the folder. The same command goes on where it stopped, and with more --steps it
makes finished runs longer. `table1.coexistence_report` makes results/full/coexistence.json of the folder.

    python -m mlipbook study table1.coexistence --folder F --steps 25000
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from ase.build import bulk
from torch import Tensor

from mlipbook import archive, campaign, observables
from mlipbook.dynamics import NVE, Every, Langevin, Limits, State, thermalize
from mlipbook.dynamics.simulation import Observables
from mlipbook.free_energy import PhaseChange
from mlipbook.potentials import Potential, Repulsion, SoftCore
from mlipbook.potentials.ann import ANNPotential
from mlipbook.studies.command import command, kept_records
from mlipbook.studies.sodium import PHASES
from mlipbook.studies.table1.jobs import Job, done, keep
from mlipbook.studies.table1.potentials import POTENTIALS, SETTINGS, Setting
from mlipbook.units import fs, ps

# Of bcc: 1,200 atoms. Interfaces are across the last axis, half of which must be much longer than they are
# thick: boxes of 7 x 7 x 12 cells lost their films of melt at some 20 A, however hot they got by it.
CELLS = (5, 5, 24)
# K. Much farther from the melting temperature, one half would be gone before it is reached.
STARTS = {"128-Gamma": (335.0, 355.0)} | dict.fromkeys(("128-4k", "1024-Gamma", "128-32k"), (348.0, 368.0))
HOT = 1500.0  # K, of soft spheres, to forget the crystal
MELTING, COOLING, SETTLING = 2.0, 1.0, 3.0  # ps
TIMESTEP = 8.0  # fs: a thirtieth of the period of sodium's fastest vibration; half of it for soft spheres
CORE = 2.8  # A, where a fixed repulsion begins: without it pairs cross 2.2 A at times and fall together
LIMITS = Limits(closest=1.2)  # A
EVERY, BIN = 5, 125  # steps between samples, and that a stored mean is over (1 ps)
ORDERED = 0.27  # of an atom's averaged q6: hot crystals have 0.4, liquids 0.15
BOTH = (0.2, 0.8)  # share of ordered atoms while both phases are there


def jobs_of(settings: Iterable[str] = SETTINGS, seeds: Iterable[int] = (0,)) -> list[Job]:
    """Both starts of each potential."""
    return [
        {"setting": setting, "seed": seed, "start": start}
        for seed, setting in product(seeds, settings)
        for start in STARTS[setting]
    ]


def path_of(folder: Path, job: Job) -> Path:
    return folder / "{setting}_seed-{seed}_{start:g}-K.json".format(**job)


# ---- a box with both phases ----------------------------------------------------------------------------


def halves(volumes: Mapping[str, float], cells: tuple[int, int, int] = CELLS) -> tuple[Atoms, Tensor]:
    """bcc with the upper half stretched along z to the volume of the melt, and which atoms stay crystal (N,).

    volumes: A^3 per atom of "solid" and "liquid". The lateral lattice constant is that of the free crystal,
    so that no stress is left in it. Raises ValueError for an odd number of cells along z.
    """
    if cells[2] % 2:
        raise ValueError(f"{cells} cells: halves need an even number along z")
    a = (2 * volumes["solid"]) ** (1 / 3)
    atoms = bulk("Na", "bcc", a=a, cubic=True) * cells
    stretch, middle = volumes["liquid"] / volumes["solid"], cells[2] * a / 2
    z = atoms.positions[:, 2]
    crystal = z < middle - a / 4
    atoms.positions[~crystal, 2] = middle + (z[~crystal] - middle) * stretch
    atoms.cell[2, 2] = middle * (1 + stretch)
    return atoms, torch.as_tensor(crystal)


def prepared(
    potential: Potential,
    volumes: Mapping[str, float],
    temperature: float,
    seed: int = 0,
    cells: tuple[int, int, int] = CELLS,
    store: Path | None = None,
) -> State:
    """Half crystal, half melt, thermal at this temperature. store: folder, to be fast the second time.

    One half is made of soft spheres, hot and then cold, while the crystal's atoms are a million times heavier
    and stay; then the potential takes over. (Heat that melts a crystal within picoseconds takes networks far
    beyond their data.) Raises PhaseChange if the box has not both phases in the end.
    """

    def langevin(state: State, name: str, kelvin: float, length: float, potential: Potential) -> State:
        timestep = TIMESTEP / 2 if potential is soft else TIMESTEP
        simulation = Langevin(potential, timestep * fs, kelvin)
        steps, folder = round(length * ps / (timestep * fs)), store / name if store else None
        return simulation.run(state, steps, every=25, store=folder, limits=LIMITS, progress=False).state

    soft = SoftCore()
    atoms, crystal = halves(volumes, cells)
    state = thermalize(atoms, HOT, seed)
    masses = torch.where(crystal, 1e6, 1.0) * state.masses
    held = replace(state, structures=replace(state.structures, masses=masses))
    held = langevin(held, "melting", HOT, MELTING, soft)
    held = langevin(held, "cooling", temperature, COOLING, soft)
    free = thermalize(replace(held.structures, masses=state.masses), temperature, seed + 1)
    free = langevin(free, "settling", temperature, SETTLING, potential)
    refuse_one_phase(float(ordered(free)))
    return replace(free, step=0, extended={})


def ordered(state: State) -> Tensor:
    """Share of atoms in crystalline surroundings, (B,): by the bond order q6 averaged over neighbors."""
    return (observables.averaged_bond_order(state.structures) > ORDERED).double().mean(-1)


def refuse_one_phase(share: float) -> None:
    """Raise PhaseChange if the share of ordered atoms tells that a phase is gone."""
    if not BOTH[0] < share < BOTH[1]:
        raise PhaseChange(
            f"{share:.0%} of the atoms have crystalline neighbors: one phase is gone; start closer to the "
            "melting temperature, or with a longer box"
        )


# ---- a run ---------------------------------------------------------------------------------------------


def coexist(potential: Potential, state: State, steps: int, store: Path | None = None) -> Job:
    """Run at constant energy: means over each ps of temperature (K), normal and lateral pressure (eV/A^3),
    the share of ordered atoms at its end, and the drift of the energy (eV per atom) over the run.

    Raises PhaseChange if one phase is gone in the end.
    """
    observe: Observables = {
        "temperature": observables.temperature,
        "pressure": lambda state: state.pressure_tensor.diagonal(dim1=1, dim2=2),
        "ordered": Every(BIN, ordered),
    }
    options: dict[str, Any] = {"limits": LIMITS, "store": store, "chunk": 10 * BIN, "progress": False}
    run = NVE(potential, TIMESTEP * fs).run(state, steps, observe, EVERY, **options)
    seen = {name: x[:, 0] for name, x in run.observed.items()}
    share = seen.pop("ordered")
    series = {name: x.unflatten(0, (-1, BIN // EVERY)).mean(1) for name, x in seen.items()}
    pressure, energy = series["pressure"], series["invariant"] / state.structures.n_atoms
    refuse_one_phase(float(share[-10:].mean()))
    return {
        "temperature": series["temperature"].tolist(),
        "normal_pressure": pressure[:, 2].tolist(),
        "lateral_pressure": pressure[:, :2].mean(1).tolist(),
        "ordered": share.tolist(),
        "energy_drift": float(energy[-1] - energy[0]),
        "z": run.state.structures.positions[0, :, 2].tolist(),
        "order": observables.averaged_bond_order(run.state.structures)[0].tolist(),
    }


def unfinished(
    folder: Path, jobs: Iterable[Job], steps: int, potentials: Path, volumes: Mapping[str, Any]
) -> list[Job]:
    """Jobs without a result of so many steps of the present potentials, at these volumes."""

    def enough(job: Job) -> bool:
        path = path_of(folder, job)
        same = done(path, potentials, volume=volumes[job["setting"]])
        return same and archive.read_json(path)["steps"] >= steps

    return [job for job in jobs if not enough(job)]


def with_core(potential: ANNPotential) -> ANNPotential:
    """With a repulsion between nuclei that ends where labeled pairs begin: nothing else holds them apart."""
    potential.repulsion = Repulsion(CORE)
    return potential


def perform(job: Job, folder: Path, steps: int, potentials: Path, volumes: Mapping[str, Any]) -> None:
    """Do a job and write its file; volumes: of each setting and phase, A^3 per atom."""
    volume = volumes[job["setting"]]

    def work(potential: ANNPotential, store: Path) -> Job:
        potential = with_core(potential)
        state = prepared(potential, volume, job["start"], 2 * job["seed"], store=store)
        found = coexist(potential, state, steps, store / "run")
        return {"steps": steps, "atoms": state.structures.n_atoms, "volume": volume, **found}

    keep(path_of(folder, job), job, potentials, work)


@command()
def study(
    folder: Path,
    potentials: Path = POTENTIALS,
    free_energies: Path = Path("results/full/delta-f.json"),
    settings: Sequence[Setting] = SETTINGS,
    seeds: Sequence[int] = (0,),
    steps: int = 25_000,
) -> None:
    """All runs of these settings and seeds, at the volumes of zero pressure and 350 K. steps: a multiple of
    1250. free_energies: of `table1.report`."""
    options: dict[str, Any] = {"steps": steps, "potentials": potentials}
    kept = kept_records(free_energies)
    options["volumes"] = {
        s: {p: round(kept[f"volume, {s}, {p}"]["value"], 2) for p in PHASES} for s in settings
    }
    todo = unfinished(folder, jobs_of(settings, seeds), **options)
    campaign.run(partial(perform, folder=folder, **options), todo)
