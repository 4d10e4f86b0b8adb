"""Helmholtz free energies by thermodynamic integration (Eq. 4-9).

    crystal = solid(potential, lattice, temperature=350, timestep=4 * units.fs)
    melt = liquid(potential, disordered, temperature=350, timestep=4 * units.fs)
    melt.F - crystal.F                    # eV per atom; print(melt) shows every term

Reading order: closed_forms, series (paths, windows), replicas, sampling, soft_core, starts, phases (solid and
liquid).
"""

from mlipbook.averages import Value, average
from mlipbook.free_energy.closed_forms import (
    einstein_crystal,
    ideal_gas,
    soft_core_cutoff,
    soft_core_virial,
    soft_core_y,
    thermal_wavelength,
)
from mlipbook.free_energy.phases import FreeEnergy, liquid, solid
from mlipbook.free_energy.replicas import PhaseChange, Sampling
from mlipbook.free_energy.sampling import windows
from mlipbook.free_energy.series import Path, Window, Windows, mbar, path
from mlipbook.free_energy.soft_core import soft_core_excess
from mlipbook.free_energy.starts import measured_spring

__all__ = ["FreeEnergy", "Path", "PhaseChange", "Sampling", "Value", "Window", "Windows", "average"]
__all__ += ["einstein_crystal", "ideal_gas", "liquid", "mbar", "measured_spring", "path"]
__all__ += ["soft_core_cutoff", "soft_core_excess", "soft_core_virial", "soft_core_y", "solid"]
__all__ += ["thermal_wavelength", "windows"]
