"""alpha-Ag2Se at 500 K by the empirical potential: 256 silver, 128 selenium; what potentials learn from.

The silver sublattice is a liquid: starts are crystals whose silver was melted in a hot run, one for each
replica. Labels are exact, so that the errors of a fit are the fit's own.
"""

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from mlipbook.dynamics import Langevin, State, thermalize
from mlipbook.dynamics.state import repeated
from mlipbook.potentials import AgSe
from mlipbook.structures import Structures
from mlipbook.studies.sodium import relabeled
from mlipbook.units import fs, ps

EDGE, TEMPERATURE, TIMESTEP = 4.993, 500.0, 3 * fs  # A, K; the paper's state
HOT, MELT, SETTLE = 900.0, 3 * ps, 5 * ps  # K; of silver alone: selenium keeps its lattice
SITES = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0, 0.25), (0.5, 0, 0.75), (0, 0.5, 0.25), (0, 0.5, 0.75)]


def crystal(cells: int = 4, edge: float = EDGE) -> Atoms:
    """Selenium on a bcc lattice, silver on a third of its tetrahedral sites, edge in angstrom."""
    return Atoms("Se2Ag4", scaled_positions=SITES, cell=[edge] * 3, pbc=True) * cells


def equilibrated(
    replicas: int, cells: int = 4, seed: int = 0, device: str = "cpu", progress: bool = True
) -> State:
    """Replicas of the superionic phase at 500 K, each with a melt of its own."""
    potential = AgSe().to(device)
    start = repeated(Structures.from_ase(crystal(cells), device), replicas)
    state = thermalize(start, HOT, seed)
    for temperature, time in ((HOT, MELT), (TEMPERATURE, SETTLE)):
        melt = Langevin(potential, TIMESTEP, temperature)
        state = melt.run(state, round(time / TIMESTEP), every=50, progress=progress).state
    return state


def labeled(state: State, frames: int, interval: float, progress: bool = True) -> list[list[Atoms]]:
    """Frames of a run of the reference at 500 K, so many of each replica, with energy, forces and stress.

    interval: between frames, internal units.
    """
    potential, every = AgSe().to(state.momenta.device), round(interval / TIMESTEP)
    run = Langevin(potential, TIMESTEP, TEMPERATURE).run(
        state, frames * every, every=every, frames=every, progress=progress
    )
    return [[label(atoms) for atoms in run.atoms(b)[-frames:]] for b in range(len(state))]


def label(atoms: Atoms) -> Atoms:
    """The same atoms, wrapped, with energy, forces and stress of the reference."""
    atoms = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    atoms.wrap()
    result = AgSe().evaluate(Structures.from_ase(atoms))
    stress = full_3x3_to_voigt_6_stress(result.stress[0].numpy())
    return relabeled(atoms, energy=float(result.energy[0]), forces=result.forces[0].numpy(), stress=stress)


def split(replicas: list[list[Atoms]]) -> tuple[list[Atoms], list[Atoms], list[Atoms]]:
    """Train, valid, test: the last two replicas are held out whole; no trajectory is on both sides."""
    train = [atoms for frames in replicas[:-2] for atoms in frames]
    order = np.random.default_rng(0).permutation(len(train))
    return [train[i] for i in order], replicas[-2], replicas[-1]
