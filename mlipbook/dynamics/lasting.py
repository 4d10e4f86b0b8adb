"""Runs of many replicas that go on when one of them breaks: that one is left out of what is averaged.

Where a replica leaves its limits it starts again from its own start, so that the batch keeps its shape (and a
potential the kernels that were compiled for it); what it showed and will show is not to be used.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mlipbook.dynamics import Limits, Simulation, State, Trajectory, Unstable
from mlipbook.dynamics.simulation import Observables
from mlipbook.dynamics.trajectory import joined


class Lasting(NamedTuple):
    """What the replicas showed, which of them stayed within the limits all the time, and how others broke."""

    observed: Mapping[str, Tensor]  # name -> (T, B, ...)
    lasted: Tensor  # (B,) bool
    broken: Tensor  # (n, 2), replica and last good step


def run(
    simulation: Simulation, start: State, steps: int, observe: Observables, every: int, limits: Limits
) -> Lasting:
    """As Simulation.run, for all replicas that last. Raises Unstable, with all that was observed, if none
    does, if none is to blame, or if a replica breaks before it was seen once.
    """
    state, end, lasted = start, start.step + steps, torch.ones(len(start), dtype=torch.bool)
    parts: list[Trajectory] = []
    broken: list[tuple[int, int]] = []
    begun = [start.step] * len(start)  # of each replica's present run
    while not parts or end - state.step >= every:
        try:
            parts.append(simulation.run(state, end - state.step, observe, every, limits=limits))
            state = parts[-1].state
        except Unstable as stop:
            parts.append(stop.trajectory)
            b, step = stop.replica, stop.state.step
            if b is not None:
                lasted[b] = False
            if b is None or not lasted.any() or step == begun[b]:
                stop.trajectory = joined(parts)
                raise
            broken.append((b, step))
            begun[b] = step
            state = stop.state.put([b], start.take([b]))  # its thermostat at rest
    return Lasting(joined(parts).observed, lasted, torch.tensor(broken, dtype=torch.int64).view(-1, 2))
