"""The limits beyond which a run is not to be trusted, and how it ends there.

A run that blows up shows it in three ways, each in units of its own: in the temperature, in the invariant of
its integrator, and, where a network falls into a hole between its data, in a distance at a temperature and an
invariant that look well. (Pair potentials have no such holes: what takes an atom up their wall against the
forces is an error of the integrator, and the invariant jumps by the height of the wall.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import torch
from ase.data import covalent_radii
from torch import Tensor

from mlipbook.dynamics.forces import CommitteeMean
from mlipbook.dynamics.host import Number
from mlipbook.dynamics.state import State
from mlipbook.units import fs, kB

if TYPE_CHECKING:
    from mlipbook.dynamics.trajectory import Trajectory

Target = Callable[[int], Number]  # of a step
WARM = 0.05  # eV, kT of 580 K, and
COLD = 1e-3  # of 12 K: no lower temperatures are taken as units of temperatures and of drifts


class Unstable(RuntimeError):
    """A run left its limits. trajectory: what was observed before; its state is the last good one. replica:
    the one to blame, None if no one is known.
    """

    trajectory: Trajectory

    def __init__(self, message: str, replica: int | None = None):
        super().__init__(message)
        self.replica = replica

    @property
    def state(self) -> State:
        return self.trajectory.state


@dataclass(frozen=True)
class Limits:
    """Outside of these a run stops. They are looked at whenever the run is observed, and before it is stored.

    closest: shortest distance between any two atoms, angstrom (default: the shortest of all pairs in the
    potential's training data; of a potential for certain elements that does not tell, as those from aenet's
    files, their smallest covalent radius, half the length of a bond; of others 0). volume: lower and upper
    bound relative to the start. spread: largest standard deviation of a force component between the members
    of a committee, eV/A.
    temperature: times that of the thermostat, or of the start if it was hotter (or 580 K). drift: change of
    the invariant since the last look (or, where no thermostat takes heat away, since the start), in units of
    the largest kinetic energy so far, or of the thermostat's N_f kT/2. inf: any. ValueError if negative.
    """

    closest: float | None = None
    volume: tuple[float, float] = (0.5, 2.0)
    spread: float = inf
    temperature: float = 20.0
    drift: float = 0.5

    def __post_init__(self) -> None:
        least, most = self.volume
        values = (self.closest or 0.0, least, most - least, self.spread, self.temperature, self.drift)
        if not all(value >= 0 for value in values):
            raise ValueError(f"{self}: give none that is negative or not a number, the lower bound first")


def advice(timestep: float) -> str:
    """What to do about a run that left its limits."""
    return (
        f"shorten the time step ({timestep / fs:.3g} fs; 1 fs is 1 * units.fs), start from a relaxed "
        "structure, label structures from here and train on them, or widen the limits"
    )


@dataclass
class Watch:
    """Looks at a run now and then."""

    limits: Limits
    start: State
    forces: CommitteeMean
    of: Callable[[State, Number, Number], Tensor]  # the invariant, (B,) eV, of a state, kT (eV) and P
    kT: Target
    P: Target
    timestep: float
    reference: State | None = None  # from which the invariant drifts

    def __post_init__(self) -> None:
        self.most_kinetic = self.start.two_K / 2  # so far, (B,) eV

    def look(self, state: State, before: State) -> None:
        """Raise Unstable for the first replica that is outside of the limits. before: what was seen last."""
        target = torch.as_tensor(self.kT(state.step), dtype=torch.float64, device=state.momenta.device)
        if self.reference is None or bool((target > 0).all()):
            self.reference = before
        drift = self.drift(state, self.reference)
        self.most_kinetic = torch.maximum(self.most_kinetic, state.two_K / 2)
        for name, values, smallest, largest in self.checks(state, drift, target):
            outside = torch.nonzero(~((values >= smallest) & (values <= largest)))
            if len(outside):
                b = int(outside[0, 0])
                least, most = (float(torch.as_tensor(x).expand(len(state))[b]) for x in (smallest, largest))
                raise Unstable(
                    f"step {state.step}, replica {b}: {name} is {float(values[b]):.4g}, outside {least:.4g} "
                    f"to {most:.4g}; {advice(self.timestep)}",
                    replica=b,
                )

    def invariant(self, state: State, step: int) -> Tensor:
        """With the targets of a step, (B,) eV."""
        return self.of(state, self.kT(step), self.P(step))

    def drift(self, state: State, before: State) -> Tensor:
        """Of the invariant, (B,) eV; 0 if it vanishes for a kT between the former and the present one, as on
        a ramp.
        """
        steps = state.step, before.step
        now, then = (self.invariant(state, step) - self.invariant(before, step) for step in steps)
        return torch.where(now * then <= 0, 0.0, torch.minimum(now.abs(), then.abs()))

    def checks(
        self, state: State, drift: Tensor, target: Tensor
    ) -> Iterator[tuple[str, Tensor, float | Tensor, float | Tensor]]:
        """What is looked at, (B,), with its least and its largest value."""
        limits, structures, start, forces = self.limits, state.structures, self.start, self.forces
        warmest = torch.maximum(target, kB * start.temperature).clamp(min=WARM)
        yield "temperature (K)", state.temperature, 0.0, limits.temperature * warmest / kB
        closest = limits.closest
        if closest is None:
            smallest = float(covalent_radii[structures.species.cpu()].min()) if forces.species else 0.0
            closest = min(forces.shortest.values(), default=smallest)
        yield "shortest distance (A)", forces.shortest_distance(structures), closest, inf
        if all(structures.pbc):
            yield "volume relative to the start", state.volume / start.volume, *limits.volume
        if limits.spread < inf:
            yield "spread of forces (eV/A)", forces.spread(structures), 0.0, limits.spread
        half = state.degrees_of_freedom / 2
        unit = torch.maximum(self.most_kinetic, half * target.clamp(min=COLD))
        yield "drift of the invariant (kinetic energies)", drift / unit, 0.0, limits.drift
