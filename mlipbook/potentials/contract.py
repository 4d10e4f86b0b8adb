"""What a potential is. Whatever fulfills `Potential` can be asked for errors, drive dynamics, sit in an ASE
calculator, carry heat and have a free energy.

A potential of one's own inherits from `Base`, which knows what most have in common, and gives `cutoff` and
`evaluate`; one that changes another inherits from `Wrapper`, and gives what it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from itertools import chain
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, get_args

import torch
from torch import nn

from mlipbook.neighbors import Edges
from mlipbook.structures import Structures

if TYPE_CHECKING:
    from mlipbook.potentials.edge import Evaluation

Definition = Literal["I", "II", "III"]  # of the atomic virial: Eq. 12, 13, 14
DEFINITIONS: tuple[Definition, ...] = get_args(Definition)
Distances = Mapping[tuple[str, str], float]  # of pairs of elements, in alphabetical order


class Potential(Protocol):
    """The contract.

    | name     | type               | what                                                                |
    |----------|--------------------|---------------------------------------------------------------------|
    | cutoff   | float, A           | a neighbor list that reaches so far holds every pair that matters   |
    | members  | int                | of a committee; with more than one, results have an axis in front   |
    | shortest | Distances, A       | the shortest ones it was trained on; empty where it was not trained |
    | species  | symbols, or None   | the elements that it knows; None: any                               |
    | device   | device, or None    | where it computes; None: where the structures are                   |
    | dtype    | dtype              | in which it computes; results are float64                           |
    """

    @property
    def cutoff(self) -> float: ...
    @property
    def members(self) -> int: ...
    @property
    def shortest(self) -> Distances: ...
    @property
    def species(self) -> tuple[str, ...] | None: ...
    @property
    def device(self) -> torch.device | None: ...
    @property
    def dtype(self) -> torch.dtype: ...

    def evaluate(
        self, structures: Structures, definition: Definition = "I", edges: Edges | None = None
    ) -> Evaluation:
        """Energies (B, N) eV, forces (B, N, 3) eV/A, atomic virials (B, N, 3, 3) eV of B structures.
        definition: of the atomic virial. edges: a neighbor list to use (default: a new one). Raises
        ValueError, naming the atom, for structures that it cannot describe.
        """
        ...


class Base(nn.Module):
    """What most potentials have in common; its tensors, if it has any, tell device and dtype. Angstrom."""

    cutoff: float
    members: int = 1
    shortest: Distances = MappingProxyType({})
    species: tuple[str, ...] | None = None

    def save(self, path: str) -> None:
        """Refused, by TypeError: only ANN potentials have files."""
        raise TypeError(f"a {type(self).__name__} has no file: it is made of the arguments in your script")

    @property
    def device(self) -> torch.device | None:
        first = next(chain(self.parameters(), self.buffers()), None)
        return None if first is None else first.device

    @property
    def dtype(self) -> torch.dtype:
        first = next(self.parameters(), None)
        return torch.float64 if first is None else first.dtype


def forwarded(name: str) -> Any:
    """An attribute that a wrapper has from the potential within."""
    return property(attrgetter(f"potential.{name}"))


class Wrapper(nn.Module):
    """A potential around another, which answers where the wrapper has no word of its own."""

    within: tuple[str, ...] = ("potential",)  # attributes that are potentials
    potential: Potential

    def __init__(self, potential: Potential):
        super().__init__()
        self.potential = potential

    cutoff = forwarded("cutoff")
    members = forwarded("members")
    shortest = forwarded("shortest")
    species = forwarded("species")
    device = forwarded("device")
    dtype = forwarded("dtype")

    def around(self, form: Callable[[Potential], Potential]) -> Self:
        """The same wrapper around another form of each potential within."""
        new = copy(self)
        new._modules = dict(self._modules)  # which a copy shares with the original
        for name in self.within:
            setattr(new, name, form(getattr(self, name)))
        return new


class Form(Wrapper):
    """Another form of a potential, which gives the same numbers up to rounding."""

    save = forwarded("save")

    def identified_by(self) -> Potential:
        """To `archive.identity` it is the potential."""
        return self.potential


def placed(potential: Potential, device: torch.device) -> Potential:
    """The potential on this device, moved there if it is elsewhere; ValueError if it cannot be."""
    if potential.device in (None, device):
        return potential
    if not isinstance(potential, nn.Module):
        raise ValueError(
            f"the potential computes on {potential.device}, structures are on {device}: move one"
        )
    return potential.to(device)
