"""The forces that drive dynamics."""

from __future__ import annotations

from torch import Tensor

from mlipbook.fast.choice import fast
from mlipbook.neighbors import Edges, VerletLists
from mlipbook.potentials import Definition, Evaluation, Potential, Wrapper
from mlipbook.structures import Structures


class CommitteeMean(Wrapper):
    """A potential in its fastest form, of a committee its mean; as a function of structures it keeps neighbor
    lists while atoms move little, and gives virials II, the quickest.
    """

    members = 1

    def __init__(self, potential: Potential):
        super().__init__(potential)
        self.renew()

    def renew(self) -> None:
        """Forget the lists, and what was recorded."""
        self.fast = fast(self.potential)
        self.lists = VerletLists(self.potential.cutoff)

    def __call__(self, structures: Structures) -> Evaluation:
        return self.evaluate(structures, "II", self.lists(structures))

    def evaluate(
        self, structures: Structures, definition: Definition = "I", edges: Edges | None = None
    ) -> Evaluation:
        """As of the potential, the mean over the axis of members."""
        result = self.fast.evaluate(structures, definition, edges)
        if result.energies.ndim == 2:
            return result
        energies, forces, virials = (x.mean(0) for x in (result.energies, result.forces, result.virials))
        return Evaluation(energies, forces, virials, result.volumes)

    def spread(self, structures: Structures) -> Tensor:
        """Largest standard deviation of a force component between members, (B,) eV/A."""
        forces = self.fast.evaluate(structures, "II", self.lists(structures)).forces
        if forces.ndim == 3 or len(forces) < 2:
            raise ValueError("Limits(spread=...) needs a committee; give a potential of two or more members")
        return forces.std(0).amax((1, 2))

    def shortest_distance(self, structures: Structures) -> Tensor:
        """Shortest distance, (B,) angstrom; where none is within the cutoff, some number beyond."""
        squares = self.lists(structures).vectors(structures).square().sum(0)
        return squares.view(len(structures), -1).amin(-1).sqrt()
