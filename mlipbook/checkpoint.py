"""Checkpoints of a fit: everything that the next epoch depends on, in one file that is replaced whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase import Atoms

from mlipbook.ann import ANNPotential
from mlipbook.archive import replacing
from mlipbook.derivative_cache import labels_of

if TYPE_CHECKING:
    from mlipbook.training import History, Learner

SERIES = ("train_cost", "valid_cost", "valid_rmse")


def digest(potential: ANNPotential, frames: Sequence[Atoms]) -> str:
    """Fingerprint of the starting weights and of all structures and labels of a fit."""
    found = hashlib.sha256()
    for p in potential.parameters():
        found.update(p.detach().cpu().numpy().tobytes())
    for atoms in frames:
        for values in (atoms.numbers, atoms.positions, atoms.cell.array, *labels_of(atoms)):
            found.update(np.asarray(values).tobytes())
    return found.hexdigest()


class Checkpoint:
    """A file (or none) that holds a fit; `settings` tells this fit from another.

    Written with torch.save and read with weights_only, so that loading never runs code from the file.
    """

    def __init__(self, path: str | os.PathLike | None, settings: str):
        self.path = Path(path) if path is not None else None
        self.fingerprint = hashlib.sha256(settings.encode()).hexdigest()

    def save(self, learners: Sequence[Learner], history: History) -> None:
        if self.path is None:
            return
        content = {
            "fingerprint": self.fingerprint,
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
            content = torch.load(path, map_location="cpu", weights_only=True)
            fingerprint = content["fingerprint"]
        except Exception as error:
            raise ValueError(
                f"{path}: not a checkpoint of a fit, or damaged ({type(error).__name__}); "
                "delete it to start again, or give another file"
            ) from error
        if fingerprint != self.fingerprint:
            raise ValueError(
                f"{path}: checkpoint of another fit (other data, cost, optimizer, epochs, learning "
                "rate, seed or potential); give another file, or delete it to start again"
            )
        return content
