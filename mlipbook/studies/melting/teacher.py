"""A teacher plays first-principles dynamics: a potential richer than its students, and known everywhere.

Long first-principles trajectories are dear. A potential fitted to all real labels can stand for them:
whatever it does is, by definition, right, its labels can be had for any structure, and the differences
between it and potentials of the usual size, trained on snapshots of its dynamics, are errors of these
students alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from mlipbook.accuracy import predict
from mlipbook.dynamics import Trajectory
from mlipbook.potentials.ann import ANNPotential
from mlipbook.studies.sodium import RICHER, Weights, at_gamma, by_part, relabeled, trained
from mlipbook.studies.stress.training import UNITS, held_out, train_kinds
from mlipbook.training.derivatives import prepare_all

KINDS: dict[str, Weights] = {"EF": (1, 1, 0), "EFP": (1, 1, 0.2)}  # p_U, p_F, p_W of Eq. 3
HOT = 600  # K; hotter frames are far from melting and form a group of their own
# Replicas of a branch whose snapshots train, validate and test, again and again.
PARTS = ("train", "train", "test", "train", "train", "valid", "train", "test")
LIQUID_Q6 = 0.25  # a snapshot of lower global Q6 counts as liquid


def train_teacher(epochs: int = 80, seed: int = 0, progress: bool = True) -> ANNPotential:
    """An EFP-fit with more orders, a longer cutoff and wider layers than the students."""
    options: dict[str, Any] = {"epochs": epochs, "learning_rate": 1e-2, "seed": seed, "progress": progress}
    return trained(by_part(at_gamma()), KINDS["EFP"], learns=RICHER, hidden=(30, 30), **options)


def labeled(teacher: ANNPotential, frames: Sequence[Atoms]) -> list[Atoms]:
    """Copies of frames with the teacher's energy, forces and static stress as labels."""
    copies = []
    for atoms, found in zip(frames, predict(teacher, frames), strict=True):
        labels = {name: x[0] for name, x in found.items()} | {"energy": float(found["energy"][0])}
        copies.append(relabeled(atoms, **labels, free_energy=labels["energy"]))
    return copies


def snapshots(
    teacher: ANNPotential, trajectory: Trajectory, q6: np.ndarray, parts: Sequence[str] = PARTS
) -> list[Atoms]:
    """The frames of a trajectory, labeled by the teacher, with info["replica"], ["phase"] and ["split"].

    A replica is in one part with all it has, parts[b], again and again. q6: (frames, replicas).
    """
    found = []
    for b in range(len(trajectory.state)):
        for atoms, order in zip(labeled(teacher, trajectory.atoms(b)), q6[:, b], strict=True):
            phase = "solid" if order > LIQUID_Q6 else "liquid"
            atoms.info |= {"replica": b, "phase": phase, "split": parts[b % len(parts)]}
            found.append(atoms)
    return found


def train_students(
    train: Sequence[Atoms], valid: Sequence[Atoms], members: int = 5, epochs: int = 60, progress: bool = True
) -> ANNPotential:
    """`members` EF-fits and as many EFP-fits as one committee, with paired seeds: see `train_kinds`."""
    return train_kinds(KINDS, train, valid, members=members, epochs=epochs, progress=progress)


def each_member(committee: ANNPotential) -> Iterator[tuple[str, int, ANNPotential]]:
    """(kind, seed, potential) of every student of such a committee."""
    members = committee.members // len(KINDS)
    for m in range(committee.members):
        yield list(KINDS)[m // members], m % members, committee.member(m)


# ---- errors on held-out frames ------------------------------------------------------------------------


@dataclass(frozen=True)
class Errors:
    """Errors on held-out frames: rmse name -> (members,) in the UNITS of `stress.kinds`; pressure: mean
    signed error phase -> (members,) GPa, and its standard error over frames; energy: the same in meV/atom;
    frames: number in each phase."""

    rmse: dict[str, np.ndarray]
    pressure: dict[str, np.ndarray]
    pressure_sem: dict[str, np.ndarray]
    energy: dict[str, np.ndarray]
    energy_sem: dict[str, np.ndarray]
    frames: dict[str, int]


def errors_by_phase(potential: ANNPotential, frames: Sequence[Atoms]) -> Errors:
    """Errors of all members on labeled frames with info["phase"]."""
    found = held_out(potential, frames, prepare_all(potential, frames, "test"))
    phase = np.array([atoms.info["phase"] for atoms in frames])
    pressure, energy = (
        {name: found[quantity][:, phase == name] for name in ("solid", "liquid")}
        for quantity in ("pressure", "energy")
    )
    return Errors(
        {name: np.sqrt((found[name] ** 2).mean(1)) for name in UNITS},
        *means_and_errors(pressure),
        *means_and_errors(energy),
        {name: error.shape[1] for name, error in pressure.items()},
    )


ByPhase = dict[str, np.ndarray]


def means_and_errors(errors: ByPhase) -> tuple[ByPhase, ByPhase]:
    """Means over frames and their standard errors, phase -> (members,), from phase -> (members, frames)."""
    return (
        {phase: x.mean(1) for phase, x in errors.items()},
        {phase: x.std(1, ddof=1) / x.shape[1] ** 0.5 for phase, x in errors.items()},
    )


def teacher_errors(teacher: ANNPotential) -> dict[str, Errors]:
    """Group -> errors on the real test frames: those below HOT, and the hotter liquid ones."""
    test = by_part(at_gamma())["test"]
    groups = {"ordinary": lambda T: T < HOT, "all": lambda T: True}
    return {
        name: errors_by_phase(teacher, [a for a in test if belongs(a.info["md_temperature_K"])])
        for name, belongs in groups.items()
    }
