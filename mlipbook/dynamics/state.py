"""The state of molecular dynamics: B replicas at one step, and where its randomness comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

Numbers = float | Sequence[float] | np.ndarray | Tensor  # one for all replicas, or one each
DERIVED = {  # properties of a State that go with its values
    "momenta": ("velocities", "twice_kinetic", "two_K"),
    "structures": ("trace_and_volume",),
    "result": ("trace_and_volume",),
}
START = 2**63  # step of the noise that draws the first velocities; no run gets there


@dataclass(frozen=True)
class State:
    """B replicas of N atoms at one step.

    structures: positions (B, N, 3) angstrom, not wrapped into the cell. momenta: (B, N, 3) amu A per internal
    time unit. masses: (N,) amu. seeds: one per replica; with the step they determine all noise.
    degrees_of_freedom: N_f, the number of independent momenta of a replica, 3N - 3 if their sum is zero and
    stays so. extended: the variables of thermostat and barostat. result: energies, forces, virials at these
    positions, the mean of a committee (None before the first step).
    """

    structures: Structures
    momenta: Tensor
    masses: Tensor
    seeds: tuple[int, ...]
    degrees_of_freedom: int
    step: int = 0
    extended: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))
    result: Evaluation | None = None

    def __len__(self) -> int:
        return len(self.structures)

    def updated(self, **changes: Any) -> State:
        """The same replicas with other values.

        As dataclasses.replace, but quick, for every step, and what is derived from a value is kept with it.
        """
        new = object.__new__(State)
        vars(new).update(vars(self))
        for name in changes:
            for derived in DERIVED.get(name, ()):
                vars(new).pop(derived, None)
        vars(new).update(changes)
        return new

    def scaled(self, factor: Number, **changes: Any) -> State:
        """With the momenta of each replica times a factor."""
        [scale] = self.for_atoms(factor)
        new = self.updated(momenta=scale * self.momenta, **changes)
        vars(new)["two_K"] = self.two_K * factor**2
        return new

    def take(self, replicas: Sequence[int] | Tensor, seeds: Sequence[int] | None = None) -> State:
        """These replicas, in this order, some perhaps several times; seeds: of their own (default: kept)."""
        rows = torch.as_tensor(replicas, device=self.momenta.device)
        own = [self.seeds[b] for b in rows.tolist()] if seeds is None else seeds
        old, result = self.structures, self.result
        return replace(
            self,
            structures=replace(old, positions=old.positions[rows], cells=old.cells[rows]),
            momenta=self.momenta[rows],
            seeds=tuple(own),
            extended={name: x[rows] for name, x in self.extended.items()},
            result=result and replace(result, **{name: x[rows] for name, x in fields_of(result)}),
        )

    def put(self, replicas: Sequence[int] | Tensor, other: State) -> State:
        """With these replicas, each named once, as they are in a state of as many.

        Variables of thermostat and barostat that the other does not have begin at rest, 0. Energies and
        forces remain if both have them. Raises ValueError for another number of replicas.
        """
        rows = torch.as_tensor(replicas, device=self.momenta.device)
        if len(set(numbers := rows.tolist())) != len(other):
            raise ValueError(f"{len(other)} replicas for the places {numbers}: give one for each place")

        def into(mine: Tensor, theirs: Tensor) -> Tensor:
            return mine.index_copy(0, rows, theirs)

        old, new, mine, theirs = self.structures, other.structures, self.result, other.result
        seeds = dict(enumerate(self.seeds)) | dict(zip(numbers, other.seeds, strict=True))
        begun = {name: torch.zeros_like(x[rows]) for name, x in self.extended.items()} | dict(other.extended)
        result = None
        if mine and theirs:
            both = zip(fields_of(mine), fields_of(theirs), strict=True)
            result = replace(mine, **{name: into(x, y) for (name, x), (_, y) in both})
        return replace(
            self,
            structures=old.moved(into(old.positions, new.positions), into(old.cells, new.cells)),
            momenta=into(self.momenta, other.momenta),
            seeds=tuple(seeds.values()),
            extended={name: into(x, begun[name]) for name, x in self.extended.items()},
            result=result,
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

    @cached_property
    def mass_column(self) -> Tensor:
        """(N, 1) amu, to divide momenta by."""
        return self.masses.unsqueeze(-1)

    @cached_property
    def velocities(self) -> Tensor:
        """(B, N, 3) angstrom per internal time unit."""
        return self.momenta / self.mass_column

    @cached_property
    def twice_kinetic(self) -> Tensor:
        """Sum of p^2/m, (B,) eV."""
        return (self.momenta * self.velocities).sum((1, 2))

    @cached_property
    def two_K(self) -> Number:
        """The same on the host."""
        return on_host(self.twice_kinetic)

    def heat(self, kT: Number) -> Number:
        """Sum of p^2/m over N_f kT, on the host."""
        return self.two_K / (self.degrees_of_freedom * kT)

    @cached_property
    def trace_and_volume(self) -> tuple[Number, Number]:
        """Of the total virial, eV, and A^3, on the host."""
        W = on_host(self.evaluated.virial)
        return W[0][0] + W[1][1] + W[2][2], on_host(self.volume)

    @property
    def numbers(self) -> dict[str, Any]:
        """The extended variables on the host."""
        own = self.extended
        if isinstance(own, Extended):
            return dict(own.numbers)
        return {name: on_host(x) for name, x in own.items()}

    @property
    def temperature(self) -> Tensor:
        """Sum of p^2/m / (N_f kB), (B,) K."""
        return self.twice_kinetic / (self.degrees_of_freedom * kB)

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
    def pressure(self) -> Tensor:
        """A third of the trace of the pressure tensor, (B,) eV/A^3."""
        return self.pressure_tensor.diagonal(dim1=-2, dim2=-1).mean(-1)


def fields_of(result: Evaluation) -> list[tuple[str, Tensor]]:
    """Names and tensors (B, ...)."""
    return [(field.name, getattr(result, field.name)) for field in fields(result)]


def thermalize(
    structures: Structures | Atoms | Sequence[Atoms],
    temperature: Numbers,
    seed: int = 0,
    center_at_rest: bool = True,
) -> State:
    """A state with momenta of the Maxwell-Boltzmann distribution.

    temperature: K, a number or one per replica; one structure with several temperatures is repeated. Replica
    b draws its momenta, and later its noise, from seed + b. center_at_rest: the total momentum is zero
    (N_f = 3N - 3); otherwise it is thermal, too (N_f = 3N).
    Raises ValueError for temperatures or seeds that are negative or do not fit the structures.
    """
    if not isinstance(structures, Structures):
        structures = Structures.from_ase(structures)
    T = np.asarray(temperature, dtype=float)
    if T.ndim == 1 and len(structures) == 1:
        structures = repeated(structures, len(T))
    B, N = len(structures), structures.n_atoms
    kT = kB * per_replica(temperature, structures, "temperature")
    if bool((kT < 0).any()) or center_at_rest >= N or seed < 0:
        raise ValueError(
            f"temperature {T} K, {N} atoms, seed {seed}: no negative temperature or seed, no single atom"
        )
    seeds = tuple(range(seed, seed + B))
    masses = structures.masses
    momenta = (kT[:, None, None] * masses[:, None]).sqrt() * noise(seeds, START, structures)
    if center_at_rest:
        momenta = without_total(momenta, masses)
    return State(structures, momenta, masses, seeds, 3 * (N - center_at_rest))


def repeated(structures: Structures, n: int) -> Structures:
    """n replicas of one structure."""
    positions, cells = structures.positions.repeat(n, 1, 1), structures.cells.repeat(n, 1, 1)
    return replace(structures, positions=positions, cells=cells)


def without_total(momenta: Tensor, masses: Tensor) -> Tensor:
    """Momenta (or forces) less each atom's share m_i/M of their sum.

    For Gaussian momenta this is the projection orthogonal in the metric 1/m: what is left is Gaussian with
    the same temperature.
    """
    share = masses / masses.sum()
    return momenta - share[:, None] * momenta.sum(1, keepdim=True)


def noise(seeds: Sequence[int], step: int, structures: Structures) -> Tensor:
    """Standard normal numbers (B, N, 3), a function of seed and step alone.

    From the counter-based generator Philox, with the step in the highest word of its counter: a run that goes
    on after a kill, or in another batch, or on another device, meets the same noise.
    """
    shape = (structures.n_atoms, 3)
    draws = [
        np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, step])).standard_normal(shape)
        for seed in seeds
    ]
    return torch.as_tensor(np.stack(draws), device=structures.positions.device)


def per_replica(values: Numbers, structures: Structures, name: str) -> Tensor:
    """A number, or one for each replica, as (B,) float64; ValueError if there are others, or NaN."""
    found = torch.as_tensor(values, dtype=torch.float64, device=structures.positions.device)
    if found.ndim > 1 or (found.ndim == 1 and len(found) != len(structures)):
        raise ValueError(
            f"{name} of shape {tuple(found.shape)} for {len(structures)} replicas; give one, or one each"
        )
    if not bool(torch.isfinite(found).all()):
        raise ValueError(f"{name} {found.tolist()} is not finite")
    return found.expand(len(structures))
