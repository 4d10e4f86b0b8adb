"""What a run leaves: the final state, the observed series, and frames."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from ase import Atoms
from torch import Tensor

from mlipbook import archive
from mlipbook.dynamics.state import State
from mlipbook.structures import Structures


@dataclass(frozen=True)
class Trajectory:
    """state: the last one. time: (T,) internal units, of the observations. observed: name -> (T, B, ...).

    frame_time: (T',), positions: (T', B, N, 3) angstrom, not wrapped, cells: (T', B, 3, 3), if frames were
    kept (else T' = 0). Times count from the start of the run; all but the state lies on the CPU.
    """

    state: State
    time: Tensor
    observed: Mapping[str, Tensor]
    frame_time: Tensor
    positions: Tensor
    cells: Tensor

    def atoms(self, replica: int = 0) -> list[Atoms]:
        """The frames of a replica."""
        if not len(self.frame_time):
            return []
        like = self.state.structures.to("cpu")
        return replace(like, positions=self.positions[:, replica], cells=self.cells[:, replica]).to_ase()

    def to_extxyz(self, path: str | os.PathLike[str], replica: int = 0) -> None:
        """Write the frames of a replica, complete or not at all."""
        write_extxyz(path, self.atoms(replica))


def write_extxyz(path: str | os.PathLike[str], frames: Sequence[Atoms]) -> None:
    from ase.io import write

    text = io.StringIO()
    write(text, list(frames), format="extxyz")
    with archive.replacing(path) as file:
        file.write(text.getvalue().encode())


class Recorder:
    """Keeps what a part of a run shows. good: the last state that was looked at."""

    def __init__(
        self,
        start: State,
        observables: Mapping[str, Callable[[State], Tensor]],
        first: int,
        every: int,
        frames: int | None,
        timestep: float,
    ):
        self.good, self.first, self.every, self.frames, self.timestep = start, first, every, frames, timestep
        self.observables = observables
        self.time: list[float] = []
        self.observed: dict[str, list[Tensor]] = {name: [] for name in observables}
        self.frame_time: list[float] = []
        self.structures: list[Structures] = []

    def due(self, state: State, interval: int | None) -> bool:
        return interval is not None and (state.step - self.first) % interval == 0

    def look(self, state: State) -> None:
        time = (state.step - self.first) * self.timestep
        if self.due(state, self.every):
            self.good = state
            self.time.append(time)
            for name, function in self.observables.items():
                self.observed[name].append(function(state).detach().cpu())
        if self.due(state, self.frames):
            self.frame_time.append(time)
            self.structures.append(state.structures.to("cpu"))

    def part(self, state: State) -> Trajectory:
        """What was seen up to this state."""
        B, N = len(state), state.structures.n_atoms
        seen = sum(time <= (state.step - self.first) * self.timestep for time in self.frame_time)
        return Trajectory(
            state,
            torch.tensor(self.time, dtype=torch.float64),
            {name: stacked(values, B) for name, values in self.observed.items()},
            torch.tensor(self.frame_time[:seen], dtype=torch.float64),
            stacked([s.positions for s in self.structures[:seen]], B, N, 3),
            stacked([s.cells for s in self.structures[:seen]], B, 3, 3),
        )


def stacked(values: Sequence[Tensor], *shape: int) -> Tensor:
    """Along time in front; (0, *shape) if there are none."""
    return torch.stack(list(values)) if values else torch.zeros(0, *shape, dtype=torch.float64)


def joined(parts: Sequence[Trajectory]) -> Trajectory:
    """Parts one after the other."""

    def along_time(tensors: Sequence[Tensor]) -> Tensor:
        filled = [x for x in tensors if len(x)]
        return torch.cat(filled) if filled else tensors[-1]

    names = ("frame_time", "positions", "cells")
    return Trajectory(
        parts[-1].state,
        along_time([part.time for part in parts]),
        {name: along_time([part.observed[name] for part in parts]) for name in parts[-1].observed},
        *(along_time([getattr(part, name) for part in parts]) for name in names),
    )
