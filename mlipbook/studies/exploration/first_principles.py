"""Molecular dynamics on first-principles forces, as an independent judge of the potentials.

In one cell at one temperature, first-principles dynamics and a potential's own must have the same structure,
mean pressure and mean energy. Both are Langevin dynamics (of ASE), which forgets its start, and the small
drift that extrapolated orbitals bring, within the friction time.

    python -m mlipbook study exploration.first_principles trajectory solid 350 --folder FOLDER
    python -m mlipbook study exploration.first_principles judge --folder FOLDER

A trajectory goes on where it stopped; `judge` writes results/full/first-principles-md.json.
"""

import io
from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import Any, Literal

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.constraints import FixCom
from ase.md.langevin import Langevin

from mlipbook import archive, datasets
from mlipbook.averages import Value, mean
from mlipbook.dft import PlaneWaveDFT
from mlipbook.observables import pair_distribution
from mlipbook.potentials.ann import ANNPotential
from mlipbook.potentials.calculator import Calculator
from mlipbook.structures import Structures
from mlipbook.studies.command import Result, command
from mlipbook.studies.exploration.active_learning import train_committee
from mlipbook.studies.exploration.search import constant_pressure, moving
from mlipbook.studies.sodium import by_frame, by_part, deviations, means, of_phase, relabeled
from mlipbook.studies.stress.equation_of_state import pressures
from mlipbook.units import Ry, fs, meV

TIMESTEP, FRICTION_TIME, SAMPLE = 5.0, 200.0, 4  # fs, fs, steps between stored frames
SETTLE = 0.2  # ps, left out of averages
OWN_LENGTH, OWN_SAMPLE = 50.0, 10  # ps of the potential's own dynamics, steps between its frames
EDGES = np.linspace(2.0, 8.0, 61)  # A, bins of g(r)


def start(phase: str, temperature: float, committee: ANNPotential) -> Atoms:
    """A labeled structure of this phase, 10 ps into the committee's dynamics, at its mean volume."""
    # Of those at the nearest temperature the clearest case of its phase.
    sign = 1 if phase == "liquid" else -1
    chosen = min(
        of_phase(datasets.load("na-gamma"), phase),
        key=lambda a: (abs(a.info["md_temperature_K"] - temperature), sign * a.info["q6"]),
    )
    atoms = moving(chosen, committee, temperature, np.random.default_rng(0))
    dynamics, volumes = constant_pressure(atoms, temperature), []
    for _ in range(round(10e3 * fs / dynamics.dt / 10)):
        dynamics.run(10)
        volumes.append(atoms.get_volume())
    edge = float(np.mean(volumes[len(volumes) // 3 :])) ** (1 / 3)
    atoms.set_cell(np.eye(3) * edge, scale_atoms=True)
    return atoms


def langevin(atoms: Atoms, temperature: float, rng: np.random.Generator) -> Langevin:
    """With the center of mass at rest."""
    atoms.set_constraint(FixCom())
    friction = 1 / (FRICTION_TIME * fs)
    return Langevin(atoms, TIMESTEP * fs, temperature_K=temperature, friction=friction, fixcm=False, rng=rng)


def run(atoms: Atoms, calculator: Any, temperature: float, steps: int, file: Path) -> None:
    """Up to `steps` steps from these atoms and velocities, or from the last frame in the file, which every
    SAMPLE steps gets one with velocities and labels. Raises ValueError for a file of another run.
    """
    made = archive.made(file, start=atoms, calculator=calculator, temperature=temperature)
    done: Any = ase.io.read(file, ":") if made else []
    atoms, text = (done[-1] if done else atoms).copy(), file.read_text() if done else ""
    atoms.calc = calculator
    dynamics = langevin(atoms, temperature, np.random.default_rng([len(done), round(temperature)]))
    for _ in range(steps // SAMPLE - len(done)):
        dynamics.run(SAMPLE)
        frame = io.StringIO()
        ase.io.write(frame, atoms, format="extxyz")
        text += frame.getvalue()
        with archive.replacing(file) as stream:  # a kill leaves the frames so far
            stream.write(text.encode())


# ---- what trajectories tell -------------------------------------------------------------------------


def series(frames: Sequence[Atoms]) -> dict[str, np.ndarray]:
    """Name -> (frames, ...): energy in meV/atom, static pressure in GPa, g(r)."""
    return {
        "energy": np.array([atoms.get_potential_energy() / len(atoms) for atoms in frames]) / meV,
        "pressure": pressures(frames),
        "g(r)": pair_distribution(Structures.from_ase(frames), torch.as_tensor(EDGES)).numpy(),
    }


def block_average(values: np.ndarray) -> Value:
    """Mean over the first axis, and its standard error from the means of five blocks; n: all values."""
    means = np.stack([block.mean(axis=0) for block in np.array_split(values, 5)])
    return Value(values.mean(axis=0), mean(means).error, len(values))


def own_frames(potential: ANNPotential, begin: Atoms, temperature: float, length: float) -> list[Atoms]:
    """Frames of the potential's dynamics in this cell, `length` ps after one to settle."""
    atoms, frames = begin.copy(), []
    atoms.calc = Calculator(potential)
    dynamics = langevin(atoms, temperature, np.random.default_rng(0))
    dynamics.run(round(1e3 / TIMESTEP))
    for _ in range(round(1e3 * length / TIMESTEP / OWN_SAMPLE)):
        dynamics.run(OWN_SAMPLE)
        frames.append(relabeled(atoms, energy=atoms.get_potential_energy(), stress=atoms.get_stress()))
    return frames


def errors_along(potential: ANNPotential, frames: Sequence[Atoms]) -> dict[str, dict]:
    """Records of the committee mean on first-principles frames: bias of energy and pressure, force error."""
    each = by_frame(deviations(frames, means(potential, frames)))
    return {
        "energy bias": block_average(each["energy"]).record("meV/atom"),
        "pressure bias": block_average(each["pressure"]).record("GPa"),
        "force error (RMS)": (block_average(each["force"] ** 2) ** 0.5).record("meV/A"),
    }


def compare(
    frames: Any, potential: ANNPotential, temperature: float, length: float = OWN_LENGTH
) -> tuple[dict[str, dict], dict[str, list]]:
    """Records and curves of a first-principles trajectory beside the potential's own in the same cell.

    The distance of the two g(r) is int r^2 |g - g'| dr over int r^2 |g' - 1| dr; noise alone makes one, too.
    """
    settled = list(frames)[round(1e3 * SETTLE / TIMESTEP / SAMPLE) :]
    own = own_frames(potential, settled[-1], temperature, length)
    theirs, ours = ({k: block_average(v) for k, v in series(x).items()} for x in (settled, own))
    records = errors_along(potential, settled)
    for name, unit in (("energy", "meV/atom"), ("pressure", "GPa")):
        records[f"{name}, first principles"] = theirs[name].record(unit)
        records[f"{name}, potential minus first principles"] = (ours[name] - theirs[name]).record(unit)
    r, (g, g_sem), (reference, reference_sem) = (EDGES[1:] + EDGES[:-1]) / 2, ours["g(r)"], theirs["g(r)"]
    noise = np.sqrt(2 / np.pi) * np.hypot(g_sem, reference_sem)  # mean of |x| for x with this deviation
    for title, apart in (("", abs(g - reference)), (" from noise alone", noise)):
        distance = (r**2 * apart).sum() / (r**2 * abs(reference - 1)).sum()
        records[f"distance of g(r){title}"] = Value(distance, nan, len(settled)).record()
    curves = {"r": r, "g": g, "g_sem": g_sem, "reference": reference, "reference_sem": reference_sem}
    return records, {name: curve.tolist() for name, curve in curves.items()}


def taught() -> ANNPotential:
    """The committee that is judged."""
    return train_committee(by_part(datasets.load("na-gamma")))


@command()
def trajectory(
    phase: Literal["solid", "liquid"], temperature: float, /, *, folder: Path, steps: int = 240
) -> None:
    """First-principles dynamics of a phase at a temperature, K, kept in the folder."""
    dft = PlaneWaveDFT(ecut=10 * Ry, ecut_density=50 * Ry)
    file = folder / f"{phase}-{temperature:.0f}.xyz"
    run(start(phase, temperature, taught()), dft, temperature, steps, file)


@command(saves="first-principles-md")
def judge(folder: Path) -> Result:
    """Compare the committee's own dynamics with every trajectory in the folder."""
    records: dict[str, dict] = {}
    curves, committee = {}, taught()
    for file in sorted(folder.glob("*.xyz")):
        phase, temperature = file.stem.split("-")
        found, curves[file.stem] = compare(ase.io.read(file, ":"), committee, float(temperature))
        records |= {f"{phase}, {temperature} K: {name}": item for name, item in found.items()}
    return Result(records, {"curves": curves})
