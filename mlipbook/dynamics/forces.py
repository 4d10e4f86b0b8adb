"""The forces that drive dynamics, and the limits beyond which they are not to be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from mlipbook.dynamics.state import State
from mlipbook.fast.graphs import fastest
from mlipbook.neighbors import Edges, VerletLists
from mlipbook.potentials import Evaluation
from mlipbook.structures import Structures

if TYPE_CHECKING:
    from mlipbook.dynamics.trajectory import Trajectory


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


class Unstable(RuntimeError):
    """A run left its limits. trajectory: what was observed before; its state is the last good one. replica:
    the one to blame, None if no one is known.
    """

    trajectory: Trajectory
    replica: int | None = None

    @property
    def state(self) -> State:
        return self.trajectory.state


@dataclass(frozen=True)
class Limits:
    """Outside of these a run stops. They are looked at whenever the run is observed.

    closest: shortest distance between any two atoms, angstrom (default: the shortest of all pairs in the
    potential's training data; 0: any). volume: lower and upper bound relative to the start. spread: largest
    standard deviation of a force component between the members of a committee, eV/A.
    """

    closest: float | None = None
    volume: tuple[float, float] = (0.5, 2.0)
    spread: float = inf


def refuse_broken(state: State, start: State, limits: Limits, forces: CommitteeMean) -> None:
    """Raise Unstable for the first replica that is outside of the limits."""
    known = (getattr(forces.potential, "shortest", None) or {}).values()
    closest = min(known, default=0.0) if limits.closest is None else limits.closest
    checks = [
        ("sum of p^2/m (eV)", state.twice_kinetic, 0.0, inf),
        ("shortest distance (A)", forces.shortest(state.structures), closest, inf),
    ]
    if all(state.structures.pbc):
        checks.append(("volume relative to the start", state.volume / start.volume, *limits.volume))
    if limits.spread < inf:
        checks.append(("spread of forces (eV/A)", forces.spread(state.structures), 0.0, limits.spread))
    for name, values, smallest, largest in checks:
        outside = torch.nonzero(~((values >= smallest) & (values <= largest)))
        if len(outside):
            b = int(outside[0, 0])
            stop = Unstable(
                f"step {state.step}, replica {b}: {name} is {float(values[b]):.4g}, outside {smallest:.4g} "
                f"to {largest:.4g}; label structures from here and train on them, shorten the time step, or "
                "widen the limits"
            )
            stop.replica = b
            raise stop
