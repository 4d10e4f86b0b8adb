"""Fig. 1's black line: sodium heated and cooled on first-principles forces, by multiple time stepping.

Reversible multiple time stepping (`dynamics.respa`) calls first principles once in 20 fs; an inner potential,
trained on all labels of these settings, moves the atoms in between, and the trajectory is first principles'.
Every call is from scratch: orbitals extrapolated along the trajectory remember the past, and the invariant
drifts. Every call is a label, and all are kept.

    python -m mlipbook.studies.melting.first_principles prepare    the inner potential, and where runs start
    python -m mlipbook.studies.melting.first_principles run        the runs of RUNS, one after the other
    python -m mlipbook.studies.melting.first_principles show       how far they are, and the checks' verdict

`run` goes on where it stopped, after every call of first principles, to the same bits. Files of a run, in
results/full/first-principles-ramps/NAME: part-0000.npz, ... with PART steps each, and checkpoint.npz.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.stress import voigt_6_to_full_3x3_stress

from mlipbook import archive, datasets, observables
from mlipbook.descriptors import Chebyshev
from mlipbook.dft import PlaneWaveDFT
from mlipbook.dynamics import NPT, State, thermalize
from mlipbook.dynamics.methods import MartynaTobiasKlein, VelocityVerlet
from mlipbook.dynamics.respa import Respa
from mlipbook.potentials import Evaluation
from mlipbook.potentials.ann import ANNPotential, load
from mlipbook.structures import Structures
from mlipbook.training.checkpoint import digest
from mlipbook.training.cost import Cost
from mlipbook.training.fitting import fit
from mlipbook.units import Ry, fs, kB

FOLDER = Path("results/full/first-principles-ramps")
INNER_STEP = 2.5  # fs
OUTER_STEPS = (10.0, 20.0, 30.0)  # fs, that the checks compare
LONGEST_SPREAD, LONGEST_DRIFT = (
    0.07,
    0.1,
)  # meV/atom, meV/atom/ps: what the invariant may do (see `outer_step`)
PART = 50  # steps in a file
MELTED_Q6, MELTED_TIME = 0.25, 3.0  # a heated crystal is done when Q6 has been below for so long, ps
LATTICE, LIQUID_Q6 = 4.27, 0.12  # A, of the crystal that starts; of labeled frames that start a liquid
THERMOSTAT, BAROSTAT, CHAIN = 100.0, 500.0, 3  # fs, fs, as in the ramps of the potentials
KIND, VERSION = "first-principles run", 1


@dataclass(frozen=True)
class Run:
    """A run of 128 sodium atoms. start: name of a file in the folder's starts. rate: K/ps, 0 for a check.

    outer: fs between first-principles calls, 0 for the one that the checks chose. plain: without an inner
    potential, velocity Verlet on first-principles forces. length: ps, at most.
    """

    name: str
    ensemble: str  # NVE or NPT, at zero pressure
    start: str
    first: float  # K
    last: float
    length: float
    outer: float = 0.0
    plain: bool = False

    def temperature(self, time: float) -> float:
        """Of the thermostat, K, after so many ps."""
        return self.first + (self.last - self.first) * min(time / self.length, 1.0)


def check(ensemble: str, start: str, outer: float, length: float = 1.0) -> Run:
    return Run(f"{ensemble.lower()}-{outer:g}fs", ensemble, start, 350, 350, length, outer)


def heating(seed: int) -> Run:
    return Run(f"heating-{seed}", "NPT", f"crystal-{seed}", 340, 470, 130 / 7)


def cooling(seed: int) -> Run:
    return Run(f"cooling-{seed}", "NPT", f"liquid-{seed}", 380, 220, 160 / 7)


VERLET = Run("nve-verlet-5fs", "NVE", "nve", 350, 350, 1.0, 5.0, plain=True)
RUNS = [
    *(check("NVE", "nve", outer) for outer in (20, 30)),
    *(check("NPT", "npt", outer) for outer in (20, 30)),
    heating(1),
    check("NVE", "nve", 10),
    check("NPT", "npt", 10),
    VERLET,
    *(heating(seed) for seed in (2, 3, 4)),
    *(cooling(seed) for seed in (1, 2, 3, 4)),
    *(heating(seed) for seed in (5, 6, 7, 8)),
]  # fmt: skip


# ---- the inner potential, and where runs start ---------------------------------------------------------


def first_principles() -> PlaneWaveDFT:
    """With the settings of na-gamma."""
    return PlaneWaveDFT(ecut=10 * Ry, ecut_density=50 * Ry, device="cpu")


def trajectories() -> list[Atoms]:
    """Stored first-principles dynamics at 350 K, every second frame, the last tenth of each to validate."""
    found = []
    for path in sorted(Path("results/full/first-principles-md").glob("*.xyz.xz")):
        frames: Any = ase.io.read(path, "::2")
        for k, atoms in enumerate(frames):
            atoms.info["split"] = "valid" if k >= 0.9 * len(frames) else "train"
        found += frames
    return found


def train_inner(epochs: int = 120, seed: int = 0) -> ANNPotential:
    """An EFP-fit to every label of these settings without strained cells; float64."""
    active = datasets.load("na-gamma-active")
    frames = datasets.load("na-gamma") + [a for a in active if not a.info["kind"].startswith("strained")]
    frames += trajectories()
    parts = {part: [a for a in frames if a.info["split"] == part] for part in ("train", "valid")}
    descriptor = Chebyshev(("Na",), radial_cutoff=7.0, radial_order=20, angular_cutoff=7.0, angular_order=8)
    potential = ANNPotential(descriptor, hidden=(30, 30), seed=seed, repulsion=2.4).float()
    fit(potential, parts["train"], parts["valid"], Cost(1.0, 1.0, 0.2), epochs=epochs, learning_rate=1e-2)
    return potential.double()


def prepare(folder: Path) -> None:
    """Train the inner potential and draw the starts, where they are missing."""
    if not (folder / "inner.npz").exists():
        train_inner().save(folder / "inner.npz")
    inner = load(folder / "inner.npz")
    for name in sorted({run.start for run in RUNS}):
        if not (folder / "starts" / f"{name}.npz").exists():
            save_state(folder / "starts" / f"{name}.npz", begin(name, inner), {})


def begin(name: str, inner: ANNPotential) -> State:
    """nve, npt: the last frame of stored dynamics of the liquid and of the crystal at 350 K. crystal-SEED,
    liquid-SEED: 10 ps of the inner potential's dynamics in NPT from a perfect crystal or a labeled liquid.
    """
    if name in ("nve", "npt"):
        phase = {"nve": "liquid", "npt": "solid"}[name]
        atoms: Any = ase.io.read(f"results/full/first-principles-md/{phase}-350.xyz.xz", -1)
        state = thermalize(atoms, 350.0)
        momenta = torch.as_tensor(atoms.get_momenta())[None]
        return replace(state, momenta=momenta - momenta.mean(1, keepdim=True))
    phase, seed = name.split("-")
    if phase == "crystal":
        atoms, T, twice = bulk("Na", "bcc", a=LATTICE, cubic=True) * (4, 4, 4), heating(1).first, 2
    else:
        T, twice = cooling(1).first, 1
        liquids = [a for a in datasets.load("na-gamma") if a.info["q6"] < LIQUID_Q6]
        atoms = sorted(liquids, key=lambda a: abs(a.info["md_temperature_K"] - T))[int(seed) - 1]
    # A perfect crystal gets twice the heat: half of it goes into vibrations.
    first = thermalize(atoms, twice * T, seed=100 * int(seed))
    return NPT(inner, INNER_STEP * fs, T).run(first, round(10e3 / INNER_STEP), every=200).state


# ---- dynamics -------------------------------------------------------------------------------------------


class FirstPrinciples:
    """A structure's Evaluation, from scratch. Only totals are known: each atom gets an equal share of energy
    and virial.
    """

    def __init__(self) -> None:
        self.calculator = first_principles()

    def __call__(self, structures: Structures) -> Evaluation:
        [atoms] = structures.to_ase()
        self.calculator.solutions = []
        self.calculator.calculate(atoms)
        N, found = len(atoms), self.calculator.results
        V = structures.volumes
        stress = torch.as_tensor(voigt_6_to_full_3x3_stress(found["stress"]))
        return Evaluation(
            torch.full((1, N), found["energy"] / N, dtype=torch.float64),
            torch.as_tensor(found["forces"])[None],
            (-stress * V / N).expand(1, N, 3, 3),
            V,
        )

    @property
    def iterations(self) -> int:
        """Of the last call."""
        return len(self.calculator.report["scf_errors_eV"])


def method_of(run: Run, inner: ANNPotential, outer: float) -> VelocityVerlet | Respa:
    npt = MartynaTobiasKlein(THERMOSTAT * fs, BAROSTAT * fs, CHAIN)
    if run.plain:
        return VelocityVerlet()
    return Respa(npt if run.ensemble == "NPT" else VelocityVerlet(), inner, round(outer / INNER_STEP))


def perform(run: Run, folder: Path, forces: Any = None) -> None:
    """All steps of a run that are not done, each of them kept."""
    inner, forces = load(folder / "inner.npz"), forces or FirstPrinciples()
    outer = run.outer or outer_step(folder)
    method = method_of(run, inner, outer)
    timestep = (outer if run.plain else INNER_STEP) * fs
    identity = {**asdict(run), "outer": outer, "inner": digest(inner.state_dict().values())}
    target = folder / run.name
    state, rows, labels = resume(target, folder / "starts" / f"{run.start}.npz", identity)
    kT = kB * run.temperature(1e-3 * outer * state.step)
    state = method.begin(state, kT)  # keeps extended variables that are there
    if state.result is None:
        state = state.updated(result=forces(state.structures))
    while not done(run, outer, state.step, np.array([row["q6"] for row in rows])):
        began, step = time.process_time(), state.step
        kT = kB * run.temperature(1e-3 * outer * step)
        before = float(method.invariant(state, kT, 0.0))
        state = bare(method.step(state, forces, timestep, kT, 0.0), step + 1)
        row = row_of(method, state, kT, before, inner)
        row |= {"iterations": forces.iterations, "seconds": time.process_time() - began}
        rows.append({"time": 1e-3 * outer * (step + 1), "target": kT / kB, **row})
        labels.append(label_of(state))
        keep(target, state, rows, labels, identity)


def bare(state: State, step: int) -> State:
    """The state as it comes back from a file: what a step derived and carried on, to rounding, is dropped."""
    old, result = state.structures, state.evaluated
    structures = Structures(old.positions, old.cells, old.species)
    result = replace(result, volumes=structures.volumes)
    return replace(state, structures=structures, extended=dict(state.extended), result=result, step=step)


def row_of(method: Any, state: State, kT: float, before: float, inner: ANNPotential) -> dict[str, float]:
    """Of a step: energies (eV), temperature (K), volume (A^3), static pressure (eV/A^3), Q6, shortest
    distance (A); invariant before and after the step at the step's kT; what the inner potential says, and
    the RMS difference of forces (eV/A).
    """
    whole, cheap = state.evaluated, inner.evaluate(state.structures)
    return {
        "energy": float(whole.energy),
        "temperature": float(state.temperature),
        "volume": float(state.volume),
        "pressure": float(whole.pressure),
        "before": before,
        "after": float(method.invariant(state, kT, 0.0)),
        "q6": float(observables.q6(state)),
        "shortest": float(observables.shortest_distance(state)),
        "inner_energy": float(cheap.energy),
        "inner_pressure": float(cheap.pressure),
        "force_difference": float((whole.forces - cheap.forces).square().mean().sqrt()),
    }


def label_of(state: State) -> dict[str, np.ndarray]:
    """Positions (A), cell, forces (eV/A) and stress (eV/A^3) of a step, in single precision."""
    found = {
        "positions": state.structures.positions,
        "cell": state.structures.cells,
        "forces": state.evaluated.forces,
        "stress": state.evaluated.stress,
    }
    return {name: x[0].numpy().astype(np.float32) for name, x in found.items()}


def done(run: Run, outer: float, steps: int, q6: np.ndarray) -> bool:
    """At the end, or, of a heated crystal, MELTED_TIME after the last sample that is not a liquid's."""
    if steps >= round(1e3 * run.length / outer):
        return True
    last = round(1e3 * MELTED_TIME / outer)
    return run.last > run.first and len(q6) >= last and bool((q6[-last:] < MELTED_Q6).all())


# ---- files ----------------------------------------------------------------------------------------------


def save_state(path: Path, state: State, metadata: dict[str, Any], **arrays: Any) -> None:
    """A state, with its result if it has one, and other arrays."""
    result = state.result
    totals = (
        {}
        if result is None
        else {"energies": result.energies, "forces": result.forces, "virials": result.virials}
    )
    arrays = {
        **arrays,
        "positions": state.structures.positions,
        "cells": state.structures.cells,
        "species": state.structures.species,
        "momenta": state.momenta,
        **{f"extended.{name}": value for name, value in state.extended.items()},
        **{f"result.{name}": getattr(result, name) for name in totals},
    }
    metadata |= {"kind": KIND, "version": VERSION, "step": state.step, "free": state.degrees_of_freedom}
    archive.save(path, arrays, metadata)


def load_state(path: Path) -> tuple[State, dict[str, np.ndarray], dict[str, Any]]:
    arrays, metadata = archive.load(path, KIND, VERSION)
    tensors = {name: torch.as_tensor(array) for name, array in arrays.items()}
    structures = Structures(tensors["positions"], tensors["cells"], tensors["species"])
    extended = {k.removeprefix("extended."): x for k, x in tensors.items() if k.startswith("extended.")}
    result = None
    if "result.energies" in tensors:
        energies, forces, virials = (tensors[f"result.{x}"] for x in ("energies", "forces", "virials"))
        result = Evaluation(energies, forces, virials, structures.volumes)
    momenta, free = tensors["momenta"], metadata["free"]
    state = State(structures, momenta, structures.masses, (0,), free, metadata["step"], extended, result)
    return state, arrays, metadata


def resume(target: Path, start: Path, identity: dict[str, Any]) -> tuple[State, list[dict], list[dict]]:
    """State, rows of all steps, and the labels that are not yet in a part. ValueError if of another run."""
    if not (target / "checkpoint.npz").exists():
        return load_state(start)[0], [], []
    state, arrays, metadata = load_state(target / "checkpoint.npz")
    if metadata["identity"] != identity:
        raise ValueError(f"{target}: holds {metadata['identity']}, not {identity}; move the folder away")
    columns = [name for name in arrays if name.startswith("row.")]
    rows = [{name[4:]: float(arrays[name][k]) for name in columns} for k in range(state.step)]
    waiting = [name for name in arrays if name.startswith("label.")]
    labels = [{name[6:]: arrays[name][k] for name in waiting} for k in range(state.step % PART)]
    return state, rows, labels


def keep(target: Path, state: State, rows: list[dict], labels: list[dict], identity: dict[str, Any]) -> None:
    """The checkpoint, replaced whole; every PART steps the labels move to a file that never changes."""
    metadata: dict[str, Any] = {"identity": identity}
    series = {f"row.{name}": np.array([row[name] for row in rows]) for name in rows[0]}
    if len(labels) == PART:
        part = {name: np.stack([x[name] for x in labels]) for name in labels[0]}
        part |= {"energy": series["row.energy"][-PART:], "time": series["row.time"][-PART:]}
        path = target / f"part-{state.step // PART - 1:04d}.npz"
        archive.save(path, part, {**metadata, "kind": KIND, "version": VERSION})
        labels.clear()
    waiting = {f"label.{name}": np.stack([x[name] for x in labels]) for name in labels[0]} if labels else {}
    save_state(target / "checkpoint.npz", state, metadata, **series, **waiting)


# ---- the checks' verdict ---------------------------------------------------------------------------


def level(folder: Path, name: str) -> tuple[float, float] | None:
    """Spread about a straight line (meV/atom) and slope (meV/atom/ps) of a check's invariant, if done."""
    run = next(run for run in RUNS if run.name == name)
    path = folder / name / "checkpoint.npz"
    if not path.exists():
        return None
    state, arrays, _ = load_state(path)
    if state.step < round(1e3 * run.length / run.outer):
        return None
    time, H = arrays["row.time"], 1e3 * arrays["row.after"] / state.structures.n_atoms
    slope, intercept = np.polyfit(time, H, 1)
    return float((H - slope * time - intercept).std(ddof=2)), float(slope)


def outer_step(folder: Path) -> float:
    """The longest outer step of the checks (fs) whose invariant is level in NVE and in NPT; 20 if none is."""
    for outer in sorted(OUTER_STEPS, reverse=True):
        found = [level(folder, f"{ensemble}-{outer:g}fs") for ensemble in ("nve", "npt")]
        if all(x and x[0] <= LONGEST_SPREAD and abs(x[1]) <= LONGEST_DRIFT for x in found):
            return outer
    return 20.0


def show(folder: Path) -> None:
    """A line for each run that has begun."""
    for run in RUNS:
        path = folder / run.name / "checkpoint.npz"
        if not path.exists():
            continue
        state, arrays, metadata = load_state(path)
        row = {name[4:]: values[-1] for name, values in arrays.items() if name.startswith("row.")}
        print(
            f"{run.name:14} {state.step:5} x {metadata['identity']['outer']:g} fs, {row['target']:.1f} K:",
            f"T {row['temperature']:.0f} K, V {row['volume'] / 128:.2f} A^3/atom, Q6 {row['q6']:.3f}, forces",
            f"{1e3 * row['force_difference']:.1f} meV/A apart, {arrays['row.seconds'].mean():.1f} s a step,",
            "" if run.outer == 0 else f"invariant: spread, slope {level(folder, run.name)}",
        )
    print("outer step:", outer_step(folder), "fs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["prepare", "run", "show"])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--only", nargs="*", help="names of runs (default: all, in the order of RUNS)")
    given = parser.parse_args()
    torch.set_num_threads(1)  # bits do not depend on the number of cores
    if given.command == "prepare":
        prepare(given.folder)
    elif given.command == "show":
        show(given.folder)
    else:
        for run in RUNS:
            if not given.only or run.name in given.only:
                perform(run, given.folder)


if __name__ == "__main__":
    main()
