"""The ensembles: potential, integrator and surroundings put together."""

from __future__ import annotations

from math import inf

from mlipbook.dynamics.methods import BAOAB, MartynaTobiasKlein, NoseHoover, VelocityVerlet
from mlipbook.dynamics.simulation import Ramp, Simulation
from mlipbook.dynamics.state import Numbers
from mlipbook.potentials import Potential
from mlipbook.units import fs


def NVE(potential: Potential, timestep: float) -> Simulation:
    """Constant energy: velocity Verlet. timestep: internal units (2.9 * units.fs)."""
    return Simulation(potential, VelocityVerlet(), positive(timestep, "timestep"))


def NVT(
    potential: Potential,
    timestep: float,
    temperature: Numbers | Ramp,
    thermostat_time: float = 100 * fs,
    chain: int = 3,
) -> Simulation:
    """Constant temperature (K): Nose-Hoover chain; chain=1 is the single thermostat. Internal time units."""
    method = NoseHoover(positive(thermostat_time, "thermostat_time"), at_least_one(chain))
    return Simulation(potential, method, positive(timestep, "timestep"), temperature)


def Langevin(
    potential: Potential,
    timestep: float,
    temperature: Numbers | Ramp,
    friction_time: float = 100 * fs,
    fix_center: bool = True,
) -> Simulation:
    """Constant temperature (K) by friction and noise (BAOAB). Times: internal units."""
    method = BAOAB(positive(friction_time, "friction_time"), fix_center)
    return Simulation(potential, method, positive(timestep, "timestep"), temperature)


def NPT(
    potential: Potential,
    timestep: float,
    temperature: Numbers | Ramp,
    pressure: Numbers | Ramp = 0.0,
    thermostat_time: float = 100 * fs,
    barostat_time: float = 500 * fs,
    chain: int = 3,
) -> Simulation:
    """Constant temperature (K) and pressure (eV/A^3): Martyna, Tobias, Klein, isotropic."""
    times = positive(thermostat_time, "thermostat_time"), positive(barostat_time, "barostat_time")
    method = MartynaTobiasKlein(*times, at_least_one(chain))
    return Simulation(potential, method, positive(timestep, "timestep"), temperature, pressure)


def at_least_one(chain: int) -> int:
    if chain < 1:
        raise ValueError(f"chain {chain}: give the number of thermostats in it, 1 or more")
    return chain


def positive(value: float, name: str) -> float:
    if not 0 < value < inf:
        raise ValueError(f"{name} {value}: give a positive time in internal units, such as 2.9 * units.fs")
    return float(value)
