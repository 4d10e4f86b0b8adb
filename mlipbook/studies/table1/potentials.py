"""Potentials for four ways to label the same structures: the four columns of Table 1.

    128-Gamma     the Gamma point of 128 atoms
    128-4k        2x2x2 shifted k points of 128 atoms
    1024-Gamma    the Gamma point of 1,024 atoms: 20 such frames, and 128 atoms with the same sampling
    128-32k       4x4x4 shifted k points of 128 atoms

All learn the same structures of 128 atoms. Where a label of the last two settings was not computed, it is
that of 4k with a correction learned on the differences (see `k_point_correction`): 32k - 4k, and for the
Gamma point of 1,024 atoms 8k - 4k, as 2x2x2 unshifted k points of a cell are the Gamma point of the doubled
one. One committee for each setting; its members differ in their first weights only.

    python -m mlipbook.studies.table1.potentials train --folder results/full/table1-potentials
    python -m mlipbook.studies.table1.potentials errors --folder results/full/table1-potentials
    python -m mlipbook.studies.table1.potentials weights --folder results/full/table1-potentials
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlipbook import bookkit, datasets
from mlipbook.accuracy import predict
from mlipbook.potentials.ann import ANNPotential, load
from mlipbook.studies.exploration.active_learning import by_part
from mlipbook.studies.k_points.correction import (
    UNITS,
    Equations,
    blank,
    differences,
    equations,
    fit_correction,
    least_squares,
    solve,
    transferred,
)
from mlipbook.studies.stress.cost_weights import Weights
from mlipbook.studies.stress.training import by_kind, descriptor, held_out, train_kinds
from mlipbook.training.cost import Cost
from mlipbook.training.derivatives import prepare_all
from mlipbook.training.fitting import fit

SETTINGS = ("128-Gamma", "128-4k", "1024-Gamma", "128-32k")
LABELS = {
    "Gamma": ("na-gamma", "na-gamma-active"),
    "4k": ("na-4k",),
    "8k": ("na-8k",),
    "32k": ("na-32k",),
    "1024-Gamma": ("na-1024-gamma",),
}
# Free energies live on energies. With the weights of the other studies, (1, 1, 0.2), the mean energy of a
# phase is off by as much as all of Table 1: see `compare_weights`.
WEIGHTS: Weights = (30.0, 1.0, 3.0)
COMPARED: dict[str, Weights] = {
    f"p_U = {w[0]:g}, p_F = {w[1]:g}, p_W = {w[2]:g}": w
    for w in ((1, 1, 0.2), (10, 1, 1), WEIGHTS, (100, 1, 10))
}
ORDINARY = 600  # K; hotter frames are trained on, but errors are told of what is near melting
Labels = Mapping[str, Sequence[Atoms]]


def bundled() -> dict[str, list[Atoms]]:
    """The labels that come with the package, by their k points, without strained cells (see `teacher`)."""
    found = {name: [a for entry in sets for a in datasets.load(entry)] for name, sets in LABELS.items()}
    return {
        name: [a for a in frames if not a.info.get("kind", "").startswith("strained")]
        for name, frames in found.items()
    }


def corrected(frames: Sequence[Atoms], correction: ANNPotential) -> list[Atoms]:
    """Copies whose labels are those of the frames plus what the correction says; info["label"] tells."""
    copies = []
    for atoms, added in zip(frames, predict(correction, frames), strict=True):
        copy = atoms.copy()
        labels = {
            "energy": atoms.get_potential_energy() + float(added["energy"][0]),
            "forces": atoms.get_forces() + added["forces"][0],
            "stress": atoms.get_stress() + added["stress"][0],
        }
        copy.calc = SinglePointCalculator(copy, **labels)
        copy.info["label"] = "corrected"
        copies.append(copy)
    return copies


def direct(frames: Sequence[Atoms], names: set[str] | None = None) -> list[Atoms]:
    """The frames of these names (None: all), marked as labeled by first principles."""
    chosen = [atoms for atoms in frames if names is None or atoms.info["frame"] in names]
    for atoms in chosen:
        atoms.info["label"] = "direct"
    return chosen


def frames_of(setting: str, labels: Labels) -> list[Atoms]:
    """What a setting learns and is tested on: every structure that has a label at 4k, whatever the setting.

    Raises ValueError for an unknown setting.
    """
    common = {atoms.info["frame"] for atoms in labels["4k"]} & {a.info["frame"] for a in labels["Gamma"]}
    four = direct(labels["4k"], common)
    if setting == "128-Gamma":
        return direct(labels["Gamma"], common)
    if setting == "128-4k":
        return four
    if setting == "1024-Gamma":
        learned = fit_correction(differences(labels["8k"], labels["4k"]))
        return corrected(four, learned) + direct(labels["1024-Gamma"])
    if setting == "128-32k":
        known = {atoms.info["frame"] for atoms in labels["32k"]} & common
        learned = fit_correction(differences(labels["32k"], labels["4k"]))
        rest = [atoms for atoms in four if atoms.info["frame"] not in known]
        return corrected(rest, learned) + direct(labels["32k"], known)
    raise ValueError(f"setting {setting!r}: there are {', '.join(SETTINGS)}")


def train(
    frames: Sequence[Atoms],
    weights: Weights = WEIGHTS,
    members: int = 3,
    epochs: int = 160,
    seed: int = 0,
    progress: bool = True,
) -> ANNPotential:
    """A committee of EFP-fits, trained in float32, returned in float64. Raises what `training.fit` raises."""
    parts = by_part(frames)
    potential = ANNPotential(descriptor(), members=members, seed=seed).float()
    options: dict[str, Any] = {"epochs": epochs, "learning_rate": 1e-2, "seed": seed, "progress": progress}
    fit(potential, parts["train"], parts["valid"], Cost(*weights), **options)
    return potential.double()


# ---- what they are worth -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Errors (members, frames) by name, in the units of `stress_training.held_out`; solid: (frames,) bool."""

    errors: Mapping[str, np.ndarray]
    solid: np.ndarray

    def phase_shift(self) -> tuple[np.ndarray, float]:
        """Mean energy error of liquids less that of solids, (members,) meV/atom, and the standard error over
        frames that all members share: what it does to F_liq - F_sol, to first order."""
        e = self.errors["energy"]
        liquid, solid = e[:, ~self.solid], e[:, self.solid]
        sem = np.hypot(*(x.mean(0).std(ddof=1) / x.shape[1] ** 0.5 for x in (liquid, solid)))
        return liquid.mean(1) - solid.mean(1), float(sem)


def tested(potential: ANNPotential, frames: Sequence[Atoms]) -> Comparison:
    """On the test frames below ORDINARY, in the setting's own labels."""
    test = [a for a in by_part(frames)["test"] if a.info["md_temperature_K"] < ORDINARY]
    errors = held_out(potential, test, prepare_all(potential, test, "test"))
    return Comparison(errors, np.array([atoms.info["phase"] == "solid" for atoms in test]))


def left_out(found: Equations) -> dict[str, np.ndarray]:
    """Errors of each frame by the correction that was learned without it, in UNITS of the correction."""
    A, b = found.normal()
    _, ridge = least_squares(found)
    n = len(A)
    each = []
    for i in range(n):
        c = solve(A.sum(0) - A[i], b.sum(0) - b[i], ridge * (n - 1))
        one = Equations(found.X[i : i + 1], found.y[i : i + 1], found.atomic_volumes[i : i + 1])
        each.append(one.errors(c))
    return {name: np.concatenate([errors[name] for errors in each]) for name in UNITS}


def correction_records(labels: Labels, pair: tuple[str, str]) -> dict[str, dict]:
    """How large the differences of two settings are, and what of them the correction misses (left out)."""
    many, few = pair
    frames = differences(labels[many], labels[few])
    potential, prepared = blank(frames)
    found = equations(potential, frames, prepared)
    solid = np.array([atoms.info["phase"] == "solid" for atoms in frames])
    columns = {
        "as they are": found.errors(np.zeros(found.X.shape[-1])),
        "left out": left_out(found),
    }
    out = {}
    for kind, errors in columns.items():
        for name, unit in UNITS.items():
            square = errors[name] ** 2
            value = float(np.sqrt(square.mean()))
            sem = float(square.std(ddof=1) / len(square) ** 0.5 / (2 * value))
            out[f"{many} minus {few}, {kind}: {name}"] = record(value, sem, len(square), unit)
        e = errors["energy"]
        shift = float(e[~solid].mean() - e[solid].mean())
        sem = float(np.hypot(*(x.std(ddof=1) / len(x) ** 0.5 for x in (e[solid], e[~solid]))))
        title = f"{many} minus {few}, {kind}: energy, liquid minus solid"
        sign = -1 if kind == "as they are" else 1  # errors are predicted minus labeled
        out[title] = record(sign * shift, sem, len(e), "meV/atom")
    return out


def large_cell_records(four: ANNPotential, labels: Labels) -> dict[str, dict]:
    """The frames of 1,024 atoms against the 4k-potential with the correction 8k - 4k, which saw none."""
    frames = labels["1024-Gamma"]
    errors = transferred(four, fit_correction(differences(labels["8k"], labels["4k"])), frames)
    solid = np.array([atoms.info["phase"] == "solid" for atoms in frames])
    out = {}
    for phase, here in (("solid", solid), ("liquid", ~solid)):
        for name in ("energy", "pressure"):
            x = errors[name][here]
            title = f"1,024 atoms, corrected potential minus label, {phase}: {name}"
            out[title] = record(x.mean(), x.std(ddof=1) / len(x) ** 0.5, len(x), UNITS[name])
    return out


def records(setting: str, frames: Sequence[Atoms], found: Comparison) -> dict[str, dict]:
    out = {}
    for kind in ("direct", "corrected"):
        n = sum(atoms.info["label"] == kind for atoms in frames)
        out[f"{setting}: {kind} labels"] = {"value": n, "sem": None, "n": n, "unit": "frames"}
    for name, unit in UNITS.items():
        each = np.sqrt((found.errors[name] ** 2).mean(1))
        out[f"{setting}: {name} error"] = record(each.mean(), spread(each), len(each), unit)
    shifts, sem = found.phase_shift()
    n = len(found.solid)
    for m, value in enumerate(shifts):
        out[f"{setting}, seed {m}: energy error, liquid minus solid"] = record(value, sem, n, "meV/atom")
    out[f"{setting}: energy error, liquid minus solid"] = record(shifts.mean(), sem, n, "meV/atom")
    return out


def spread(values: np.ndarray) -> float:
    return values.std(ddof=1) / len(values) ** 0.5


def record(value: float, sem: float, n: int, unit: str) -> dict:
    return {"value": float(value), "sem": float(sem), "n": n, "unit": unit}


def assess(labels: Labels, folder: Path) -> dict[str, dict]:
    """Records of the committees in a folder, and of the corrections that they learned from."""
    out: dict[str, dict] = {}
    for pair in (("32k", "4k"), ("8k", "4k")):
        out |= correction_records(labels, pair)
    for setting in SETTINGS:
        frames, potential = frames_of(setting, labels), load(folder / f"{setting}.npz")
        out |= records(setting, frames, tested(potential, frames))
        if setting == "128-4k":
            out |= large_cell_records(potential, labels)
    return out


def compare_weights(labels: Labels, epochs: int = 80, members: int = 2) -> dict[str, dict]:
    """What p_U, p_F, p_W of Eq. 3 do to the energies of the phases, with the labels at 4k."""
    frames = frames_of("128-4k", labels)
    parts = by_part(frames)
    potential = train_kinds(COMPARED, parts["train"], parts["valid"], members=members, epochs=epochs)
    found = tested(potential, frames)
    shifts, sem = found.phase_shift()
    out = {}
    for kind, shift in by_kind(shifts, COMPARED).items():
        title = f"{kind}: energy error, liquid minus solid"
        out[title] = record(shift.mean(), sem, len(found.solid), "meV/atom")
    for name, unit in UNITS.items():
        rms = np.sqrt((found.errors[name] ** 2).mean(1))
        for kind, each in by_kind(rms, COMPARED).items():
            out[f"{kind}: {name} error"] = record(each.mean(), spread(each), members, unit)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=["train", "errors", "weights"])
    parser.add_argument("--folder", type=Path, default=Path("results/full/table1-potentials"))
    parser.add_argument("--settings", nargs="+", default=SETTINGS, choices=SETTINGS)
    given = parser.parse_args()
    began, labels = time.process_time(), bundled()
    if given.command == "train":
        for setting in given.settings:
            train(frames_of(setting, labels)).save(given.folder / f"{setting}.npz")
        return
    results = assess(labels, given.folder) if given.command == "errors" else compare_weights(labels)
    bookkit.save_result(given.folder / f"{given.command}.json", results, time.process_time() - began, seed=0)


if __name__ == "__main__":
    main()
