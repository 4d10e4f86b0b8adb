"""Barostats with the faults that well-known engines once had.

NoFactor     momenta couple to the box with 1 in place of alpha, in both equations
HalfKinetic  K in place of 2K in the force on the box (torch-sim, until pull request 520)
ForcesTwice  sum of r.F on top of the virial (jax-md, until pull request 193)
ColdBox      the box thermostatted to kT/3 (LAMMPS, until pull requests 942 and 1259)
"""

from dataclasses import replace

import torch

from mlipbook.dynamics.chains import Chains
from mlipbook.dynamics.methods import MartynaTobiasKlein, alpha, for_atoms


def pushed(state, impulse):
    return replace(state, extended={**state.extended, "p_eps": state.extended["p_eps"] + impulse})


class NoFactor(MartynaTobiasKlein):
    def box_kicked(self, state, dt, pressure):
        return pushed(super().box_kicked(state, dt, pressure), dt * (1 - alpha(state)) * state.twice_kinetic)

    def kicked(self, state, dt, kT):
        x = for_atoms(self.box_velocity(state, kT) * dt, state)
        change = -torch.expm1(-x) / x * dt * state.result.forces
        return replace(state, momenta=torch.exp(-x) * state.momenta + change)


class HalfKinetic(MartynaTobiasKlein):
    def box_kicked(self, state, dt, pressure):
        return pushed(super().box_kicked(state, dt, pressure), -dt * alpha(state) * state.twice_kinetic / 2)


class ForcesTwice(MartynaTobiasKlein):
    def box_kicked(self, state, dt, pressure):
        again = (state.structures.positions * state.result.forces).sum((1, 2))
        return pushed(super().box_kicked(state, dt, pressure), dt * again)


class ColdBox(MartynaTobiasKlein):
    def chains(self, state):
        return Chains([state.degrees_of_freedom, 1 / 3], [self.thermostat_time, self.barostat_time])


def broken(simulation, kind: type[MartynaTobiasKlein]):
    """The simulation with this barostat in place of its own, the same times and chains."""
    return replace(simulation, method=kind(**vars(simulation.method)))
