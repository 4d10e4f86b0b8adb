"""The settings of a fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlipbook import archive
from mlipbook.checks import one_of, positive, whole
from mlipbook.potentials.ann import ANNPotential
from mlipbook.training.cost import Cost
from mlipbook.training.derivatives import Batch, Prepared, make_batches


@dataclass
class Plan:
    """How a fit goes. Raises ValueError for what cannot be meant."""

    cost: Cost
    optimizer: str
    epochs: int
    batch_size: int
    learning_rate: float
    patience: int | None
    seed: int

    def __post_init__(self) -> None:
        one_of(self.optimizer, "optimizer", ("adam", "lbfgs"))
        self.epochs, self.batch_size = whole(self.epochs, "epochs"), whole(self.batch_size, "batch_size")
        self.learning_rate = positive(self.learning_rate, "learning_rate")
        self.seed = whole(self.seed, "seed", least=0)
        if self.patience is not None:
            whole(self.patience, "patience")

    def weights(self) -> list[tuple[float, float, float]]:
        """All that the fit will use."""
        return [self.cost.weights(epoch / self.epochs) for epoch in range(self.epochs + 1)]

    def batches(self, potential: ANNPotential, prepared: Sequence[Prepared]) -> list[Batch]:
        """Of the training set, mixed once."""
        order = np.random.default_rng(self.seed).permutation(len(prepared))
        return make_batches(potential, [prepared[i] for i in order], self.batch_size)

    def identity(self, reference_energies: dict[str, float] | None) -> dict[str, str]:
        """What tells a fit from others that go otherwise, described."""
        names = ("optimizer", "epochs", "batch_size", "seed", "learning_rate")
        settings = {**{name: getattr(self, name) for name in names}, "reference_energies": reference_energies}
        weights = self.weights()  # which tell all of a Cost, if not of a class of your own
        cost = weights if type(self.cost) is Cost else [type(self.cost), weights]
        return {
            **{name: archive.described(value) for name, value in settings.items()},
            "cost": archive.described(cost, f"{weights[0]} to {weights[-1]}"),
        }
