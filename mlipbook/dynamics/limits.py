"""The limits beyond which a run is not to be trusted, and how it ends there."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import torch

from mlipbook.dynamics.forces import CommitteeMean
from mlipbook.dynamics.state import State

if TYPE_CHECKING:
    from mlipbook.dynamics.trajectory import Trajectory


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
    closest = min(forces.shortest.values(), default=0.0) if limits.closest is None else limits.closest
    checks = [
        ("sum of p^2/m (eV)", state.twice_kinetic, 0.0, inf),
        ("shortest distance (A)", forces.shortest_distance(state.structures), closest, inf),
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
