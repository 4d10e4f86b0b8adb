"""The state of a fit, and the file that holds all of it that the next epoch depends on, replaced whole."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from mlipbook import archive
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
        """Number of the epoch, (members,), whose parameters each member kept."""
        return np.argmin(np.array(self.valid_cost), axis=0)


@dataclass
class Learner:
    """A potential in training (all members with Adam, one with L-BFGS) and the best parameters so far."""

    potential: ANNPotential
    optimizer: torch.optim.Optimizer
    best: list[Tensor]
    best_cost: Tensor  # (members,)


def make_learners(potential: ANNPotential, optimizer: str) -> list[Learner]:
    """One learner for all members, or one each for L-BFGS, whose line search must not couple them."""
    adam = optimizer == "adam"
    parts = [potential] if adam else [potential.member(m) for m in range(potential.members)]
    method: Any = torch.optim.Adam if adam else partial(torch.optim.LBFGS, **LINE_SEARCH)
    return [
        Learner(
            part,
            method(part.parameters()),
            [p.detach().clone() for p in part.parameters()],
            torch.full((part.members,), torch.inf).to(part.energy_scale),
        )
        for part in parts
    ]


KIND = "checkpoint of a fit"
LINE_SEARCH: dict[str, Any] = {"lr": 1, "max_iter": 10, "history_size": 20, "line_search_fn": "strong_wolfe"}
SERIES = ("train_cost", "valid_cost", "valid_rmse")


def known_by(frame: Atoms) -> tuple[Any, ...]:
    """What a fit sees of a frame."""
    return frame.numbers, frame.positions, frame.cell.array, frame.pbc, labels_of(frame)


def scales(potential: ANNPotential) -> str:
    """Identity of what training leaves as it is, once a fit has set it from the data."""
    features = {s: (network.mean, network.mean_square) for s, network in potential.networks.items()}
    energies = (potential.energy_scale, potential.energy_shift, potential.reference_energies)
    return archive.identity([features, energies])


class Checkpoint:
    """A file (or none) that holds a fit. identity: what tells it from others, name -> description; scales:
    those of the potential before and after the fit set them.

    Packed by torch.save and unpacked with weights_only, so that loading never runs code from the file; kept
    by `archive`, which looks at its checksum first.
    """

    def __init__(
        self,
        path: str | os.PathLike | None,
        identity: dict[str, str],
        scales: tuple[str, str],
        learners: Sequence[Learner],
    ):
        self.path = Path(path) if path is not None else None
        self.lock = None if path is None else f"{path}.lock"
        self.identity, self.scales = identity, scales
        parameters = chain.from_iterable(learner.potential.parameters() for learner in learners)
        self.weights = [p.detach().cpu().clone() for p in parameters]
        self.start = archive.identity(self.weights)

    def save(self, learners: Sequence[Learner], history: History) -> None:
        if self.path is None:
            return
        content = {
            "identity": self.identity,
            "start": self.start,
            "scales": list(self.scales),
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
        torch.save(content, packed := io.BytesIO())
        arrays = {"content": np.frombuffer(packed.getbuffer(), np.uint8)}
        archive.save(self.path, arrays, {"kind": KIND, "version": 1})

    def load(self, learners: Sequence[Learner], history: History) -> int:
        """Put learners and history where the file left them; returns the number of finished epochs."""
        if self.path is None or not self.path.exists():
            return 0
        way = "delete it to start again, or give another file"
        sound = partial(archive.reading, self.path, f"a {KIND}", way)
        with sound():
            arrays, _ = archive.load(self.path, KIND, 1)
            packed = io.BytesIO(arrays["content"].tobytes())
            content = torch.load(packed, map_location="cpu", weights_only=True)
        self.refuse_other(content)
        with sound():
            self.take(content, learners, history)
        return len(history.valid_cost)

    def take(self, content: dict[str, Any], learners: Sequence[Learner], history: History) -> None:
        self.start, self.scales = content["start"], tuple(content["scales"])
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

    def refuse_other(self, content: dict[str, Any]) -> None:
        """ValueError for another fit. The weights at hand may be those that it began with, was interrupted
        at, or ended with, the scales those before or after it set them.
        """
        parts = [[p for x in content["learners"] for p in x[key]] for key in ("parameters", "best")]
        weights, scales = [content["start"], *map(archive.identity, parts)], list(content["scales"])
        own = {"weights at the start": archive.identity(self.weights), "scales at the start": self.scales[0]}
        stages = zip(own, (weights, scales), strict=True)
        found = {name: own[name] if own[name] in known else known[0] for name, known in stages}
        way = "give another file, or delete it to start again"
        archive.refuse_other(self.path, {**content["identity"], **found}, {**self.identity, **own}, way)
