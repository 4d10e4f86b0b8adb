"""The state of molecular dynamics: B replicas at one step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from mlipbook.dynamics.host import Extended, Number, on_host
from mlipbook.potentials import Evaluation
from mlipbook.structures import Structures
from mlipbook.units import kB

DERIVED = {  # properties of a State that go with its values
    "momenta": ("velocities", "two_K", "two_K_host"),
    "structures": ("trace_and_volume",),
    "result": ("trace_and_volume",),
}


@dataclass(frozen=True)
class State:
    """B replicas of N atoms at one step.

    structures: positions (B, N, 3) angstrom, not wrapped into the cell. momenta: (B, N, 3) amu A per internal
    time unit; zero of fixed atoms. seeds: one per replica; with the step they determine all noise.
    degrees_of_freedom: N_f, of independent momenta, 3N - 3 if their sum is zero and stays so. extended: the
    variables of thermostat and barostat. result: energies, forces, virials at these positions, the mean of a
    committee (None before the first step).

    Raises ValueError for constraints other than FixAtoms, fixed atoms that move, and N_f that are too many.
    """

    structures: Structures
    momenta: Tensor
    seeds: tuple[int, ...]
    degrees_of_freedom: int
    step: int = 0
    extended: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))
    result: Evaluation | None = None

    def __post_init__(self) -> None:
        if self.structures.n_fixed:
            free = 3 * (self.structures.n_atoms - self.structures.n_fixed)
            if bool(self.momenta[:, self.structures.fixed].any()) or self.degrees_of_freedom > free:
                raise ValueError(
                    f"{self.structures.n_fixed} atoms are fixed: their momenta are zero, and the others have "
                    f"{free} degrees of freedom, not {self.degrees_of_freedom}; make the state by thermalize "
                    "or State.from_ase"
                )

    @staticmethod
    def from_ase(frames: Atoms | Sequence[Atoms], seed: int = 0, device: str | torch.device = "cpu") -> State:
        """A state with the momenta of ASE's structures; replica b's noise is of seed + b.

        N_f is 3N - 3 if all total momenta are zero (to 1e-6 of a momentum), else 3N; with fixed atoms three
        times the others. Warns of atoms without momenta, which are at rest. Raises ValueError for momenta
        that are not finite, total momenta of which only some are zero, and what Structures.from_ase refuses.
        """
        frames = [frames] if isinstance(frames, Atoms) else list(frames)
        structures = Structures.from_ase(frames, device)
        p = torch.as_tensor(np.stack([atoms.get_momenta() for atoms in frames]), device=device)  # (B, N, 3)
        if not bool(p.any()):
            warnings.warn("no momenta: all atoms are at rest; thermalize draws some", stacklevel=2)
        at_rest = (p.sum(1).norm(dim=-1) <= 1e-6 * p.norm(dim=(1, 2))).tolist()  # (B,)
        if not bool(torch.isfinite(p).all()) or any(at_rest) != all(at_rest):
            raise ValueError(
                f"momenta are not finite, or only some centers rest ({at_rest}): a state for each"
            )
        free = degrees_of_freedom(structures, all(at_rest) and structures.n_atoms > 1)
        return State(structures, p, tuple(range(seed, seed + len(frames))), free)

    def to_ase(self) -> list[Atoms]:
        """One ase.Atoms per replica, with momenta, masses and constraints."""
        frames = self.structures.to_ase()
        for atoms, p in zip(frames, self.momenta.cpu().numpy(), strict=True):
            atoms.set_momenta(p, apply_constraint=False)
        return frames

    def __len__(self) -> int:
        return len(self.structures)

    def updated(self, **changes: Any) -> State:
        """As dataclasses.replace, but quick, for every step, and what is derived from a value is kept."""
        new = object.__new__(State)
        stale = {derived for name in changes for derived in DERIVED.get(name, ())}
        vars(new).update({name: x for name, x in vars(self).items() if name not in stale}, **changes)
        return new

    def scaled(self, factor: Number, **changes: Any) -> State:
        """With the momenta of each replica times a factor."""
        [scale] = self.for_atoms(factor)
        new = self.updated(momenta=scale * self.momenta, **changes)
        vars(new)["two_K_host"] = self.two_K_host * factor**2
        return new

    def take(self, replicas: Sequence[int] | Tensor, seeds: Sequence[int] | None = None) -> State:
        """These replicas by number, in this order, some twice; seeds: of their own (default: kept)."""
        rows = torch.as_tensor(replicas, device=self.momenta.device)
        own = [self.seeds[b] for b in rows.tolist()] if seeds is None else seeds
        old = self.structures
        return replace(
            self,
            structures=replace(old, positions=old.positions[rows], cells=old.cells[rows]),
            momenta=self.momenta[rows],
            seeds=tuple(own),
            extended={name: x[rows] for name, x in self.extended.items()},
            result=self.result and each(lambda x: x[rows], self.result),
        )

    def put(self, replicas: Sequence[int] | Tensor, other: State) -> State:
        """With these replicas, each named once, as they are in a state of as many. Variables of thermostat
        and barostat that it does not have begin at rest, 0; energies and forces stay if both have them.
        Raises ValueError for another number of replicas.
        """
        rows = torch.as_tensor(replicas, device=self.momenta.device)
        if len(set(numbers := rows.tolist())) != len(other):
            raise ValueError(f"{len(other)} replicas for the places {numbers}: give one for each place")

        def into(mine: Tensor, theirs: Tensor) -> Tensor:
            return mine.index_copy(0, rows, theirs)

        old, new, mine, theirs = self.structures, other.structures, self.result, other.result
        seeds = dict(enumerate(self.seeds)) | dict(zip(numbers, other.seeds, strict=True))
        begun = {name: torch.zeros_like(x[rows]) for name, x in self.extended.items()} | dict(other.extended)
        return replace(
            self,
            structures=old.moved(into(old.positions, new.positions), into(old.cells, new.cells)),
            momenta=into(self.momenta, other.momenta),
            seeds=tuple(seeds.values()),
            extended={name: into(x, begun[name]) for name, x in self.extended.items()},
            result=each(into, mine, theirs) if mine and theirs else None,
        )

    def for_atoms(self, *numbers: Number) -> Sequence[Any]:
        """Numbers of each replica as (B, 1, 1) beside its atoms; of a single one floats are quicker."""
        if len(self) == 1:
            return numbers
        device = self.momenta.device
        return [torch.from_numpy(number).to(device).view(-1, 1, 1) for number in numbers]

    @property
    def evaluated(self) -> Evaluation:
        """The result; raises ValueError for a state that no simulation has seen yet."""
        if self.result is None:
            raise ValueError("this state has no energies and forces yet; take it from a trajectory")
        return self.result

    @property
    def masses(self) -> Tensor:
        """(N,) amu."""
        return self.structures.masses

    @cached_property
    def mass_column(self) -> Tensor:
        """(N, 1) amu, to divide momenta by."""
        return self.masses.unsqueeze(-1)

    @cached_property
    def velocities(self) -> Tensor:
        """(B, N, 3) angstrom per internal time unit."""
        return self.momenta / self.mass_column

    @cached_property
    def two_K(self) -> Tensor:
        """Sum of p^2/m, (B,) eV."""
        return (self.momenta * self.velocities).sum((1, 2))

    @cached_property
    def two_K_host(self) -> Number:
        """The same on the host."""
        return on_host(self.two_K)

    def heat(self, kT: Number) -> Number:
        """Sum of p^2/m over N_f kT, on the host."""
        return self.two_K_host / (self.degrees_of_freedom * kT)

    @cached_property
    def trace_and_volume(self) -> tuple[Number, Number]:
        """Of the total virial, eV, and A^3, on the host."""
        W = on_host(self.evaluated.virial)
        return W[0][0] + W[1][1] + W[2][2], on_host(self.volume)

    @property
    def numbers(self) -> dict[str, Any]:
        """The extended variables on the host."""
        own = self.extended
        return dict(own.numbers) if isinstance(own, Extended) else {k: on_host(x) for k, x in own.items()}

    @property
    def temperature(self) -> Tensor:
        """Sum of p^2/m / (N_f kB), (B,) K."""
        return self.two_K / (self.degrees_of_freedom * kB)

    @property
    def potential_energy(self) -> Tensor:
        """(B,) eV."""
        return self.evaluated.energy

    @property
    def volume(self) -> Tensor:
        """(B,) A^3."""
        return self.structures.volumes

    @property
    def pressure_tensor(self) -> Tensor:
        """(sum p (x) p / m + W) / volume, (B, 3, 3) eV/A^3. Raises ValueError without a cell.

        Of the N_f momenta: with a total momentum of zero its mean is lower than the pressure by kT/volume.
        """
        kinetic = torch.einsum("bia,bic->bac", self.momenta, self.velocities)
        return kinetic / self.volume[:, None, None] - self.evaluated.stress

    @property
    def instantaneous_pressure(self) -> Tensor:
        """A third of the trace of the pressure tensor, (B,) eV/A^3; that of `result` has no kinetic part."""
        return self.pressure_tensor.diagonal(dim1=-2, dim2=-1).mean(-1)


def each(function: Callable[..., Tensor], *results: Evaluation) -> Evaluation:
    """What a function makes of the results' tensors (B, ...), field by field."""
    names = [field.name for field in fields(results[0])]
    return replace(results[0], **{n: function(*(getattr(result, n) for result in results)) for n in names})


def repeated(structures: Structures, n: int) -> Structures:
    """n replicas of one structure."""
    positions, cells = structures.positions.repeat(n, 1, 1), structures.cells.repeat(n, 1, 1)
    return replace(structures, positions=positions, cells=cells)


def degrees_of_freedom(structures: Structures, center_at_rest: bool) -> int:
    """N_f: 3 for each atom that is not fixed; where none is, 3 less if the center of mass is at rest.
    ValueError if nothing can move."""
    free = 3 * (structures.n_atoms - (structures.n_fixed or center_at_rest))
    if free < 1:
        raise ValueError(
            f"{structures.n_atoms} atoms, {structures.n_fixed} of them fixed: nothing can move; give more, "
            "or let a single atom's center move"
        )
    return free
