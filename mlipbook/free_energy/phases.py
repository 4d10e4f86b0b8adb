"""Absolute free energies of a solid and a liquid, term by term.

solid:   Einstein crystal, its center of mass, Einstein crystal -> potential
liquid:  ideal gas -> soft core (tabulated) -> potential
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as Folder
from typing import Any

from ase import Atoms

from mlipbook.averages import Value, average
from mlipbook.checks import positive
from mlipbook.free_energy.closed_forms import einstein_crystal, ideal_gas, soft_core_cutoff, soft_core_y
from mlipbook.free_energy.replicas import DEFAULT, Sampling, refuse_time_step
from mlipbook.free_energy.sampling import windows
from mlipbook.free_energy.series import Windows, path
from mlipbook.free_energy.soft_core import soft_core_excess
from mlipbook.free_energy.starts import measured_spring, melted, one_box
from mlipbook.potentials import Einstein, Potential, SoftCore
from mlipbook.structures import Structures
from mlipbook.units import bohr, hartree, kB

ROUGH = 0.1  # error of the cutoff's first order, as a part of it: 2 % at 6.5 A, 10 % at 5.5 A
MU, SIGMA = 7.92e-4 * hartree, 6.752 * bohr  # of the paper: eV, A


@dataclass(frozen=True)
class FreeEnergy:
    """terms: name -> Value, eV per atom; they add up to F. energy: <U> + 3/2 kT, eV per atom, and pressure,
    eV/A^3, of the potential itself (lambda = 1). volume: of all atoms, A^3. parameters: of the references.
    """

    terms: Mapping[str, Value]
    energy: Value
    pressure: Value
    n_atoms: int
    volume: float
    temperature: float
    parameters: Mapping[str, float]
    windows: Windows

    @property
    def total(self) -> Value:
        """F with its error, eV per atom."""
        return sum(self.terms.values(), Value(0.0))

    @property
    def F(self) -> float:
        """Helmholtz free energy, eV per atom."""
        return self.total.value

    @property
    def error(self) -> float:
        """Standard error of F, eV per atom."""
        return self.total.error

    @property
    def U(self) -> float:
        """Energy with 3/2 kT, eV per atom."""
        return self.energy.value

    @property
    def TS(self) -> Value:
        """U - F, eV per atom."""
        return self.energy - self.total

    def __str__(self) -> str:
        rows = [*self.terms.items(), ("F", self.total), ("U", self.energy), ("TS", self.TS)]
        lines = [f"{self.n_atoms} atoms, {self.volume / self.n_atoms:.3f} A^3/atom, {self.temperature:g} K"]
        lines += [f"{name:28}{1e3 * v:12.3f} ± {1e3 * e:.3f} meV/atom" for name, (v, e) in rows]
        return "\n".join(lines + remarks(self.windows))


def remarks(sampled: Windows) -> list[str]:
    """What a reader of the errors has to know of the windows, if anything."""
    short, of = len(sampled.too_short), sum(1 for w in sampled if w.weight)
    redone = sum(w.redone for w in sampled)
    told = [f"{short} of {of} windows are too short for a drift to be seen in them"] * (short > 0)
    return told + [f"run again, having left their phase: {redone}"] * (redone > 0)


def solid(
    potential: Potential,
    structures: Structures | Atoms,
    temperature: float,
    *,
    timestep: float,
    spring: float | None = None,
    points: int = 8,
    k: float = 0.0,
    seed: int = 0,
    store: str | os.PathLike[str] | None = None,
    progress: bool = True,
    sampling: Sampling = DEFAULT,
) -> FreeEnergy:
    """F of a crystal from the Einstein crystal (Eq. 5-6).

    structures: one, or ASE's, atoms of one kind on the ideal lattice sites, on the device where it is to run.
    spring: eV/A^2 (default: `measured_spring`). points, k: of the `path`, to which lambda = 1 is added for U
    and the pressure. timestep, seed, store: of `windows`, which names errors and warnings.
    """
    structures, mass = one_box(structures)
    run: dict[str, Any] = {"timestep": timestep, "seed": seed, "progress": progress}
    if spring is None:
        folder = None if store is None else Folder(store) / "spring"
        spring = measured_spring(potential, structures, temperature, store=folder, **run)
    V = float(structures.volumes[0])
    exact = einstein_crystal(structures.n_atoms, V, mass, spring, temperature)
    terms, parameters = {name: Value(value) for name, value in exact.items()}, {"spring": spring}
    start, ways = Einstein(structures.positions, spring), path(points, k).with_end()
    run |= {"phase": "solid", "store": store, "sampling": sampling}
    sampled = windows(potential, start, structures, ways, temperature, **run)
    return summed(terms, "Einstein crystal to potential", sampled, V, parameters)


def liquid(
    potential: Potential,
    structures: Structures | Atoms,
    temperature: float,
    *,
    timestep: float,
    mu: float = MU,
    sigma: float = SIGMA,
    cutoff: float | None = None,
    points: int = 6,
    k: float = 0.0,
    seed: int = 0,
    store: str | os.PathLike[str] | None = None,
    progress: bool = True,
    sampling: Sampling = DEFAULT,
) -> FreeEnergy:
    """F of a liquid from the ideal gas by way of soft spheres (Eq. 5-9).

    structures: one, or ASE's, atoms of one kind at the liquid's volume in any order, a crystal will do: they
    are melted as soft spheres. mu (eV), sigma (A), cutoff (A; default the potential's, at most 8): of the
    soft core. The leg from the ideal gas is `soft_core_excess`. points, k: of the `path` of the second leg,
    to which lambda = 1 is added for U and the pressure. The rest: as in `solid`.
    Raises ValueError if soft spheres at this density and temperature are beyond the table, that is, freeze.
    """
    structures, mass = one_box(structures)
    refuse_time_step(timestep, structures.masses)
    temperature = positive(temperature, "temperature", "in K")
    mu, sigma = positive(mu, "mu", "in eV"), positive(sigma, "sigma", "in angstrom")
    cutoff = cutoff or min(8.0, potential.cutoff)
    N, V = structures.n_atoms, float(structures.volumes[0])
    y, shift = soft_core_y(N / V, temperature, mu, sigma), soft_core_cutoff(N / V, mu, sigma, cutoff)
    terms = {
        "ideal gas": Value(ideal_gas(N, V, mass, temperature)),
        "ideal gas to soft core": kB * temperature * soft_core_excess(y, N),
        "cutoff of the soft core": Value(shift, ROUGH * abs(shift)),
    }
    run: dict[str, Any] = {"timestep": timestep, "seed": seed, "store": store, "progress": progress}
    core, ways = SoftCore(mu, sigma, cutoff=cutoff), path(points, k).with_end()
    fluid = melted(core, structures, temperature, **run)
    run |= {"phase": "liquid", "sampling": sampling}
    sampled = windows(potential, core, fluid, ways, temperature, **run)
    return summed(terms, "soft core to potential", sampled, V, {"mu": mu, "sigma": sigma, "y": y})


def summed(
    exact: Mapping[str, Value], name: str, sampled: Windows, volume: float, parameters: Mapping[str, float]
) -> FreeEnergy:
    """All terms, and the averages of the window at lambda = 1."""
    N, kT, end = sampled.n_atoms, kB * sampled.temperature, sampled[-1]
    terms, energy = {**exact, name: sampled.integral}, average(end.energy) / N + 1.5 * kT
    of = N, volume, sampled.temperature, parameters, sampled
    return FreeEnergy(terms, energy, average(end.pressure), *of)
