"""Gamma against four k points, without any fit: first-principles labels on fixed ensembles.

Snapshots of crystal and melt are drawn from NVT runs of one potential, here that of 128-4k, and labeled at
both samplings. For each phase, to second order (Zwanzig, J. Chem. Phys. 22, 1420 (1954)),

    F(A) - F(B) = <U_A - U_B>_X - [variance(U_A - U_X) - variance(U_B - U_X)]/(2 kT)

in the ensemble of the potential X that drew them. Liquid minus solid is what the change of labels does to
F_liq - F_sol at fixed volumes, beside the same difference from thermodynamic integration. Labels minus
potential tells in the same way what a fit has missed. For 32k and 8k (the sampling of 1024-Gamma) the
corrections of `table1.potentials` stand for labels.

    python -m mlipbook study table1.perturbation frames --folder F --out drawn.xyz
    python -m mlipbook study table1.perturbation report

The frames of the second line are in results/full/perturbation.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms

from mlipbook.averages import Value
from mlipbook.dynamics import Langevin, Limits, thermalize
from mlipbook.observables import steinhardt
from mlipbook.potentials.ann import ANNPotential, load
from mlipbook.studies.command import Result, command
from mlipbook.studies.k_points.correction import differences, fit_correction
from mlipbook.studies.sodium import PHASES, of_phase, predicted
from mlipbook.studies.table1.boxes import heated, starts
from mlipbook.studies.table1.jobs import TEMPERATURE, fingerprint, jobs_of, member, volume_at
from mlipbook.studies.table1.potentials import POTENTIALS, bundled, corrected
from mlipbook.studies.table1.runs import TIMESTEP
from mlipbook.units import fs, kB, meV

SETTING, SEED = "128-4k", 0
SNAPSHOTS = 12  # of each phase, from as many replicas
STEPS = 1250
ORDERS = ("mean", "second cumulant", "sum")
KEPT = Path("results/full/perturbation")  # drawn, gamma, four: the frames with energies of X, and both labels


def snapshots(potential: ANNPotential, phase: str, volume: float, store: Path) -> list[Atoms]:
    """The last frames of independent replicas of 128 atoms, 5 ps after their start; volume: A^3 per atom."""
    boxes = starts(phase, SNAPSHOTS, volume, TEMPERATURE)
    state = thermalize(boxes, heated(phase, TEMPERATURE), seed=1)
    simulation = Langevin(potential, TIMESTEP * fs, TEMPERATURE)
    options: dict[str, Any] = {"limits": Limits(closest=0.0), "store": store, "progress": False}
    end = simulation.run(state, STEPS, **options).state.structures
    found = end.to_ase()
    for k, (atoms, q6) in enumerate(zip(found, steinhardt(end).tolist(), strict=True)):
        atoms.wrap()
        name = {"frame": f"ti_{phase[0]}{k:02d}", "phase": phase, "q6": round(q6, 4)}
        atoms.info |= {**name, "md_temperature_K": TEMPERATURE, "source": f"NVT of the {SETTING} potential"}
    return found


def perturbed(
    a: Sequence[Atoms], b: Sequence[Atoms], drawn: Sequence[Atoms], temperature: float, title: str
) -> dict[str, dict[str, Any]]:
    """Records of F(a) - F(b) in meV/atom, for each phase and for liquid minus solid; title: "a minus b".
    drawn: the frames with the energies of the potential that drew them. Errors: jackknife over the frames."""
    named = [{x.info["frame"]: x.get_potential_energy() for x in frames} for frames in (a, b, drawn)]
    found = {}
    for phase in PHASES:
        here = of_phase(a, phase)
        energies = np.array([[each[atoms.info["frame"]] for atoms in here] for each in named]) / len(here[0])
        found[phase] = second_order(energies, kB * temperature / len(here[0]))
    found["liquid minus solid"] = replace(found["liquid"] - found["solid"], n=len(a))
    return {
        f"{title}, {phase}: {name}": Value(value, error, x.n).record("meV/atom")
        for phase, x in found.items()
        for name, value, error in zip(ORDERS, *(x / meV), strict=True)
    }


def second_order(energies: np.ndarray, kT: float) -> Value:
    """ORDERS of F(A) - F(B), arrays (3,), from energies of A, B and X (3, n), frames drawn from X,
    and their jackknife errors: <A - B> - [var(A - X) - var(B - X)]/(2 kT)."""

    def orders(energies: np.ndarray) -> np.ndarray:
        A, B, X = energies
        first, second = (A - B).mean(), -((A - X).var(ddof=1) - (B - X).var(ddof=1)) / (2 * kT)
        return np.array([first, second, first + second])

    n = energies.shape[1]
    without = np.array([orders(np.delete(energies, i, axis=1)) for i in range(n)])
    return Value(orders(energies), np.sqrt((n - 1) * without.var(axis=0)), n)


@command()
def frames(folder: Path, potentials: Path = POTENTIALS, out: Path = Path("drawn.xyz")) -> None:
    """Draw snapshots of both phases. folder: of `runs`, with the volumes; out: extxyz."""
    potential, drawn = member(potentials, SETTING, SEED), []
    for phase in PHASES:
        job = jobs_of("volume", [SETTING], [SEED], [phase])[0]
        store = folder / "runs" / f"snapshots-{phase}-{fingerprint(potentials, job)}"
        drawn += snapshots(potential, phase, volume_at(folder, job, potentials), store)
    ase.io.write(out, predicted(potential, drawn), format="extxyz")


@command(saves="delta-f-perturbation")
def report(potentials: Path = POTENTIALS, frames: Path = KEPT) -> Result:
    """What the labels say. frames: folder of drawn, gamma and four.xyz.xz."""
    drawn, gamma, four = (list(ase.io.iread(frames / f"{x}.xyz.xz")) for x in ("drawn", "gamma", "four"))
    labels: dict[str, Any] = {"Gamma": gamma, "4k": four}
    pairs = {"Gamma minus 4k": (gamma, four)}
    for name, labeled in labels.items():
        fitted = predicted(load(potentials / f"128-{name}.npz"), labeled)
        pairs[f"labels minus potential, 128-{name}"] = labeled, fitted
    known = bundled()
    for name in ("32k", "8k"):
        correction = fit_correction(differences(known[name], known["4k"]))
        pairs[f"{name} minus 4k, by the correction"] = corrected(four, correction), four
    results: dict[str, Any] = {}
    for title, (a, b) in pairs.items():
        results |= perturbed(a, b, drawn, TEMPERATURE, title)
    names = [atoms.info["frame"] for atoms in gamma]
    energies = {name: [a.get_potential_energy() for a in each] for name, each in labels.items()}
    return Result(results, {"frames": names, "energies": energies})
