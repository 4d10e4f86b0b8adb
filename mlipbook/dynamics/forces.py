"""The forces that drive dynamics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from mlipbook.fast.graphs import fastest
from mlipbook.neighbors import Edges, VerletLists
from mlipbook.potentials import Evaluation
from mlipbook.structures import Structures


class Potential(Protocol):
    """What dynamics knows of a potential."""

    cutoff: float

    def evaluate(self, structures: Structures, definition: str = ..., edges: Any = ...) -> Evaluation: ...


class CommitteeMean:
    """Forces of a potential, of a committee their mean; neighbor lists are kept while atoms move little."""

    def __init__(self, potential: Potential):
        self.potential, self.lists = potential, VerletLists(potential.cutoff)
        self.evaluate: Callable[[Structures, Edges], Evaluation] | None = None

    def __call__(self, structures: Structures) -> Evaluation:
        if self.evaluate is None:
            self.evaluate = fastest(self.potential, structures, "II")
        result = self.evaluate(structures, self.lists(structures))
        if result.energies.ndim == 2:
            return result
        energies, forces, virials = (x.mean(0) for x in (result.energies, result.forces, result.virials))
        return Evaluation(energies, forces, virials, result.volumes)

    def spread(self, structures: Structures) -> Tensor:
        """Largest standard deviation of a force component between members, (B,) eV/A."""
        forces = self.potential.evaluate(structures, "II", self.lists(structures)).forces
        if forces.ndim == 3 or len(forces) < 2:
            raise ValueError("Limits(spread=...) needs a committee; give a potential of two or more members")
        return forces.std(0).amax((1, 2))

    def shortest(self, structures: Structures) -> Tensor:
        """Shortest distance, (B,) angstrom; where none is within the cutoff, some number beyond."""
        squares = self.lists(structures).vectors(structures).square().sum(0)
        return squares.view(len(structures), -1).amin(-1).sqrt()
