"""What the frames of active learning changed: errors without and with the frames of all bundled rounds.

python -m mlipbook study exploration.assessment
"""

from itertools import product

import numpy as np
from ase import Atoms

from mlipbook import datasets
from mlipbook.averages import mean
from mlipbook.studies.command import Result, command
from mlipbook.studies.exploration.active_learning import (
    UNITS,
    force_spread,
    squared_errors,
    train_committee,
)
from mlipbook.studies.sodium import by_part
from mlipbook.units import meV

HOT = 600  # K, liquid that needs a group of its own


def assess(
    old: dict[str, list[Atoms]], new: list[Atoms], *, folds: int = 3, epochs: int = 60
) -> dict[str, dict]:
    """Records of RMSEs of committees that were trained without and with new frames (with info["kind"]).

    With: every new frame is predicted by a committee that learned the other folds' new frames, too. Last: how
    many times the spread the force error is on unseen frames.
    """
    base = train_committee(old, epochs=epochs)
    results = {
        "without": (squared_errors(base, new), squared_errors(base, old["test"])),
        "with": cross_validate(old, new, folds, epochs),
    }
    kinds = np.array([kind_of(atoms) for atoms in new])
    groups = {str(kind): kinds == kind for kind in sorted(set(kinds))}
    records: dict[str, dict] = {}
    for (trained, (on_new, on_old)), (name, unit) in product(results.items(), UNITS.items()):
        squares = {group: on_new[name][here] for group, here in groups.items()} | {"old test": on_old[name]}
        for group, x in squares.items():
            records[f"{group}, {trained} new frames: {name}"] = (mean(x) ** 0.5).record(unit)
    ratio = np.sqrt(results["without"][0]["force"]) * meV / force_spread(base, new)
    return records | {
        f"{group}: force error over spread": mean(ratio[here]).record() for group, here in groups.items()
    }


def kind_of(atoms: Atoms) -> str:
    kind, temperature = atoms.info["kind"], atoms.info["md_temperature_K"]
    return "hot liquid" if kind == "liquid" and temperature >= HOT else kind


def trajectory_of(atoms: Atoms) -> str:
    """Round, kind and temperature of the dynamics that a new frame is from."""
    info = atoms.info
    return f"{info['frame'].split('_')[0]}, {info['kind']}, {info['md_temperature_K']:g} K"


def cross_validate(
    old: dict[str, list[Atoms]], new: list[Atoms], folds: int, epochs: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Squared errors of new frames, by committees trained without their fold, and of the old test frames. A
    trajectory is in one fold: a sibling in the training set is no test.
    """
    trajectories = np.array([trajectory_of(atoms) for atoms in new])
    _, index = np.unique(trajectories, return_inverse=True)
    fold = (np.random.default_rng(0).permutation(index.max() + 1) % folds)[index]
    on_new, on_old = ({name: np.zeros(n) for name in UNITS} for n in (len(new), len(old["test"])))
    for k in range(folds):
        seen, unseen = ([new[i] for i in np.flatnonzero(here)] for here in (fold != k, fold == k))
        committee = train_committee(old | {"train": [*old["train"], *seen]}, epochs=epochs)
        for name, values in squared_errors(committee, unseen).items():
            on_new[name][fold == k] = values
        for name, values in squared_errors(committee, old["test"]).items():
            on_old[name] += values / folds
    return on_new, on_old


@command(saves="active-learning")
def study(epochs: int = 60) -> Result:
    """Committees without and with the new frames."""
    old, new = by_part(datasets.load("na-gamma")), datasets.load("na-gamma-active")
    return Result(assess(old, new, epochs=epochs))
