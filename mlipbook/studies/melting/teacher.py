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

from mlipbook.averages import Value, mean
from mlipbook.dynamics import Trajectory
from mlipbook.potentials.ann import ANNPotential
from mlipbook.studies.sodium import PHASES, RICHER, Weights, at_gamma, by_part, predicted, trained
from mlipbook.studies.stress.kinds import UNITS, held_out, rmse
from mlipbook.training.derivatives import prepare_all

KINDS: dict[str, Weights] = {"EF": (1, 1, 0), "EFP": (1, 1, 0.2)}  # p_U, p_F, p_W of Eq. 3
HOT = 600  # K; hotter frames are far from melting and form a group of their own
# Replicas of a branch whose snapshots train, validate and test, again and again.
PARTS = ("train", "train", "test", "train", "train", "valid", "train", "test")
LIQUID_Q6 = 0.25  # a snapshot of lower global Q6 counts as liquid


def train_teacher() -> ANNPotential:
    """An EFP-fit with more orders, a longer cutoff and wider layers than the students."""
    options: dict[str, Any] = {"hidden": (30, 30), "epochs": 80, "learning_rate": 1e-2}
    return trained(by_part(at_gamma()), KINDS["EFP"], learns=RICHER, **options)


def snapshots(
    teacher: ANNPotential, trajectory: Trajectory, q6: np.ndarray, parts: Sequence[str] = PARTS
) -> list[Atoms]:
    """The frames of a trajectory, labeled by the teacher, with info["replica"], ["phase"] and ["split"]. A
    replica is in one part with all it has, parts[b], again and again. q6: (frames, replicas)."""
    found = []
    for b in range(len(trajectory.state)):
        for atoms, order in zip(predicted(teacher, trajectory.atoms(b)), q6[:, b], strict=True):
            phase = "solid" if order > LIQUID_Q6 else "liquid"
            atoms.info |= {"replica": b, "phase": phase, "split": parts[b % len(parts)]}
            found.append(atoms)
    return found


def each_member(committee: ANNPotential) -> Iterator[tuple[str, int, ANNPotential]]:
    """(kind, seed, potential) of every student of such a committee."""
    members = committee.members // len(KINDS)
    for m in range(committee.members):
        yield list(KINDS)[m // members], m % members, committee.member(m)


# ---- errors on held-out frames ------------------------------------------------------------------------


@dataclass(frozen=True)
class Errors:
    """Of all members on held-out frames: rmse name -> (members,) in the UNITS of `stress.kinds`; pressure
    (GPa) and energy (meV/atom): phase -> mean signed error over so many frames, arrays (members,)."""

    rmse: dict[str, np.ndarray]
    pressure: dict[str, Value]
    energy: dict[str, Value]


def errors_by_phase(potential: ANNPotential, frames: Sequence[Atoms]) -> Errors:
    """Errors of all members on labeled frames with info["phase"]."""
    found = held_out(potential, frames, prepare_all(potential, frames, "test"))
    here = {phase: [atoms.info["phase"] == phase for atoms in frames] for phase in PHASES}
    pressure, energy = (
        {phase: mean(found[name].T[those]) for phase, those in here.items()}
        for name in ("pressure", "energy")
    )
    return Errors({name: rmse(found[name]) for name in UNITS}, pressure, energy)


def teacher_errors(teacher: ANNPotential) -> dict[str, Errors]:
    """Group -> errors on the real test frames: those below HOT, and the hotter liquid ones, too."""
    test = by_part(at_gamma())["test"]
    ordinary = [atoms for atoms in test if atoms.info["md_temperature_K"] < HOT]
    return {name: errors_by_phase(teacher, x) for name, x in (("ordinary", ordinary), ("all", test))}
