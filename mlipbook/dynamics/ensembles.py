"""The ensembles: potential, integrator and surroundings put together."""

from __future__ import annotations

from mlipbook.checks import positive, whole
from mlipbook.dynamics.host import Numbers
from mlipbook.dynamics.methods import BAOAB, MartynaTobiasKlein, NoseHoover, VelocityVerlet
from mlipbook.dynamics.simulation import Ramp, Simulation
from mlipbook.potentials import Potential
from mlipbook.units import fs

TIME = "a time in internal units, such as 100 * units.fs"


def NVE(potential: Potential, timestep: float) -> Simulation:
    """Constant energy: velocity Verlet. timestep: internal units (2.9 * units.fs)."""
    return Simulation(potential, VelocityVerlet(), timestep)


def NVT(
    potential: Potential,
    timestep: float,
    temperature: Numbers | Ramp,
    thermostat_time: float = 100 * fs,
    chain: int = 3,
) -> Simulation:
    """Constant temperature (K): Nose-Hoover chain; chain=1 is the single thermostat. Internal time units."""
    method = NoseHoover(positive(thermostat_time, "thermostat_time", TIME), whole(chain, "chain"))
    return Simulation(potential, method, timestep, temperature)


def Langevin(
    potential: Potential,
    timestep: float,
    temperature: Numbers | Ramp,
    friction_time: float = 100 * fs,
    fix_center: bool = True,
) -> Simulation:
    """Constant temperature (K) by friction and noise (BAOAB). Times: internal units."""
    method = BAOAB(positive(friction_time, "friction_time", TIME), fix_center)
    return Simulation(potential, method, timestep, temperature)


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
    method = MartynaTobiasKlein(
        positive(thermostat_time, "thermostat_time", TIME),
        positive(barostat_time, "barostat_time", TIME),
        whole(chain, "chain"),
    )
    return Simulation(potential, method, timestep, temperature, pressure)
