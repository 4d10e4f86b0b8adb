"""Barostats with the faults that well-known engines once had.

NoFactor     momenta couple to the box with 1 in place of alpha, in both equations
HalfKinetic  K in place of 2K in the force on the box (torch-sim, until pull request 520)
ForcesTwice  sum of r.F on top of the virial (jax-md, until pull request 193)
ColdBox      the box thermostatted to kT/3 (LAMMPS, until pull requests 942 and 1259)
"""

from dataclasses import replace

from mlipbook.dynamics.chains import Chain
from mlipbook.dynamics.methods import MartynaTobiasKlein, on_host


class NoFactor(MartynaTobiasKlein):
    def alpha(self, state):
        return 1.0


class HalfKinetic(MartynaTobiasKlein):
    def box_force(self, state, two_K, P):
        return super().box_force(state, two_K, P) - self.alpha(state) * two_K / 2


class ForcesTwice(MartynaTobiasKlein):
    def box_force(self, state, two_K, P):
        again = (state.structures.positions * state.result.forces).sum((1, 2))
        return super().box_force(state, two_K, P) + on_host(again)


class ColdBox(MartynaTobiasKlein):
    def chains(self, state):
        return super().chains(state)[0], Chain(1 / 3, self.barostat_time)


def broken(simulation, kind: type[MartynaTobiasKlein]):
    """The simulation with this barostat in place of its own, the same times and chains."""
    return replace(simulation, method=kind(**vars(simulation.method)))
