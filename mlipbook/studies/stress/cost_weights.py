"""What the weights p_U, p_F, p_W of Eq. 3 do to held-out errors: a map trained as one committee.

The members of a committee share the stored derivatives and nothing else, so each may have a cost of its own.
A map of many weights, several members at each, is then a single fit.

    python -m mlipbook study stress.cost_weights --device cuda --out results/full/cost-weights.json
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlipbook import bookkit, datasets
from mlipbook.averages import mean
from mlipbook.descriptors import Chebyshev
from mlipbook.potentials.ann import ANNPotential
from mlipbook.studies.command import Profile, Result, command
from mlipbook.studies.sodium import Weights
from mlipbook.studies.stress.kinds import fit_each, held_out, rmse
from mlipbook.training.derivatives import prepare_all

CUTOFF = 6.5  # A, of all descriptors
UNITS = {"energy": "meV/atom", "force": "meV/A", "stress": "GPa", "bias": "GPa"}
MARKED: dict[str, Weights] = {
    "EF": (1.0, 1.0, 0.0),
    "EF, energy-heavy": (100.0, 1.0, 0.0),
    "EFP": (1.0, 1.0, 1.0),
    "EFP, energy-heavy": (100.0, 1.0, 1.0),
}


def fit_map(
    points: Sequence[Weights],
    train: Sequence[Atoms],
    valid: Sequence[Atoms],
    *,
    members: int,
    seed: int = 0,
    repulsion: float | None = None,
    **options: Any,
) -> ANNPotential:
    """`members` potentials for each point in one fit, in their order; options: of `kinds.fit_each`."""
    elements = sorted({symbol for atoms in train for symbol in atoms.symbols})
    descriptor = Chebyshev(tuple(elements), CUTOFF, 16, CUTOFF, 4)
    potential = ANNPotential(descriptor, members=len(points) * members, seed=seed, repulsion=repulsion)
    each = [point for point in points for _ in range(members)]
    return fit_each(potential, each, train, valid, seed=seed, **options)


def held_out_errors(potential: ANNPotential, frames: Sequence[Atoms]) -> dict[str, np.ndarray]:
    """RMSE of energy (meV/atom), force (meV/A) and stress (GPa) components, and the bias of the pressure
    (GPa), each (members,), on frames of one size that carry all labels."""
    found = held_out(potential, frames, prepare_all(potential, frames, "test"))
    rms = {name: rmse(found[name]) for name in ("energy", "force", "stress")}
    return {**rms, "bias": found["pressure"].mean(1)}


def cost_map(
    p_U: Sequence[float],
    p_W: Sequence[float],
    frames: dict[str, list[Atoms]],
    *,
    members: int,
    **options: Any,
) -> dict[str, np.ndarray]:
    """Held-out errors over a grid at p_F = 1: name -> (p_U, p_W, members); options: of `fit_map`."""
    points = [(float(u), 1.0, float(w)) for u, w in product(p_U, p_W)]
    potential = fit_map(points, frames["train"], frames["valid"], members=members, **options)
    errors = held_out_errors(potential, frames["test"])
    return {name: x.reshape(len(p_U), len(p_W), members) for name, x in errors.items()}


def learning_curve(
    sizes: Sequence[int],
    points: Sequence[Weights],
    frames: dict[str, list[Atoms]],
    *,
    epochs: int,
    seed: int = 0,
    **options: Any,
) -> dict[str, np.ndarray]:
    """Held-out errors against the number of training frames: name -> (sizes, points, members).

    Smaller sets are parts of larger ones, drawn at random; all sizes see as many frames as the largest
    does in so many epochs, so that only the data differ.
    """
    train = [frames["train"][i] for i in np.random.default_rng(seed).permutation(len(frames["train"]))]
    rows = []
    for size in sizes:
        longer = epochs * max(sizes) // size
        potential = fit_map(points, train[:size], frames["valid"], epochs=longer, seed=seed, **options)
        rows.append(held_out_errors(potential, frames["test"]))
    return {name: np.stack([row[name].reshape(len(points), -1) for row in rows]) for name in UNITS}


def records(p_U: Sequence[float], p_W: Sequence[float], errors: dict[str, np.ndarray]) -> dict[str, dict]:
    """Mean and standard error over members of each error at the MARKED points of a map."""
    found = {}
    for (label, (u, _, w)), (name, unit) in product(MARKED.items(), UNITS.items()):
        x = errors[name][list(p_U).index(u), list(p_W).index(w)]
        what = "pressure bias" if name == "bias" else f"{name} error"
        found[f"{what}, {label}"] = mean(x).record(unit)
    return found


@command(saves="cost-weights")
def study(profile: Profile = "full", device: str = "cuda", checkpoint: Path | None = None) -> Result:
    """The map and the learning curves of chapter 4. checkpoint: file with which a killed map goes on."""
    size = bookkit.profile("training", profile)
    frames = {part: datasets.load("na-gamma", part) for part in datasets.SPLITS}
    options = {name: getattr(size, name) for name in ("members", "batch_size", "learning_rate")}
    options["device"] = device
    errors = cost_map(size.p_U, size.p_W, frames, epochs=size.epochs, checkpoint=checkpoint, **options)
    curve = learning_curve(size.sizes, list(MARKED.values()), frames, epochs=size.curve_epochs, **options)
    arrays: dict[str, Any] = {"p_U": size.p_U, "p_W": size.p_W, "sizes": size.sizes}
    for name, found in (("map", errors), ("curve", curve)):
        arrays[name] = {k: x.tolist() for k, x in found.items()}
    return Result(records(size.p_U, size.p_W, errors), arrays)
