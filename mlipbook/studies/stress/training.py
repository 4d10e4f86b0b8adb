"""What training on the virial buys: EF-fits against EFP-fits on held-out labels of sodium.

Kinds of fit are compared seed by seed (see `kinds`), on many frames, on few, and on few of one volume.

    python -m mlipbook study stress.training --device cuda --out results/full/ef-efp.json
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from types import SimpleNamespace

import numpy as np
from ase import Atoms

from mlipbook import bookkit, datasets
from mlipbook.averages import mean
from mlipbook.potentials.ann import ANNPotential
from mlipbook.studies.command import Profile, Result, command
from mlipbook.studies.sodium import Weights, descriptor, of_phase
from mlipbook.studies.stress.equation_of_state import (
    STRETCH,
    equation_of_state,
    labeled_equation_of_state,
    nearest_shell,
    pressures,
    scaled,
    volume_shift,
    volumes,
)
from mlipbook.studies.stress.kinds import UNITS, by_kind, held_out, rmse, train_kinds, volume_slope
from mlipbook.training.derivatives import prepare_all

CENTER = 38.5  # A^3 per atom, the middle of the narrow window


def kinds(p_U: Sequence[float], p_W: float) -> dict[str, Weights]:
    """The kinds of fit compared: name -> (p_U, p_F, p_W), an EF-fit and an EFP-fit for each p_U."""
    return {f"{kind}, p_U = {u:g}": (u, 1, w) for u in p_U for kind, w in (("EF", 0), ("EFP", p_W))}


# ---- training sets with and without volume fluctuations -----------------------------------------------


def around(volumes: np.ndarray, count: int) -> Sequence[int]:
    """The frames nearest to one volume per atom."""
    return sorted(np.argsort(abs(volumes - CENTER), kind="stable")[:count])


def across(volumes: np.ndarray, count: int) -> Sequence[int]:
    """Frames evenly over all volumes."""
    return np.argsort(volumes, kind="stable")[np.linspace(0, len(volumes) - 1, count).round().astype(int)]


def chosen(frames: Sequence[Atoms], count: int, choose: Callable[..., Sequence[int]]) -> list[Atoms]:
    """Half solid, half liquid: `count`/2 of each phase, by their volumes."""
    parts = [of_phase(frames, phase) for phase in ("solid", "liquid")]
    return [part[k] for part in parts for k in choose(volumes(part), count // 2)]


def training_sets(size: SimpleNamespace) -> dict[str, tuple[list[Atoms], list[Atoms]]]:
    """name -> (train, valid): many frames of all volumes (full), few of them (wide), few of one (narrow)."""
    train, valid = (datasets.load("na-gamma", part) for part in ("train", "valid"))
    return {"full": (train[:: len(train) // size.frames], valid[:: len(valid) // size.valid])} | {
        name: (chosen(train, size.few, choose), chosen(valid, size.few_valid, choose))
        for name, choose in (("wide", across), ("narrow", around))
    }


# ---- the whole comparison -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Everything that chapter 5 shows; errors are predicted minus labeled on the held-out test frames.

    errors[set][kind][name]: (members, frames) as in `held_out`. curves[set][kind]: (members, solid, stretch)
    GPa, P(V) along scaled copies of the first solid test frames. solid[kind]: (members, frames) GPa,
    pressures that the fits to the full set predict for `untrained_solid()`. frames: the test frames.
    sets: name -> (train, valid).
    """

    errors: dict[str, dict[str, dict[str, np.ndarray]]]
    curves: dict[str, dict[str, np.ndarray]]
    solid: dict[str, np.ndarray]
    frames: list[Atoms]
    sets: dict[str, tuple[list[Atoms], list[Atoms]]]


def compare(size: SimpleNamespace, device: str = "cpu", seed: int = 0, progress: bool = True) -> Comparison:
    """Train all kinds on all training sets, and evaluate them on the test frames of "na-gamma".

    size: p_U, p_W, members, epochs, few_epochs, curves, frames, valid, few, few_valid, as in profiles.toml.
    """
    every, sets = kinds(size.p_U, size.p_W), training_sets(size)
    test, solid = datasets.load("na-gamma", "test"), untrained_solid()
    copies = [scaled(atoms, x) for atoms in of_phase(test, "solid")[: size.curves] for x in STRETCH]
    any_potential = ANNPotential(descriptor())  # what is prepared depends on the descriptor alone
    held = {
        part: (frames, prepare_all(any_potential, frames, part))
        for part, frames in (("test", test), ("scaled", copies), ("solid", solid))
    }
    options = {"members": size.members, "device": device, "seed": seed, "progress": progress}
    errors, curves = {}, {}
    for name, (train, valid) in sets.items():
        epochs = size.epochs if name == "full" else size.few_epochs
        potential = train_kinds(every, train, valid, epochs=epochs, **options)
        found = {q: by_kind(x, every) for q, x in held_out(potential, *held["test"]).items()}
        errors[name] = {kind: {q: found[q][kind] for q in UNITS} for kind in every}
        P = held_out(potential, *held["scaled"])["pressure"]
        curves[name] = by_kind(P.reshape(len(P), -1, len(STRETCH)), every)
        if name == "full":
            bias = held_out(potential, *held["solid"])["pressure"]
            predicted = by_kind(bias + pressures(solid), every)
    return Comparison(errors, curves, predicted, test, sets)


def untrained_solid() -> list[Atoms]:
    """The solid frames of "na-gamma" outside the training set."""
    return of_phase([a for part in ("valid", "test") for a in datasets.load("na-gamma", part)], "solid")


def shifts(found: Comparison) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """set -> kind -> (eps_P/B, ln(V_model/V_labels)), each (members,), means over the scaled test frames.

    No model enters B, from the equation of state of all labeled solid frames; no B of the labels the second.
    """
    solid, scaled_frames = of_phase(datasets.load("na-gamma"), "solid"), of_phase(found.frames, "solid")
    V, labels = volumes(scaled_frames), pressures(scaled_frames)
    c = equation_of_state(volumes(solid), pressures(solid), nearest_shell(solid))[2]
    B = -(c[1] + 2 * c[2] * np.log(V / volumes(solid).mean()))

    def shift(P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = P.shape[1]
        error = P[..., STRETCH.index(0.0)] - labels[:n]
        return (error / B[:n]).mean(1), volume_shift(P, labels[:n])[0].mean(1)

    return {name: {kind: shift(P) for kind, P in curves.items()} for name, curves in found.curves.items()}


def records(found: Comparison) -> dict[str, dict]:
    """The numbers of chapter 5, name -> value, sem, n, unit; errors over seeds unless the labels' own.

    "EF" and "EFP" are the fits of the first p_U; those of p_U = 100 are among the records if there are any.
    """
    samples: dict[str, tuple[np.ndarray, str]] = {}  # (members,), unit
    full, V = found.errors["full"], volumes(found.frames)
    plain = dict(zip(("EF", "EFP"), full, strict=False))
    for short, kind in plain.items():
        for q in ("energy", "force", "stress"):
            samples[f"{q} error, {short}"] = rmse(full[kind][q]), UNITS[q]
        samples[f"pressure bias, {short}"] = full[kind]["pressure"].mean(1), "GPa"
        share = rmse(full[kind]["pressure"]) ** 2 / 2 / rmse(full[kind]["stress"]) ** 2
        samples[f"pressure part of the squared stress error, {short}"] = 100 * share, "%"
    for q in ("force", "stress"):
        difference = rmse(full[plain["EF"]][q]) - rmse(full[plain["EFP"]][q])
        samples[f"{q} error, EF minus EFP"] = difference, UNITS[q]
    for phase in ("solid", "liquid"):
        here = [atoms.info["phase"] == phase for atoms in found.frames]
        samples[f"pressure bias, EF, {phase}"] = full[plain["EF"]]["pressure"][:, here].mean(1), "GPa"
    heavy = {kind: full[kind] for short in plain if (kind := f"{short}, p_U = 100") in full}
    for (kind, errors), q in product(heavy.items(), ("force", "stress")):
        samples[f"{q} error, {kind}"] = rmse(errors[q]), UNITS[q]
    for name, (short, kind) in product(("wide", "narrow"), plain.items()):
        errors = found.errors[name][kind]
        samples[f"stress error, {short}, {name}"] = rmse(errors["stress"]), "GPa"
        slope = volume_slope(errors["pressure"], V)
        samples[f"pressure error against ln V, {short}, {name}"] = slope, "GPa"
    solid, shifted = untrained_solid(), shifts(found)["full"]
    for short, kind in plain.items():
        V0, _, _ = equation_of_state(volumes(solid), found.solid[kind], nearest_shell(solid))
        samples[f"equilibrium volume, {short}"] = V0, "A^3"
        for name, x in zip(("eps_P/B", "volume shift"), shifted[kind], strict=True):
            samples[f"{name}, {short}"] = 100 * x, "%"
    of_labels = labeled_equation_of_state(of_phase(datasets.load("na-gamma"), "solid"))
    return {name: mean(x).record(unit) for name, (x, unit) in samples.items()} | of_labels


@command(saves="ef-efp")
def study(profile: Profile = "full", device: str = "cuda") -> Result:
    """The whole comparison of chapter 5."""
    found = compare(bookkit.profile("ef-efp", profile), device=device)
    errors = {
        name: {kind: {q: x.tolist() for q, x in parts.items()} for kind, parts in kinds.items()}
        for name, kinds in found.errors.items()
    }
    arrays = {"volumes": volumes(found.frames).tolist(), "pressures": pressures(found.frames).tolist()}
    return Result(records(found), {**arrays, "errors": errors})
