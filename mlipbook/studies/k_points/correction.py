"""From few labels with many k points to all: a correction learned on the difference of two settings.

    U_many(R) = U_few(R) + sum_i (c_0 + c . x(G_i))

The correction is linear in the normalized descriptor: 23 numbers for sodium, found by least squares on the
terms of Eq. 3 with a ridge that leave-one-out chooses, so that a handful of frames determines it.
`learning_curve` tells how many frames are enough, `transfer_records` what a corrected potential is worth, and
`large_cell_records` whether labels of 1,024 atoms at Gamma are those that 8 k points of 128 atoms predict.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlipbook import bookkit, datasets
from mlipbook.accuracy import predict
from mlipbook.potentials import EdgePotential
from mlipbook.potentials.ann import ANNPotential
from mlipbook.studies.exploration.active_learning import by_part, rmse, train_committee
from mlipbook.studies.k_points.labels import MELTING, at_temperatures, bundled, mean, shift
from mlipbook.studies.stress.training import descriptor
from mlipbook.training.derivatives import Prepared, normalize, prepare_all
from mlipbook.units import GPa, meV

RIDGES = np.logspace(-9, 0, 19)
UNITS = {"energy": "meV/atom", "force": "meV/A", "pressure": "GPa"}
WEIGHTS = (100.0, 1.0, 10.0)  # p_U, p_F, p_W of Eq. 3
PAIRS = (("4k", "Gamma"), ("8k", "4k"), ("32k", "4k"), ("32k", "Gamma"))
SIZES = (2, 4, 8, 16, 32, 64, 128)


def differences(many: Sequence[Atoms], few: Sequence[Atoms]) -> list[Atoms]:
    """Frames whose labels are `many` minus `few`, for each frame of `many` with a namesake in `few`."""
    named = {atoms.info["frame"]: atoms for atoms in few}
    found = []
    for atoms in many:
        if atoms.info["frame"] in named:
            other = named[atoms.info["frame"]]
            copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True, info=atoms.info)
            energy = atoms.get_potential_energy() - other.get_potential_energy()
            forces, stress = (get(atoms) - get(other) for get in (Atoms.get_forces, Atoms.get_stress))
            copy.calc = SinglePointCalculator(copy, energy=energy, forces=forces, stress=stress)
            found.append(copy)
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


# ---- how many frames are enough ------------------------------------------------------------------------


def constant(found: Equations) -> np.ndarray:
    """Coefficients of the simplest correction: the mean energy difference per atom."""
    c = np.zeros(found.X.shape[-1])
    c[-1] = found.y[:, 0].mean()
    return c


def subset(found: Equations, chosen: np.ndarray) -> Equations:
    return Equations(found.X[chosen], found.y[chosen], found.atomic_volumes[chosen])


def learning_curve(
    found: Equations, sizes: Sequence[int], draws: int = 50, seed: int = 0
) -> dict[str, np.ndarray]:
    """Root mean square errors on the frames that were not drawn: "energy" and so on, (sizes, draws, 2).

    Last axis: the constant and the linear correction.
    """
    rng, n = np.random.default_rng(seed), len(found.y)
    curves = {name: np.zeros((len(sizes), draws, 2)) for name in UNITS}
    for i, size in enumerate(sizes):
        for k in range(draws):
            order = rng.permutation(n)
            drawn, rest = subset(found, order[:size]), subset(found, order[size:])
            for m, c in enumerate((constant(drawn), least_squares(drawn)[0])):
                for name, values in rest.errors(c).items():
                    curves[name][i, k, m] = np.sqrt((values**2).mean())
    return curves


def records(
    found: Equations, curves: dict[str, np.ndarray], sizes: Sequence[int], pair: str
) -> dict[str, dict]:
    """Differences without correction, and held-out errors with one.

    sem: over frames; with a correction the standard deviation over draws, which share frames.
    """
    out = {}
    plain = found.errors(np.zeros(found.X.shape[-1]))
    for name, unit in UNITS.items():
        squares = plain[name] ** 2
        value = np.sqrt(squares.mean())
        sem = squares.std(ddof=1) / len(squares) ** 0.5 / (2 * value)
        out[f"{pair}: {name}, uncorrected"] = record(value, sem, len(squares), unit)
        for m, kind in enumerate(("constant", "linear")):
            for i, size in enumerate(sizes):
                draws = curves[name][i, :, m]
                title = f"{pair}: {name}, {kind} correction from {size} frames"
                out[title] = record(draws.mean(), draws.std(ddof=1), len(draws), unit)
    return out


def transferred(
    potential: EdgePotential, correction: ANNPotential | None, frames: Sequence[Atoms]
) -> dict[str, np.ndarray]:
    """Errors of a committee's mean, with the correction added, in UNITS: (frames,), force as rms."""
    found = predict(potential, frames)
    nothing = dict.fromkeys(found[0], np.zeros(1))
    added = predict(correction, frames) if correction else [nothing] * len(frames)
    errors: dict[str, list[float]] = {name: [] for name in UNITS}
    for atoms, p, c in zip(frames, found, added, strict=True):
        energy = p["energy"].mean() + c["energy"].mean() - atoms.get_potential_energy()
        forces = p["forces"].mean(0) + c["forces"].mean(0) - atoms.get_forces()
        stress = p["stress"].mean(0) + c["stress"].mean(0) - atoms.get_stress()
        errors["energy"].append(energy / len(atoms) / meV)
        errors["force"].append(np.sqrt((forces**2).mean()) / meV)
        errors["pressure"].append(-stress[:3].mean() / GPa)
    return {name: np.array(values) for name, values in errors.items()}


def committee(frames: Sequence[Atoms]) -> ANNPotential:
    """Trained on the frames' own parts, as in `active_learning`."""
    parts = by_part(frames)
    return train_committee(parts["train"], parts["valid"])


def held_out(frames: Sequence[Atoms]) -> list[Atoms]:
    return [atoms for atoms in frames if atoms.info["split"] != "train"]


def transfer_records(
    potential: EdgePotential, many: Sequence[Atoms], few: Sequence[Atoms]
) -> dict[str, dict]:
    """A potential trained on few k points, alone and corrected, on test frames with many: RMSEs.

    The correction is learned from the training frames that have both labels: eight of them, and all.
    """
    both = differences(many, few)
    learned = [atoms for atoms in both if atoms.info["split"] == "train"]
    names = {atoms.info["frame"] for atoms in both if atoms.info["split"] == "test"}
    test = [atoms for atoms in many if atoms.info["frame"] in names]
    eight = [learned[i] for i in np.linspace(0, len(learned) - 1, 8).astype(int)]
    out = {}
    corrections: dict[str, ANNPotential | None] = {"as trained": None}
    corrections |= {f"corrected by {len(each)} frames": fit_correction(each) for each in (eight, learned)}
    for title, correction in corrections.items():
        for name, errors in transferred(potential, correction, test).items():
            out[f"test frames, potential {title}: {name}"] = rmse(errors**2, UNITS[name])
    return out


def large_cell_records(
    title: str,
    potential: EdgePotential,
    correction: ANNPotential | None,
    small: Sequence[Atoms],
    large: Sequence[Atoms],
) -> dict[str, dict]:
    """Predicted minus labeled, means by phase: energy, pressure; force as root mean square.

    On small cells, labeled with the k points that the potential was trained on; on large cells, where the
    correction is added; and the difference of the two, in which what the potential has wrong cancels.
    """
    found = transferred(potential, None, small), transferred(potential, correction, large)
    is_small = np.arange(len(small) + len(large)) < len(small)
    solid = np.array([atoms.info["phase"] == "solid" for atoms in [*small, *large]])
    out = {}
    for name, unit in UNITS.items():
        errors = np.concatenate([each[name] for each in found])
        for phase, here in (("solid", solid), ("liquid", ~solid)):
            key = f"{title}, {phase}"
            out[f"{key}, small cells: {name}"] = mean(errors[here & is_small], unit)
            out[f"{key}, large cells: {name}"] = mean(errors[here & ~is_small], unit)
            out[f"{key}, large minus small: {name}"] = shift(errors[here], is_small[here], unit)
    return out


def record(value: float, sem: float, n: int, unit: str) -> dict:
    return {"value": float(value), "sem": float(sem), "n": n, "unit": unit}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default="results/full/k-point-correction.json")
    parser.add_argument("--draws", type=int, default=50)
    arguments = parser.parse_args()
    began, sets = time.perf_counter(), bundled()
    results: dict[str, dict] = {}
    arrays: dict[str, dict] = {}
    for many, few in PAIRS:
        frames = differences(sets[many], sets[few])
        sizes = [size for size in SIZES if size <= len(frames) - 2]
        potential, prepared = blank(frames)
        found = equations(potential, frames, prepared)
        curves = learning_curve(found, sizes, arguments.draws)
        results |= records(found, curves, sizes, f"{many} minus {few}")
        arrays[f"{many} minus {few}"] = {"sizes": sizes} | {k: x.tolist() for k, x in curves.items()}
    gamma, four = committee(sets["Gamma"]), committee(sets["4k"])
    for key, item in transfer_records(gamma, sets["4k"], sets["Gamma"]).items():
        results[f"4k {key}"] = item
    large = {"large": datasets.load("na-1024-gamma")}
    near = at_temperatures({"Gamma": held_out(sets["Gamma"]), "4k": held_out(sets["4k"])} | large, *MELTING)
    to_eight = fit_correction(differences(sets["8k"], sets["4k"]))
    for title, potential, correction, name in (
        ("trained on Gamma", gamma, None, "Gamma"),
        ("trained on 4k, corrected to 8k", four, to_eight, "4k"),
    ):
        results |= large_cell_records(title, potential, correction, near[name], near["large"])
    bookkit.save_result(arguments.out, results, time.perf_counter() - began, 0, curves=arrays)


if __name__ == "__main__":
    main()
