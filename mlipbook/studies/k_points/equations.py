"""A correction from few k points to many, learned on the difference of the labels of two settings.

    U_many(R) = U_few(R) + sum_i (c_0 + c . x(G_i))

The correction is linear in the normalized descriptor: 23 numbers for sodium, found by least squares on the
terms of Eq. 3 with a ridge that leave-one-out chooses, so that a handful of frames determines it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms

from mlipbook.potentials.ann import ANNPotential
from mlipbook.studies.k_points.labels import namesakes
from mlipbook.studies.sodium import descriptor, relabeled
from mlipbook.training.derivatives import Prepared, normalize, prepare_all
from mlipbook.units import GPa, meV

RIDGES = np.logspace(-9, 0, 19)
UNITS = {"energy": "meV/atom", "force": "meV/A", "pressure": "GPa"}
WEIGHTS = (100.0, 1.0, 10.0)  # p_U, p_F, p_W of Eq. 3


def differences(many: Sequence[Atoms], few: Sequence[Atoms]) -> list[Atoms]:
    """Frames whose labels are `many` minus `few`, for each frame of `many` with a namesake in `few`."""
    found = []
    for other, atoms in namesakes(few, many):
        energy = atoms.get_potential_energy() - other.get_potential_energy()
        forces, stress = (get(atoms) - get(other) for get in (Atoms.get_forces, Atoms.get_stress))
        found.append(relabeled(atoms, energy=energy, forces=forces, stress=stress))
    return found


@dataclass(frozen=True)
class Equations:
    """Linear equations of I frames of N atoms: X (I, 1 + 3N + 6, F + 1) c = y (I, 1 + 3N + 6).

    Rows: energy (eV/atom), forces (eV/A), virial (eV/atom). Columns: normalized features, constant.
    """

    X: np.ndarray
    y: np.ndarray
    atomic_volumes: np.ndarray  # (I,) A^3

    @property
    def weights(self) -> np.ndarray:
        """Of each row in Eq. 3, (1 + 3N + 6,)."""
        n = self.y.shape[1] - 7
        p_U, p_F, p_W = WEIGHTS
        return np.concatenate([[p_U], np.full(n, p_F / n), np.full(6, p_W / 6)])

    def normal(self) -> tuple[np.ndarray, np.ndarray]:
        """X^T w X (I, F+1, F+1) and X^T w y (I, F+1) of every frame."""
        weighted = self.X * self.weights[:, None]
        return np.einsum("ira,irb->iab", weighted, self.X), np.einsum("ira,ir->ia", weighted, self.y)

    def errors(self, c: np.ndarray) -> dict[str, np.ndarray]:
        """Predicted minus labeled by coefficients c (F + 1,) in UNITS, (I,): force as root mean square."""
        d = self.X @ c - self.y
        return {
            "energy": d[:, 0] / meV,
            "force": np.sqrt((d[:, 1:-6] ** 2).mean(1)) / meV,
            "pressure": d[:, -6:-3].mean(1) / self.atomic_volumes / GPa,
        }


def equations(potential: ANNPotential, frames: Sequence[Atoms], prepared: Sequence[Prepared]) -> Equations:
    """Of frames of one size, in the features as the potential normalizes them."""
    (network,) = potential.networks.values()
    spread = (network.mean_square - network.mean**2).sqrt()
    X, y = [], []
    for p in prepared:
        n = len(p.species)
        moved = -p.position_derivatives.flatten(0, 1)  # (A (K + 1), 3, F)
        forces = torch.zeros(n, 3, len(spread)).to(moved).index_add(0, p.moves.flatten(), moved)
        mean = (p.features - network.mean).mean(0, keepdim=True)
        rows = torch.cat([mean, forces.flatten(0, 1), p.strain_derivatives.mean(0)]) / spread
        ones = torch.eye(len(rows), 1).to(rows)  # the constant counts in the energy only
        X.append(torch.cat([rows, ones], 1).numpy())
        y.append(np.concatenate([[float(p.U) / n], p.F.flatten(), p.W / n]))
    volumes = np.array([atoms.cell.volume / len(atoms) for atoms in frames])
    return Equations(np.array(X), np.array(y), volumes)


def solve(A: np.ndarray, b: np.ndarray, ridge: float) -> np.ndarray:
    """Coefficients of summed normal equations; the constant is not held back."""
    hold = ridge * np.eye(len(b))
    hold[-1, -1] = 0
    return np.linalg.solve(A + hold, b)


def least_squares(found: Equations) -> tuple[np.ndarray, float]:
    """Coefficients (F + 1,), and the ridge (per frame) whose leave-one-out cost is smallest."""
    A, b = found.normal()
    total_A, total_b, n = A.sum(0), b.sum(0), len(A)
    costs = []
    for ridge in RIDGES:
        left_out = [solve(total_A - A[i], total_b - b[i], ridge * (n - 1)) for i in range(n)]
        residuals = np.einsum("ira,ia->ir", found.X, left_out) - found.y
        costs.append((found.weights * residuals**2).sum())
    best = float(RIDGES[np.argmin(costs)])
    return solve(total_A, total_b, best * n), best


def blank(frames: Sequence[Atoms]) -> tuple[ANNPotential, list[Prepared]]:
    """A linear potential that knows the features' mean and spread over the frames; the frames prepared."""
    potential = ANNPotential(descriptor(), hidden=())
    prepared = prepare_all(potential, frames, "correction")
    normalize(potential, prepared, {"Na": 0.0})
    potential.energy_scale.fill_(1)
    potential.energy_shift.fill_(0)
    return potential, prepared


def fit_correction(frames: Sequence[Atoms]) -> ANNPotential:
    """The correction as a potential: `evaluate` it beside the one that was trained on few k points."""
    potential, prepared = blank(frames)
    coefficients, _ = least_squares(equations(potential, frames, prepared))
    with torch.no_grad():
        next(iter(potential.networks.values())).weights[0].copy_(torch.as_tensor(coefficients)[None, None])
    return potential


def constant(found: Equations) -> np.ndarray:
    """Coefficients of the simplest correction: the mean energy difference per atom."""
    c = np.zeros(found.X.shape[-1])
    c[-1] = found.y[:, 0].mean()
    return c


def subset(found: Equations, chosen: np.ndarray) -> Equations:
    return Equations(found.X[chosen], found.y[chosen], found.atomic_volumes[chosen])
