"""The state of a fit, and the file that holds all of it that the next epoch depends on, replaced whole."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from mlipbook.archive import replacing
from mlipbook.potentials.ann import ANNPotential
from mlipbook.training.derivatives import labels_of


@dataclass
class History:
    """What a fit did; lists have one entry per epoch, arrays one column per member.

    train_cost (members,): Eq. 3 averaged over the epoch's batches, with the weights of that epoch.
    valid_cost (members,), valid_rmse (3, members): Eq. 3 with the final weights and the errors of U/N
    (eV/atom), F (eV/A), W/N (eV/atom), on the validation set at the end of the epoch.
    summary: the data and labels that were used. seconds: time spent training.
    """

    summary: str
    train_cost: list[np.ndarray] = field(default_factory=list)
    valid_cost: list[np.ndarray] = field(default_factory=list)
    valid_rmse: list[np.ndarray] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def best_epoch(self) -> np.ndarray:
        """(members,) epoch whose parameters each member kept."""
        return np.argmin(np.array(self.valid_cost), axis=0)


@dataclass
class Learner:
    """A potential in training (all members with Adam, one with L-BFGS) and the best parameters so far."""

    potential: ANNPotential
    optimizer: torch.optim.Optimizer
    best: list[Tensor]
    best_cost: Tensor  # (members,)


SERIES = ("train_cost", "valid_cost", "valid_rmse")


def digest(arrays: Iterable[Any]) -> str:
    """SHA-256 of arrays or tensors."""
    found = hashlib.sha256()
    for values in arrays:
        found.update((values.detach().cpu().numpy() if isinstance(values, Tensor) else values).tobytes())
    return found.hexdigest()


def digest_frames(frames: Iterable[Atoms]) -> str:
    """SHA-256 of structures and their labels."""
    return digest(
        np.asarray(values)
        for atoms in frames
        for values in (atoms.numbers, atoms.positions, atoms.cell.array, *labels_of(atoms))
    )


class Checkpoint:
    """A file (or none) that holds a fit; `settings` tells this fit from another.

    Written with torch.save and read with weights_only, so that loading never runs code from the file.
    """

    def __init__(self, path: str | os.PathLike | None, settings: str, learners: Sequence[Learner]):
        self.path = Path(path) if path is not None else None
        self.fingerprint = hashlib.sha256(settings.encode()).hexdigest()
        self.weights = [
            p.detach().cpu().clone() for learner in learners for p in learner.potential.parameters()
        ]
        self.start = digest(self.weights)

    def save(self, learners: Sequence[Learner], history: History) -> None:
        if self.path is None:
            return
        content = {
            "fingerprint": self.fingerprint,
            "start": self.start,
            "seconds": history.seconds,
            "learners": [
                {
                    "parameters": [p.detach() for p in learner.potential.parameters()],
                    "best": learner.best,
                    "best_cost": learner.best_cost,
                    "optimizer": learner.optimizer.state_dict(),
                }
                for learner in learners
            ],
            **{name: [torch.as_tensor(row) for row in getattr(history, name)] for name in SERIES},
        }
        with replacing(self.path) as file:
            torch.save(content, file)

    def load(self, learners: Sequence[Learner], history: History) -> int:
        """Put learners and history where the file left them; returns the number of finished epochs."""
        if self.path is None or not self.path.exists():
            return 0
        content = self._read(self.path)
        self.start = content["start"]
        for learner, stored in zip(learners, content["learners"], strict=True):
            with torch.no_grad():
                for p, value in zip(learner.potential.parameters(), stored["parameters"], strict=True):
                    p.copy_(value)
            learner.best = [value.to(learner.best_cost.device) for value in stored["best"]]
            learner.best_cost = stored["best_cost"].to(learner.best_cost.device)
            learner.optimizer.load_state_dict(stored["optimizer"])
        for name in SERIES:
            setattr(history, name, [np.asarray(row) for row in content[name]])
        history.seconds = content["seconds"]
        return len(history.valid_cost)

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            with zipfile.ZipFile(path) as members:
                if members.testzip() is not None:
                    raise ValueError("checksum")
            content = torch.load(path, map_location="cpu", weights_only=True)
            fingerprint = content["fingerprint"]
        except Exception as error:
            raise ValueError(
                f"{path}: not a checkpoint of a fit, or damaged ({type(error).__name__}); "
                "delete it to start again, or give another file"
            ) from error
        if fingerprint != self.fingerprint or not self._belongs(content):
            raise ValueError(
                f"{path}: checkpoint of another fit (other data, cost, optimizer, epochs, learning "
                "rate, seed or potential); give another file, or delete it to start again"
            )
        return content

    def _belongs(self, content: dict[str, Any]) -> bool:
        """The weights at hand are those that this fit began with, was interrupted at, or ended with."""
        stages = [
            [p for learner in content["learners"] for p in learner[key]] for key in ("parameters", "best")
        ]
        return digest(self.weights) in (content["start"], *map(digest, stages))
