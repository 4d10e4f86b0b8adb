"""What a run leaves: the final state, the observed series, and frames."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from ase import Atoms
from torch import Tensor

from mlipbook import archive
from mlipbook.checks import whole
from mlipbook.dynamics.state import State


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
        self.good, self.first, self.every, self.frames, self.timestep = start, first, every, frames, timestep
        self.observables = {k: x if isinstance(x, Every) else Every(every, x) for k, x in observables.items()}
        self.time: list[float] = []
        self.times: dict[str, list[float]] = {k: [] for k, x in observables.items() if isinstance(x, Every)}
        self.observed: dict[str, list[Tensor]] = {name: [] for name in observables}
        self.frame_time: list[float] = []
        self.kept: list[tuple[Tensor, Tensor, Tensor]] = []

    def due(self, state: State, interval: int | None) -> bool:
        return interval is not None and (state.step - self.first) % interval == 0

    def look(self, state: State) -> None:
        time = (state.step - self.first) * self.timestep
        if self.due(state, self.every):
            self.good = state
            self.time.append(time)
        for name, observable in self.observables.items():
            if self.due(state, observable.steps):
                self.times.get(name, []).append(time)
                self.observed[name].append(observable.function(state).detach().cpu())
        if self.due(state, self.frames):
            self.frame_time.append(time)
            r, cells, p = state.structures.positions, state.structures.cells, state.momenta
            self.kept.append((r.cpu(), cells.cpu(), p.float().cpu()))

    def part(self, state: State) -> Trajectory:
        """What was seen up to this state."""
        B, N = len(state), state.structures.n_atoms
        now = (state.step - self.first) * self.timestep

        def until_now(times: Sequence[float]) -> Tensor:
            return torch.tensor([time for time in times if time <= now], dtype=torch.float64)

        frame_time = until_now(self.frame_time)
        times = {name: until_now(own) for name, own in self.times.items()}
        seen, known = len(frame_time), {name: len(own) for name, own in times.items()}
        return Trajectory(
            state,
            torch.tensor(self.time, dtype=torch.float64),
            {name: stacked(values[: known.get(name)], B) for name, values in self.observed.items()},
            frame_time,
            stacked([positions for positions, _, _ in self.kept[:seen]], B, N, 3),
            stacked([cells for _, cells, _ in self.kept[:seen]], B, 3, 3),
            stacked([momenta for _, _, momenta in self.kept[:seen]], B, N, 3).float(),
            times,
        )


def stacked(values: Sequence[Tensor], *shape: int) -> Tensor:
    """Along time in front; (0, *shape) if there are none."""
    return torch.stack(list(values)) if values else torch.zeros(0, *shape, dtype=torch.float64)


def joined(parts: Sequence[Trajectory]) -> Trajectory:
    """Parts one after the other."""

    def along_time(tensors: Sequence[Tensor]) -> Tensor:
        filled = [x for x in tensors if len(x)]
        return torch.cat(filled) if filled else tensors[-1]

    last = parts[-1]
    return Trajectory(
        last.state,
        along_time([part.time for part in parts]),
        {name: along_time([part.observed[name] for part in parts]) for name in last.observed},
        along_time([part.frame_time for part in parts]),
        along_time([part.positions for part in parts]),
        along_time([part.cells for part in parts]),
        along_time([part.momenta for part in parts]),
        {name: along_time([part.times[name] for part in parts]) for name in last.times},
    )
