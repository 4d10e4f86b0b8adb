"""Molecular dynamics in search of structures: at ambient pressure or in a strained cell, watched, sampled.

It runs ASE's integrators (Martyna, Tobias, Klein: Nose-Hoover chains on atoms and volume).
"""

from contextlib import suppress

import numpy as np
from ase import Atoms
from ase.md.nose_hoover_chain import IsotropicMTKNPT, NoseHooverChainNVT

from mlipbook.potentials import EdgePotential
from mlipbook.potentials.calculator import Calculator
from mlipbook.units import fs, kB

CLOSEST = 2.3  # A; dynamics stops before a pair comes closer
TIMESTEP, CHECK, SAMPLE = 3.0, 10, 80  # fs; steps between checks of the distances, and between samples
SETTLE, NPT, NVT = 1.5, 3.0, 1.0  # ps: before sampling; sampling at ambient pressure; in a strained cell


class TooClose(RuntimeError):
    """Two atoms are closer than any structure worth a label."""


def explore(
    potential: EdgePotential, start: Atoms, temperature: float, strain: float, rng: np.random.Generator
) -> list[Atoms]:
    """Frames of one trajectory, each with info["time_ps"]: settling at ambient pressure, then, with a strain,
    in a strained cell. It ends where atoms come too close; frames from settling count only if it ended so
    early.
    """
    atoms = moving(start, potential, temperature, rng)
    settling: list[Atoms] = []
    frames: list[Atoms] = []
    with suppress(TooClose):
        run(constant_pressure(atoms, temperature), SETTLE, settling)
        if strain:
            atoms.set_cell(atoms.cell.array @ random_strain(strain, rng), scale_atoms=True)
            run(NoseHooverChainNVT(atoms, TIMESTEP * fs, temperature, tdamp=100 * fs), NVT, frames)
        else:
            run(constant_pressure(atoms, temperature), NPT, frames)
    return frames or settling


def moving(start: Atoms, potential: EdgePotential, temperature: float, rng: np.random.Generator) -> Atoms:
    """These atoms in the potential, with velocities of a temperature."""
    atoms = Atoms(start.numbers, start.positions, cell=start.cell, pbc=True, calculator=Calculator(potential))
    atoms.set_velocities(maxwell_boltzmann(atoms, temperature, rng))
    return atoms


def maxwell_boltzmann(atoms: Atoms, temperature: float, rng: np.random.Generator) -> np.ndarray:
    """Velocities (N, 3) in internal units, without a total momentum."""
    momenta = rng.normal(size=(len(atoms), 3)) * np.sqrt(atoms.get_masses() * kB * temperature)[:, None]
    return (momenta - momenta.mean(axis=0)) / atoms.get_masses()[:, None]


def constant_pressure(atoms: Atoms, temperature: float) -> IsotropicMTKNPT:
    """Nose-Hoover chains on atoms and volume (Martyna, Tobias, Klein), ambient pressure."""
    return IsotropicMTKNPT(
        atoms, TIMESTEP * fs, temperature_K=temperature, pressure_au=0.0, tdamp=100 * fs, pdamp=500 * fs
    )


def random_strain(largest: float, rng: np.random.Generator) -> np.ndarray:
    """1 + strain, (3, 3), symmetric; the six components uniform in -largest..largest."""
    xx, yy, zz, yz, xz, xy = rng.uniform(-largest, largest, 6)
    return np.eye(3) + np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def run(dynamics: IsotropicMTKNPT | NoseHooverChainNVT, length: float, frames: list[Atoms]) -> None:
    """Run for `length` ps and append samples to frames. Raises TooClose when atoms are."""
    for step in range(CHECK, round(1e3 * length / TIMESTEP) + 1, CHECK):
        dynamics.run(CHECK)
        if not shortest(dynamics.atoms) > CLOSEST:
            raise TooClose(f"{shortest(dynamics.atoms):.2f} A at {step * TIMESTEP:.0f} fs")
        if step % SAMPLE == 0:
            frame = dynamics.atoms.copy()
            frame.info["time_ps"] = step * TIMESTEP / 1e3
            frames.append(frame)


def shortest(atoms: Atoms) -> float:
    """Shortest distance between two atoms, angstrom; nan if positions are."""
    distances = atoms.get_all_distances(mic=True)
    return float(distances[np.triu_indices(len(atoms), 1)].min())
