"""What the potentials of Table 1 are worth: errors of the fits, of the corrections, and of other weights.

python -m mlipbook study table1.fit_errors errors
python -m mlipbook study table1.fit_errors weights
"""

from collections.abc import Sequence
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlipbook.averages import Value, mean
from mlipbook.potentials.ann import ANNPotential, load
from mlipbook.studies.command import Result, command
from mlipbook.studies.k_points.correction import UNITS, transferred
from mlipbook.studies.k_points.equations import (
    Equations,
    blank,
    differences,
    equations,
    fit_correction,
    least_squares,
    solve,
    subset,
)
from mlipbook.studies.k_points.labels import shift
from mlipbook.studies.sodium import Weights, by_part
from mlipbook.studies.stress.kinds import by_kind, held_out, rmse, train_kinds
from mlipbook.studies.table1.potentials import POTENTIALS, SETTINGS, WEIGHTS, Labels, bundled, frames_of
from mlipbook.training.derivatives import prepare_all

COMPARED: dict[str, Weights] = {
    f"p_U = {w[0]:g}, p_F = {w[1]:g}, p_W = {w[2]:g}": w
    for w in ((1, 1, 0.2), (10, 1, 1), WEIGHTS, (100, 1, 10))
}
Records = dict[str, dict[str, Any]]
ORDINARY = 600  # K; hotter frames are trained on, but errors are told of what is near melting


def are_solid(frames: Sequence[Atoms]) -> np.ndarray:
    return np.array([atoms.info["phase"] == "solid" for atoms in frames])


def phase_shift(errors: np.ndarray, solid: np.ndarray) -> Value:
    """Mean error (members, frames) of liquids less that of solids, (members,), and the standard error over
    frames that all members share: of energies, what it does to F_liq - F_sol, to first order."""
    sem = shift(errors.mean(0), solid).error
    return Value(errors[:, ~solid].mean(1) - errors[:, solid].mean(1), sem, len(solid))


def tested(potential: ANNPotential, frames: Sequence[Atoms]) -> tuple[dict[str, np.ndarray], Value]:
    """`held_out` errors of the test frames below ORDINARY in the setting's own labels, and `phase_shift`."""
    test = [a for a in by_part(frames)["test"] if a.info["md_temperature_K"] < ORDINARY]
    errors = held_out(potential, test, prepare_all(potential, test, "test"))
    return errors, phase_shift(errors["energy"], are_solid(test))


def left_out(found: Equations) -> dict[str, np.ndarray]:
    """Errors of each frame by the correction that was learned without it, in UNITS of the correction."""
    A, b = found.normal()
    _, ridge = least_squares(found)
    n = len(A)
    without = [solve(A.sum(0) - A[i], b.sum(0) - b[i], ridge * (n - 1)) for i in range(n)]
    each = [subset(found, np.array([i])).errors(c) for i, c in enumerate(without)]
    return {name: np.concatenate([errors[name] for errors in each]) for name in UNITS}


def correction_records(labels: Labels, many: str, few: str) -> Records:
    """How large the differences of two settings are, and what of them the correction misses (left out)."""
    frames = differences(labels[many], labels[few])
    potential, prepared = blank(frames)
    found = equations(potential, frames, prepared)
    # Errors are predicted minus labeled: those of no correction are minus the differences.
    kinds = {"as they are": (found.errors(np.zeros(found.X.shape[-1])), -1), "left out": (left_out(found), 1)}
    out = {}
    for kind, (errors, sign) in kinds.items():
        title = f"{many} minus {few}, {kind}"
        for name, unit in UNITS.items():
            out[f"{title}: {name}"] = (mean(errors[name] ** 2) ** 0.5).record(unit)
        apart = sign * shift(errors["energy"], are_solid(frames))
        out[f"{title}: energy, liquid minus solid"] = apart.record("meV/atom")
    return out


def large_cell_records(four: ANNPotential, labels: Labels) -> Records:
    """The frames of 1,024 atoms against the 4k-potential with the correction 8k - 4k, which saw none."""
    frames = labels["1024-Gamma"]
    errors = transferred(four, fit_correction(differences(labels["8k"], labels["4k"])), frames)
    solid, title = are_solid(frames), "1,024 atoms, corrected potential minus label"
    return {
        f"{title}, {phase}: {name}": mean(errors[name][here]).record(UNITS[name])
        for phase, here in (("solid", solid), ("liquid", ~solid))
        for name in ("energy", "pressure")
    }


def records(setting: str, frames: Sequence[Atoms], potential: ANNPotential) -> Records:
    out = {}
    for kind in ("direct", "corrected"):
        n = sum(atoms.info["label"] == kind for atoms in frames)
        out[f"{setting}: {kind} labels"] = Value(n, nan, n).record("frames")
    errors, shifts = tested(potential, frames)
    for name, unit in UNITS.items():
        out[f"{setting}: {name} error"] = mean(rmse(errors[name])).record(unit)
    titles = {setting: shifts.value.mean()} | {f"{setting}, seed {m}": x for m, x in enumerate(shifts.value)}
    for title, x in titles.items():
        out[f"{title}: energy error, liquid minus solid"] = replace(shifts, value=x).record("meV/atom")
    return out


@command(saves="table1-potentials/errors")
def errors(folder: Path = POTENTIALS) -> Result:
    """Records of the committees in a folder, and of the corrections that they learned from."""
    labels = bundled()
    out = correction_records(labels, "32k", "4k") | correction_records(labels, "8k", "4k")
    potentials = {setting: load(folder / f"{setting}.npz") for setting in SETTINGS}
    for setting, potential in potentials.items():
        out |= records(setting, frames_of(setting, labels), potential)
    return Result(out | large_cell_records(potentials["128-4k"], labels))


@command(saves="table1-potentials/weights")
def weights(epochs: int = 80, members: int = 2) -> Result:
    """What p_U, p_F, p_W of Eq. 3 do to the energies of the phases, with the labels at 4k."""
    frames = frames_of("128-4k", bundled())
    parts = by_part(frames)
    potential = train_kinds(COMPARED, parts["train"], parts["valid"], members=members, epochs=epochs)
    errors, shifts = tested(potential, frames)
    out = {}
    for kind, x in by_kind(shifts.value, COMPARED).items():
        title = f"{kind}: energy error, liquid minus solid"
        out[title] = replace(shifts, value=x.mean()).record("meV/atom")
    for name, unit in UNITS.items():
        for kind, each in by_kind(rmse(errors[name]), COMPARED).items():
            out[f"{kind}: {name} error"] = mean(each).record(unit)
    return Result(out)
