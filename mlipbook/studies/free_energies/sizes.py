"""Free energies of solid and liquid sodium in cells of several sizes, term by term (chapter 8).

The potential is a student of chapter 7; both phases are at the handbook's volumes. With every term in place F
per atom changes little with the size of the cell; `mistakes` says what forgetting one would do.

    python -m mlipbook study free_energies.sizes --store FOLDER
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from math import lgamma, log
from pathlib import Path
from typing import Any

from ase.data import atomic_masses

from mlipbook import free_energy as fe
from mlipbook.bookkit import full_file
from mlipbook.free_energy import FreeEnergy, Sampling
from mlipbook.free_energy.phases import MU, SIGMA
from mlipbook.potentials.ann import ANNPotential, load
from mlipbook.structures import Structures
from mlipbook.studies.command import Result, command
from mlipbook.studies.melting.teacher import each_member
from mlipbook.studies.sodium import in_single_precision
from mlipbook.studies.table1 import boxes
from mlipbook.studies.table1.boxes import SPRING
from mlipbook.units import fs, kB, meV

TEMPERATURE = 350.0  # K
VOLUMES = {"solid": 39.92, "liquid": 41.04}  # A^3 per atom, sodium at 350 K
TIMESTEP = 4 * fs
POINTS = {"solid": 8, "liquid": 6}  # of the path
ERROR = 2e-4  # eV per atom, of the sampled leg of each phase


@cache
def sodium() -> ANNPotential:
    """A student of chapter 7, EFP-fit, first seed."""
    students = load(full_file("hysteresis-students.npz"))
    return next(in_single_precision(p) for kind, k, p in each_member(students) if (kind, k) == ("EFP", 0))


def crystal(cells: int, volume: float) -> Structures:
    """2 cells^3 atoms on their sites; volume in A^3 per atom."""
    return Structures.from_ase(boxes.crystal(2 * cells**3, volume))


@cache
def zero() -> float:
    """Energy of the perfect crystal at the solid's volume, eV per atom: free energies are given from here."""
    perfect = crystal(3, VOLUMES["solid"])
    return float(sodium().evaluate(perfect).energy) / perfect.n_atoms


def sampled(
    phase: str, cells: int, points: int, sampling: Sampling, seed: int, store: Path | None = None
) -> FreeEnergy:
    """F of one phase."""
    run = partial(fe.solid, spring=SPRING) if phase == "solid" else fe.liquid
    integrate = partial(run, sodium(), crystal(cells, VOLUMES[phase]), TEMPERATURE, timestep=TIMESTEP)
    return integrate(points=points, sampling=sampling, seed=seed, store=store, progress=False)


def mistakes(n_atoms: int) -> dict[str, float]:
    """What each of four mistakes adds to F(liquid) - F(solid) in a cell of so many atoms, eV per atom.

    "no N!": of Stirling's formula only N ln N - N. "no fixed N": soft spheres without ln S(0)/2N. "no center
    of mass": the crystal without this term of its own. "V for V/N": the whole volume in this term.
    """
    kT, volume = kB * TEMPERATURE, n_atoms * VOLUMES["solid"]
    y = fe.soft_core_y(1 / VOLUMES["liquid"], TEMPERATURE, MU, SIGMA)
    crystal_terms = fe.einstein_crystal(n_atoms, volume, atomic_masses[11], SPRING, TEMPERATURE)
    return {
        "no N!": -kT * (lgamma(n_atoms + 1) / n_atoms - log(n_atoms) + 1),
        "no fixed N": kT * (fe.soft_core_excess(y).value - fe.soft_core_excess(y, n_atoms).value),
        "no center of mass": crystal_terms["center of mass"],
        "V for V/N": kT * log(n_atoms) / n_atoms,
    }


def records(solid: FreeEnergy, liquid: FreeEnergy) -> dict[str, dict[str, Any]]:
    """What chapter 8 records of both phases, meV per atom; n: of the window with the fewest samples."""
    values = {}
    for phase, result in (("solid", solid), ("liquid", liquid)):
        samples = [round(w.independent) for w in result.windows]
        values[f"F of the {phase}"] = replace(result.total - zero(), n=min(samples))
        values[f"U of the {phase}"] = replace(result.energy - zero(), n=samples[-1])
    values["F of the liquid minus F of the solid"] = values["F of the liquid"] - values["F of the solid"]
    return {name: (value / meV).record("meV/atom") for name, value in values.items()}


@command(saves="free-energy-sizes")
def study(
    store: Path, cells: Sequence[int] = (4,), max_steps: int = 40_000, replicas: int = 12, seed: int = 1
) -> Result:
    """Both phases at each size. store: folder, to go on after an interruption. cells: bcc cells along an
    edge. seed: chapter 8's live runs have 0."""
    kept, tables, spent = {}, {}, store / "seconds.txt"
    sampling = Sampling(ERROR, max_steps, replicas)
    for n in cells:
        began, N = time.process_time(), 2 * n**3
        both = {
            phase: sampled(phase, n, points, sampling, seed, store / f"{phase}-{N}")
            for phase, points in POINTS.items()
        }
        for name, item in records(**both).items():
            kept[name if N == 128 else f"{name}, {N} atoms"] = item
        tables[str(N)] = {phase: as_table(result) for phase, result in both.items()}
        tables[str(N)]["mistakes"] = mistakes(N)
        before = float(spent.read_text()) if spent.exists() else 0.0
        spent.write_text(str(before + time.process_time() - began))
    return Result(kept, {"sizes": tables, "zero": zero()}, float(spent.read_text()))


def as_table(result: FreeEnergy) -> dict[str, Any]:
    """Terms (value, error) and windows of a FreeEnergy, for JSON; eV per atom, eV/A^3."""
    found = {"F": result.total, "U": result.energy, "TS": result.TS, "pressure": result.pressure}
    return {
        "terms": {name: list(term) for name, term in result.terms.items()},
        **{name: list(x) for name, x in found.items()},
        "parameters": dict(result.parameters),
        "windows": result.windows.table(),
    }
