"""Fictitious forces that do work on a current, and a thermostat that takes the heat away.

A field F couples to atom i by C_i, with sum_i C_i . v_i = F . J. Heat: C_i = S_i^T F, where
S_i = (t_i + eps_i) 1 + W_i (Eq. 11). A species: C_i = F for its atoms. The force

    F_i^ext = C_i - (m_i/M) sum_j C_j + kT (1 - N m_i/M) F         (last term: heat only)

does the same work at zero total momentum and keeps it zero; subtracting equal shares would do work of its own
where masses differ. The last term makes up for phase space that kinetic energies in C_i compress (Evans,
Cummings, Mol. Phys. 61, 367 (1987); Mandadapu, Jones, Papadopoulos, J. Chem. Phys. 133, 034122 (2010)).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from ase.data import atomic_numbers
from torch import Tensor

from mlipbook.dynamics.forces import CommitteeMean
from mlipbook.dynamics.host import Number
from mlipbook.dynamics.methods import Forces, NoseHoover, drifted
from mlipbook.dynamics.momenta import without_total
from mlipbook.dynamics.state import State
from mlipbook.neighbors import Edges
from mlipbook.potentials import Definition, Evaluation, Potential, Wrapper
from mlipbook.structures import Structures


@dataclass(frozen=True)
class HeatField:
    """field: (B, 3), 1/A, on the flux of a definition; the state's virials must be of that one (`Booked`)."""

    field: Tensor
    definition: Definition = "I"

    def __call__(self, state: State, kT: Number) -> Tensor:
        energies = state.evaluated.energies + state.momenta.square().sum(-1) / (2 * state.masses)
        virial = torch.einsum("biac,ba->bic", state.evaluated.virials, self.field)  # W_i^T F, not W_i F
        coupled = energies[..., None] * self.field[:, None] + virial
        [target] = state.for_atoms(kT)
        share = target * (1 - state.masses / state.masses.mean())[:, None]
        return without_total(coupled, state.masses) + share * self.field[:, None]

    def change(self, state: State, momenta: Tensor) -> Tensor:
        """What other momenta (B, N, 3) add to the force, eV/A: kinetic energies are all that they change."""
        more = (momenta.square() - state.momenta.square()).sum(-1) / (2 * state.masses)
        return without_total(more[..., None] * self.field[:, None], state.masses)


@dataclass(frozen=True)
class ColorField:
    """field: (B, 3), eV/A, on the atoms of this element."""

    field: Tensor
    element: str

    def __call__(self, state: State, kT: Number) -> Tensor:
        own = (state.structures.species == atomic_numbers[self.element]).to(self.field)
        return without_total(own[:, None] * self.field[:, None], state.masses)

    def change(self, state: State, momenta: Tensor) -> Tensor:
        """Zeros, eV/A: the force does not depend on momenta."""
        return torch.zeros_like(momenta)


Drive = HeatField | ColorField  # state, kT -> forces (B, N, 3) eV/A; and how they change with momenta


@dataclass(frozen=True)
class DrivenNoseHoover(NoseHoover):
    """Velocity Verlet under a drive, between half steps of a single Nose-Hoover thermostat.

    Single, since a chain, built for equilibrium, misses its temperature under steady dissipation (Branka,
    Phys. Rev. E 61, 4769 (2000)). The drive depends on velocities: a half kick takes it in its middle.
    Raises ValueError for fixed atoms, TypeError in a simulation whose virials are not of the definition that
    a HeatField drives.
    """

    drive: Drive

    def __post_init__(self) -> None:
        if self.chain != 1:
            raise ValueError(
                f"a chain of {self.chain} thermostats misses its temperature under a drive; use 1"
            )

    def begin(self, state: State, kT: Number) -> State:
        state.structures.refuse_fixed(
            "what they take up would be missing in the flux that a field drives; take the constraint away"
        )
        return super().begin(state, kT)

    def step(self, state: State, forces: Forces, timestep: float, kT: Number, P: Number) -> State:
        self.refuse_other_virials(forces)
        state = self.thermostat(state, timestep / 2, kT)
        state = drifted(self.kicked(state, timestep / 2, kT), timestep)
        state = self.kicked(state.updated(result=forces(state.structures)), timestep / 2, kT)
        state = self.thermostat(state, timestep / 2, kT)
        return state.updated(step=state.step + 1)

    def refuse_other_virials(self, forces: Forces) -> None:
        """TypeError but for a `Booked` potential: dynamics asks any other for virials II, not the drive's."""
        if not isinstance(self.drive, HeatField):
            return
        potential, wanted = isinstance(forces, CommitteeMean) and forces.potential, self.drive.definition
        found = potential.definition if isinstance(potential, Booked) else None
        if found != wanted:
            raise TypeError(
                f"the field drives the flux of definition {wanted}, and the simulation's potential has "
                f"{f'virials {found}' if found else 'no definition of its own'}: give the simulation "
                f"Booked(potential, {wanted!r})"
            )

    def kicked(self, state: State, dt: float, kT: Number) -> State:
        """p <- p + (F + F^ext) dt, F^ext at momenta in the middle of the kick; dt: internal time, kT: eV."""
        forces = state.evaluated.forces + self.drive(state, kT)
        middle = state.momenta + dt / 2 * forces
        return state.updated(momenta=state.momenta + dt * (forces + self.drive.change(state, middle)))


class Booked(Wrapper):
    """A potential whose atomic virials are those of one definition, whatever definition is asked for."""

    def __init__(self, potential: Potential, definition: Definition):
        super().__init__(potential)
        self.definition = definition

    def evaluate(
        self, structures: Structures, definition: Definition = "I", edges: Edges | None = None
    ) -> Evaluation:
        """As of the potential, in the definition of this book."""
        return self.potential.evaluate(structures, self.definition, edges)
