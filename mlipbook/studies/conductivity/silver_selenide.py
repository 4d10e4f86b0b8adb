"""alpha-Ag2Se at 500 K by the empirical potential: 256 silver, 128 selenium; what potentials learn from.

The silver sublattice is a liquid: starts are crystals whose silver was melted in a hot run, one for each
replica. Labels are exact, so that the errors of a fit are the fit's own.
"""

from dataclasses import replace

import numpy as np
import torch
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


def crystal(cells: int = 4) -> Atoms:
    """Selenium on a bcc lattice, silver on a third of its tetrahedral sites."""
    return Atoms("Se2Ag4", scaled_positions=SITES, cell=[EDGE] * 3, pbc=True) * cells


def equilibrated(replicas: int, seed: int = 0, device: str = "cpu") -> State:
    """Replicas of the superionic phase at 500 K, each with a melt of its own."""
    potential = AgSe().to(device)
    state = thermalize(repeated(Structures.from_ase(crystal(), device), replicas), HOT, seed)
    for temperature, time in ((HOT, MELT), (TEMPERATURE, SETTLE)):
        state = Langevin(potential, TIMESTEP, temperature).run(state, round(time / TIMESTEP), every=50).state
    return state


def melted(positions: np.ndarray, seed: int, device: str = "cpu") -> State:
    """Crystals with these positions (B, N, 3) of a melt, with new velocities."""
    perfect = repeated(Structures.from_ase(crystal()), len(positions))
    structures = replace(perfect, positions=torch.as_tensor(positions))
    return thermalize(structures.to(device), TEMPERATURE, seed)


def labeled(state: State, frames: int, interval: float) -> list[list[Atoms]]:
    """So many labeled frames of each replica, from a run of the reference; interval: between them."""
    potential, every = AgSe().to(state.momenta.device), round(interval / TIMESTEP)
    run = Langevin(potential, TIMESTEP, TEMPERATURE).run(state, frames * every, every=every, frames=every)
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


def rms(x: torch.Tensor) -> torch.Tensor:
    """Root mean square over all but the first axis."""
    return x.flatten(1).square().mean(1).sqrt()
