"""What the size of the cell does to free energies: the leading terms of crystal and melt, without sampling.

In the canonical ensemble, N atoms in a periodic cell whose center of mass may be anywhere:

    crystal   F = U_0 + kT sum' ln(hbar w/kT) - kT ln[(V/N)/Lambda_M^3]    sum over 3N - 3 modes, M = N m
    melt      F = N f + kT/2 ln(2 pi N S(0)),                              S(0) = rho kT kappa_T = rho kT/B

The modes of N atoms are those of the infinite crystal at the wavevectors that fit into the cell, so that the
force constants of one cell give all sizes. They are those that fit the forces of dynamics best (Hellman,
Abrikosov, Simak, Phys. Rev. B 84, 180301 (2011)), for at rest bcc sodium may be unstable. The melt's term:
in an open part of an infinite melt N fluctuates by N S(0), a freedom that a cell of N atoms lacks.

    python -m mlipbook study free_energies.finite_size
"""

from dataclasses import dataclass
from math import log, pi
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.data import atomic_masses

from mlipbook.averages import mean
from mlipbook.dynamics import Langevin, thermalize
from mlipbook.free_energy import thermal_wavelength
from mlipbook.potentials import EdgePotential
from mlipbook.potentials.ann import load
from mlipbook.structures import Structures
from mlipbook.studies.command import Result, command, kept_records
from mlipbook.units import GPa, fs, hbar, kB, meV

CELLS, REPLICAS, STEPS, SETTLE, EVERY = 5, 4, 1600, 400, 100  # of the dynamics, bcc cells along an edge
REACH = 2.01  # of force constants, in units of the edge: seven shells
INFINITE = 40  # cells along an edge that stand for infinitely many: 2e-3 meV/atom from it
SIZES = (3, 4, 5, 6, 8)  # cells along an edge
POTENTIALS = Path("results/full/table1-potentials")
HYSTERESIS = Path("results/full/hysteresis.json")
MASS = float(atomic_masses[11])


@dataclass(frozen=True)
class Crystal:
    """bcc sodium of edge a (A): force constants (n, 3, 3), eV/A^2, to atoms at offsets (n, 3), A."""

    edge: float
    offsets: np.ndarray
    constants: np.ndarray

    def frequencies(self, cells: int) -> np.ndarray:
        """All 3N frequencies (N, 3) of cells^3 cubic cells, in inverse internal time; three are 0. Raises
        ValueError if the crystal is not stable."""
        axis = np.arange(cells) / cells
        q = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
        # (1, 0, 0) 2 pi/a is no reciprocal vector of bcc: a second set, as there are two atoms in a cube.
        squares = np.concatenate([self.squares(q), self.squares(q + [1, 0, 0])])
        if squares.min() < -1e-6:
            raise ValueError(f"an unstable mode, w^2 = {squares.min():.2g}: no crystal")
        return np.sqrt(squares.clip(0))

    def squares(self, q: np.ndarray) -> np.ndarray:
        """w^2 (Q, 3) at wavevectors (Q, 3) in units of 2 pi/a, ascending."""
        phases = np.cos(2 * pi / self.edge * (q @ self.offsets.T))  # every atom is a center of inversion
        return np.linalg.eigvalsh(np.tensordot(phases, self.constants, axes=1) / MASS)


def crystal(potential: EdgePotential, volume: float, temperature: float, seed: int = 0) -> Crystal:
    """Effective force constants at a volume per atom (A^3) and temperature."""
    edge = (2 * volume) ** (1 / 3)
    box = Structures.from_ase(bulk("Na", "bcc", edge, cubic=True) * (CELLS, CELLS, CELLS))
    state = thermalize(box, [2 * temperature] * REPLICAS, seed)
    simulation = Langevin(potential, 4 * fs, temperature)
    state = simulation.run(state, SETTLE, every=SETTLE, progress=False).state
    sites, u, F = box.positions[0].numpy(), [], []
    for _ in range((STEPS - SETTLE) // EVERY):
        state = simulation.run(state, EVERY, every=EVERY, progress=False).state
        u += list(state.structures.positions.numpy() - sites)
        F += list(state.evaluated.forces.numpy())
    return fitted(edge, sites, np.array(u), np.array(F))


def fitted(edge: float, sites: np.ndarray, u: np.ndarray, F: np.ndarray) -> Crystal:
    """The force constants that fit forces F (frames, N, 3) to displacements u (frames, N, 3) from N sites.
    F_i = -sum Phi(R) (u_(i+R) - u_i), Phi(-R) = Phi(R): neighbors count in opposite pairs."""
    length = edge * round((len(sites) / 2) ** (1 / 3))
    vectors = sites[None] - sites[:, None]
    vectors -= length * np.round(vectors / length)
    near = np.linalg.norm(vectors[0], axis=1) < REACH * edge
    pairs = [R for R in vectors[0][near] if tuple(np.round(R, 3)) > (0, 0, 0)]  # one of R, -R
    neighbors = [[np.abs(vectors - x).max(-1).argmin(1) for x in (R, -R)] for R in pairs]
    columns = [u[:, plus] + u[:, minus] - 2 * u for plus, minus in neighbors]
    X = np.concatenate(columns, -1).reshape(-1, 3 * len(pairs))
    solution = np.linalg.lstsq(X, -F.reshape(-1, 3), rcond=None)[0].reshape(-1, 3, 3)
    constants = (solution + solution.transpose(0, 2, 1)) / 2
    own = -2 * constants.sum(0, keepdims=True)  # no force if all atoms move alike
    offsets = np.concatenate([np.zeros((1, 3)), pairs, -np.array(pairs)])
    return Crystal(edge, offsets, np.concatenate([own, constants, constants]))


def of_crystal(model: Crystal, cells: int, temperature: float) -> float:
    """F - U_0 of 2 cells^3 atoms in the harmonic crystal, eV per atom."""
    N, kT = 2 * cells**3, kB * temperature
    w = np.sort(model.frequencies(cells).ravel())[3:]
    share = model.edge**3 / 2 / thermal_wavelength(N * MASS, temperature) ** 3
    return kT * float(np.log(hbar * w / kT).sum() - log(share)) / N


def of_melt(n_atoms: int, volume: float, temperature: float, bulk_modulus: float) -> float:
    """F/N - f of a liquid with this volume per atom (A^3), eV per atom; bulk modulus: eV/A^3."""
    kT = kB * temperature
    return kT / (2 * n_atoms) * log(2 * pi * n_atoms * kT / volume / bulk_modulus)


def terms(
    model: Crystal, temperature: float, melt_volume: float, melt_modulus: float
) -> dict[str, dict[str, float]]:
    """Size -> what it adds to F per atom of the crystal, the melt, and to their difference, meV."""
    infinite, found = of_crystal(model, INFINITE, temperature), {}
    for cells in SIZES:
        solid = (of_crystal(model, cells, temperature) - infinite) / meV
        liquid = of_melt(N := 2 * cells**3, melt_volume, temperature, melt_modulus) / meV
        found[str(N)] = {"crystal": solid, "melt": liquid, "melt minus crystal": liquid - solid}
    return found


@command(saves="finite-size")
def study(
    potential: Path = POTENTIALS / "128-4k.npz",
    temperature: float = 350.0,
    volumes: tuple[float, float] = (39.53, 40.69),
) -> Result:
    """The terms of a committee at all SIZES. volumes: of crystal and melt, A^3 per atom."""
    committee, T = load(potential), temperature
    modulus = kept_records(HYSTERESIS)["teacher: bulk modulus, liquid"]["value"] * GPa
    models = (crystal(committee.member(m).float(), volumes[0], T, m) for m in range(committee.members))
    every = [terms(model, T, volumes[1], modulus) for model in models]
    return Result(
        {
            f"{name}, {N} atoms": mean([sizes[N][name] for sizes in every]).record("meV/atom")
            for N, found in every[0].items()
            for name in found
        }
    )
