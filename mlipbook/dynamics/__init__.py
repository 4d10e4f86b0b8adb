"""Molecular dynamics in batches: every run is one tensor program over a leading replica axis.

    state = thermalize(structures, temperature=300, seed=0)
    simulation = NPT(potential, timestep=2.9 * units.fs, temperature=300, pressure=0.0)
    trajectory = simulation.run(state, 10_000, observe={"density": observables.density}, store="run")

Reading order: state, momenta, chains, methods (the integrators), forces, limits, simulation (running them),
lasting, trajectory, store.
"""

from mlipbook.dynamics.limits import Limits, Unstable
from mlipbook.dynamics.momenta import thermalize
from mlipbook.dynamics.simulation import NPT, NVE, NVT, Langevin, Ramp, Simulation
from mlipbook.dynamics.state import State
from mlipbook.dynamics.trajectory import Every, Trajectory

__all__ = ["NPT", "NVE", "NVT", "Every", "Langevin", "Limits", "Ramp", "Simulation", "State"]
__all__ += ["Trajectory", "Unstable", "thermalize"]
