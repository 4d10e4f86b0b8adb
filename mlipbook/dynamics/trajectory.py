"""What a run leaves: the final state, the observed series, and frames."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from ase import Atoms
from torch import Tensor

from mlipbook import archive
from mlipbook.checks import whole
from mlipbook.dynamics.state import State

SERIES = ("time", "frame_time", "positions", "cells", "momenta")  # of a Trajectory, along time
FRAME: dict[str, Callable[[State], Tensor]] = {
    "positions": lambda state: state.structures.positions,
    "cells": lambda state: state.structures.cells,
    "momenta": lambda state: state.momenta.float(),
}


@dataclass(frozen=True)
class Trajectory:
    """state: the last one. time: (T,) internal units, of the observations. observed: name -> (T, B, ...).
    times: of the observables with an interval of their own (`Every`), name -> (T,).

    frame_time: (T',), positions: (T', B, N, 3) angstrom, not wrapped, cells: (T', B, 3, 3), momenta: (T', B,
    N, 3) amu A per internal time unit, float32 (half the memory), if frames were kept (else T' = 0). Times
    count from the start of the run; all but the state lies on the CPU.
    """

    state: State
    time: Tensor
    observed: Mapping[str, Tensor]
    frame_time: Tensor
    positions: Tensor
    cells: Tensor
    momenta: Tensor
    times: Mapping[str, Tensor] = field(default_factory=dict)

    def atoms(self, replica: int = 0) -> list[Atoms]:
        """The frames of a replica, with their momenta."""
        if not len(self.frame_time):
            return []
        like = self.state.structures.to("cpu")
        frames = replace(like, positions=self.positions[:, replica], cells=self.cells[:, replica])
        return replace(self.state, structures=frames, momenta=self.momenta[:, replica].double()).to_ase()

    def to_extxyz(self, path: str | os.PathLike[str], replica: int = 0) -> None:
        """Write the frames of a replica, complete or not at all."""
        write_extxyz(path, self.atoms(replica))


def write_extxyz(path: str | os.PathLike[str], frames: Sequence[Atoms]) -> None:
    from ase.io import write

    text = io.StringIO()
    write(text, list(frames), format="extxyz")
    with archive.replacing(path) as file:
        file.write(text.getvalue().encode())


@dataclass(frozen=True)
class Every:
    """An observable with an interval of its own: observe={"q6": Every(100, observables.q6)}.

    steps: number of them from one observation to the next; ValueError unless it is a whole one.
    """

    steps: int
    function: Callable[[State], Tensor]

    def __post_init__(self) -> None:
        whole(self.steps, "steps from one observation to the next")


@dataclass
class Series:
    """What an observable of a run shows every so many steps, with its times."""

    steps: int
    function: Callable[[State], Tensor]
    time: list[float] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def look(self, state: State, time: float) -> None:
        self.time.append(time)
        self.values.append(torch.as_tensor(self.function(state)).detach().cpu())

    def until(self, now: float, like: Tensor) -> tuple[Tensor, Tensor]:
        """Times (T,) and values (T, ...); without any of these (0, *like.shape)."""
        time = torch.tensor([time for time in self.time if time <= now], dtype=torch.float64)
        return time, torch.stack(self.values[: len(time)]) if len(time) else like[None][:0].cpu()


class Recorder:
    """Keeps what a part of a run shows. good: the last state that was looked at."""

    def __init__(
        self,
        start: State,
        observables: Mapping[str, Callable[[State], Tensor] | Every],
        first: int,
        every: int,
        frames: int | None,
        timestep: float,
    ):
        self.good, self.first, self.every, self.timestep = start, first, every, timestep
        self.own = [name for name, x in observables.items() if isinstance(x, Every)]
        each = {name: x if isinstance(x, Every) else Every(every, x) for name, x in observables.items()}
        self.observed = {name: Series(x.steps, x.function) for name, x in each.items()}
        self.frames = {name: Series(frames or 0, function) for name, function in FRAME.items()}

    def due(self, state: State, interval: int) -> bool:
        return interval > 0 and (state.step - self.first) % interval == 0

    def time(self, state: State) -> float:
        return (state.step - self.first) * self.timestep

    def look(self, state: State) -> None:
        if self.due(state, self.every):
            self.good = state
        for series in (*self.observed.values(), *self.frames.values()):
            if self.due(state, series.steps):
                series.look(state, self.time(state))

    def part(self, state: State) -> Trajectory:
        """What was seen up to this state."""
        now = self.time(state)
        seen = {name: series.until(now, state.two_K) for name, series in self.observed.items()}
        frames = {name: series.until(now, series.function(state)) for name, series in self.frames.items()}
        return Trajectory(
            state,
            time=seen["invariant"][0],
            observed={name: values for name, (_, values) in seen.items()},
            frame_time=frames["positions"][0],
            times={name: seen[name][0] for name in self.own},
            **{name: values for name, (_, values) in frames.items()},
        )


def joined(parts: Sequence[Trajectory]) -> Trajectory:
    """Parts one after the other."""

    def along_time(tensors: Sequence[Tensor]) -> Tensor:
        filled = [x for x in tensors if len(x)]
        return torch.cat(filled) if filled else tensors[-1]

    def each(name: str) -> dict[str, Tensor]:
        found = [getattr(part, name) for part in parts]
        return {key: along_time([part[key] for part in found]) for key in found[-1]}

    series: Any = {name: along_time([getattr(part, name) for part in parts]) for name in SERIES}
    return replace(parts[-1], observed=each("observed"), times=each("times"), **series)
