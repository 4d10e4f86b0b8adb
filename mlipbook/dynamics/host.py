"""Numbers of each replica outside of PyTorch: what every step of an integrator works with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from mlipbook.dynamics.state import State
    from mlipbook.structures import Structures

Numbers = float | Sequence[float] | np.ndarray | Tensor  # one for all replicas, or one each
Number = float | np.ndarray  # of each replica, (B,); a float for a single one


def on_host(values: Tensor) -> Any:
    """Values (B, ...) outside of PyTorch: an array (..., B); of one replica lists of floats, ten times as
    quick.
    """
    return values.tolist()[0] if len(values) == 1 else values.movedim(0, -1).cpu().numpy()


def from_host(numbers: Any, like: Tensor) -> Tensor:
    """The way back: (B, ...), of as many replicas and on the device of a tensor (B, ...)."""
    array = np.array(numbers)
    array = array[None] if len(like) == 1 else np.moveaxis(array, -1, 0)
    return torch.as_tensor(array, device=like.device)


def per_replica(values: Numbers, structures: Structures, name: str) -> Tensor:
    """A number, or one for each replica, as (B,) float64; ValueError if there are others, or NaN."""
    found = torch.as_tensor(values, dtype=torch.float64, device=structures.positions.device)
    if found.shape not in ((), (len(structures),)):
        given = f"{name} of shape {tuple(found.shape)} for {len(structures)} replicas"
        raise ValueError(f"{given}; give one, or one each")
    if not bool(torch.isfinite(found).all()):
        raise ValueError(f"{name} {found.tolist()} is not finite")
    return found.expand(len(structures))


class Extended(Mapping[str, Tensor]):
    """Variables of thermostat and barostat that stay on the host, as `numbers` (see `on_host`), where each
    step works with them; who looks one up gets a tensor (B, ...).
    """

    def __init__(self, numbers: dict[str, Any], state: State):
        self.numbers, self.like = numbers, state.momenta

    def __getitem__(self, name: str) -> Tensor:
        return from_host(self.numbers[name], self.like)

    def __iter__(self) -> Iterator[str]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)
