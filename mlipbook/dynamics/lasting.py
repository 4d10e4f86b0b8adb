"""Runs of many replicas that go on when one of them breaks: that one is left out of what is averaged.

Where a replica leaves its limits it starts again from its own start, so that the batch keeps its shape (and a
potential the kernels that were compiled for it); what it showed and will show is not to be used.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mlipbook.dynamics import Limits, Simulation, State, Trajectory, Unstable
from mlipbook.dynamics.simulation import Observables
from mlipbook.dynamics.trajectory import joined


@dataclass(frozen=True)
class Lasting:
    """observed: name -> (T, B, ...). lasted: (B,) whether a replica stayed within the limits all the time.
    broken: (n, 2), replica and last good step of those that did not.
    """

    observed: Mapping[str, Tensor]
    lasted: Tensor
    broken: Tensor


def run(
    simulation: Simulation, start: State, steps: int, observe: Observables, every: int, limits: Limits
) -> Lasting:
    """As Simulation.run, for all replicas that last. Raises Unstable if none does, if none is to blame, or if
    a replica breaks before it was seen once.
    """
    state, end, lasted = start, start.step + steps, torch.ones(len(start), dtype=torch.bool)
    parts: list[Trajectory] = []
    broken: list[tuple[int, int]] = []
    begun = [start.step] * len(start)  # of each replica's present run
    while not parts or state.step < end:
        try:
            parts.append(simulation.run(state, end - state.step, observe, every, limits=limits))
            state = parts[-1].state
        except Unstable as stop:
            b = stop.replica
            if b is None:
                raise
            lasted[b] = False
            if not lasted.any() or stop.state.step == begun[b]:
                raise
            broken.append((b, stop.state.step))
            begun[b] = stop.state.step
            parts.append(stop.trajectory)
            state = stop.state.put([b], start.take([b]))  # its thermostat at rest
    return Lasting(joined(parts).observed, lasted, torch.tensor(broken, dtype=torch.int64).view(-1, 2))
