"""Fig. 1's black line: sodium heated and cooled on first-principles forces, by multiple time stepping.

Reversible multiple time stepping (`dynamics.respa`) calls first principles once in 20 fs; an inner potential,
trained on all labels of these settings, moves the atoms in between, and the trajectory is first principles'.
Every call is from scratch: orbitals extrapolated along the trajectory remember the past, and the invariant
drifts. Every call is a label, and all are kept.

    python -m mlipbook study melting.first_principles prepare    # the inner potential, and where runs start
    python -m mlipbook study melting.first_principles run        # the runs of RUNS, one after the other
    python -m mlipbook study melting.first_principles show       # how far they are, and the checks' verdict

`run` goes on where it stopped, after every call of first principles, to the same bits. Files of a run, in
results/full/first-principles-ramps/NAME: see `first_principles_files`.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.stress import voigt_6_to_full_3x3_stress

from mlipbook import observables
from mlipbook.dft import PlaneWaveDFT
from mlipbook.dynamics import NPT, State, thermalize
from mlipbook.dynamics.methods import MartynaTobiasKlein, VelocityVerlet
from mlipbook.dynamics.respa import Respa
from mlipbook.potentials import Evaluation
from mlipbook.potentials.ann import ANNPotential, load
from mlipbook.structures import Structures
from mlipbook.studies.command import command
from mlipbook.studies.melting.first_principles_files import (
    bare,
    digest,
    keep,
    load_state,
    moving,
    resume,
    save_state,
)
from mlipbook.studies.melting.first_principles_plan import (
    FOLDER,
    RUNS,
    Run,
    cooling,
    heating,
    level,
    outer_step,
)
from mlipbook.studies.sodium import LATTICE, RICHER, at_gamma, by_part, liquids, trained
from mlipbook.units import Ry, fs, kB

INNER_STEP = 2.5  # fs
MELTED_Q6, MELTED_TIME = 0.25, 3.0  # a heated crystal is done when Q6 has been below for so long, ps
THERMOSTAT, BAROSTAT, CHAIN = 100.0, 500.0, 3  # fs, fs, as in the ramps of the potentials
SETTINGS = {"inner_step": INNER_STEP, "thermostat": THERMOSTAT, "barostat": BAROSTAT, "chain": CHAIN}


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
    options: dict[str, Any] = {"hidden": (30, 30), "repulsion": 2.4, "epochs": epochs, "learning_rate": 1e-2}
    return trained(by_part(at_gamma() + trajectories()), (1, 1, 0.2), learns=RICHER, seed=seed, **options)


@command()
def prepare(folder: Path = FOLDER) -> None:
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
        atoms = liquids(T)[int(seed) - 1]
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
        self.settings = self.calculator.parameters

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
    start = load_state(folder / "starts" / f"{run.start}.npz")[0]
    identity = {**asdict(run), **SETTINGS, "outer": outer, "first_principles": forces.settings}
    identity |= {"inner": digest(inner.state_dict().values()), "begins": digest(moving(start))}
    target = folder / run.name
    state, rows, labels = resume(target, start, identity)
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


@command()
def show(folder: Path = FOLDER) -> None:
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


@command()
def run(folder: Path = FOLDER, only: Sequence[str] | None = None) -> None:
    """The runs of RUNS, one after the other. only: their names (default: all)."""
    for each in RUNS:
        if not only or each.name in only:
            perform(each, folder)
