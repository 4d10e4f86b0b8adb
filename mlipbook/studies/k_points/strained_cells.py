"""Strained cells with few k points: a shear stress that belongs to the mesh, not to the atoms.

A mesh sees the cell's shape. Its error in the energy changes with shear also where no atom's surroundings do
(in a liquid), so that no local potential can learn the stress that goes with it: `records` compares labels of
strained frames with a potential that was trained on cubic cells, `free_electrons` says what to expect without
atoms.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np
from ase import Atoms
from scipy.optimize import brentq
from scipy.special import expit

from mlipbook import bookkit, datasets
from mlipbook.accuracy import predict
from mlipbook.potentials import EdgePotential
from mlipbook.studies.exploration.active_learning import by_part, train_committee
from mlipbook.studies.k_points.free_electrons import CONVERGED, HALF_HBAR2_PER_MASS
from mlipbook.studies.k_points.labels import MESHES, WIDTH
from mlipbook.units import GPa


def shear(atoms: Atoms) -> np.ndarray:
    """Strains yz, xz, xy of a strained cube, (3,).

    Raises ValueError for a cell that is not symmetric, as that of a strained cube is.
    """
    strain = atoms.cell.array / np.cbrt(atoms.cell.volume) - np.eye(3)
    if not np.allclose(strain, strain.T, atol=1e-6):
        raise ValueError(f"frame {atoms.info.get('frame')}: the cell is no strained cube")
    return strain[[1, 0, 0], [2, 2, 1]]


def missing_stress(potential: EdgePotential, frames: Sequence[Atoms]) -> np.ndarray:
    """Labeled minus predicted stresses yz, xz, xy, (frames, 3) GPa; a committee predicts its mean."""
    found = predict(potential, frames)
    each = [a.get_stress()[3:] - p["stress"].mean(0)[3:] for a, p in zip(frames, found, strict=True)]
    return np.array(each) / GPa


def slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Least squares through the origin, y = slope x, and its standard error."""
    x, y = x.ravel(), y.ravel()
    value = x @ y / (x @ x)
    residuals = y - value * x
    return float(value), float(np.sqrt(residuals @ residuals / (len(x) - 1) / (x @ x)))


def records(potential: EdgePotential, labels: Mapping[str, Sequence[Atoms]]) -> dict[str, dict]:
    """Shear stress that a potential trained on cubic cells misses in strained ones, by phase.

    labels: name of the k points -> strained frames. Root mean square in GPa, and the slope against strain in
    GPa (twice an error of the shear modulus).
    """
    out = {}
    for name, frames in labels.items():
        for phase in ("solid", "liquid"):
            here = [atoms for atoms in frames if atoms.info["phase"] == phase]
            if len(here) < 2:
                continue
            missing, strains = missing_stress(potential, here), np.array([shear(a) for a in here])
            square = (missing**2).mean(1)
            rms = float(np.sqrt(square.mean()))
            sem = float(square.std(ddof=1) / len(here) ** 0.5 / (2 * rms))
            out[f"{name}, {phase}: shear stress missed"] = record(rms, sem, len(here))
            out[f"{name}, {phase}: per strain"] = record(*slope(strains, missing), len(here))
    return out


def record(value: float, sem: float, n: int) -> dict:
    return {"value": value, "sem": sem, "n": n, "unit": "GPa"}


# ---- without atoms -------------------------------------------------------------------------------------


def free_energy(electrons: float, cell: np.ndarray, mesh: int, shift: float, kT: float) -> float:
    """F = E - TS (eV) of free electrons in a cell (3, 3) with mesh^3 k points moved by `shift` spacings."""
    reach = mesh * (int(2 * np.cbrt(3 * electrons / (8 * np.pi))) + 2)  # twice the Fermi sphere's radius
    m = np.arange(-reach, reach + 1)
    points = (np.stack(np.meshgrid(m, m, m, indexing="ij"), -1).reshape(-1, 3) + shift) / mesh
    levels = HALF_HBAR2_PER_MASS * (2 * np.pi) ** 2 * ((points @ np.linalg.inv(cell).T) ** 2).sum(1)
    weight = 2 / mesh**3

    def excess(mu: float) -> float:
        return weight * expit((mu - levels) / kT).sum() - electrons

    mu = brentq(excess, 0, levels.max(), xtol=1e-13)
    return electrons * mu - weight * kT * np.logaddexp(0, (mu - levels) / kT).sum()


def free_electrons(
    electrons: float, edge: float, mesh: int, shift: float, kT: float, step: float = 0.02
) -> float:
    """Shear stress per strain xy of free electrons in a cube of this edge (A), GPa, by differences of F."""
    energies = []
    for strain in (-step, 0.0, step):
        shape = np.eye(3)
        shape[0, 1] = shape[1, 0] = strain
        energies.append(free_energy(electrons, edge * shape, mesh, shift, kT))
    # dF = 2 Omega sigma_xy d(strain_xy), sigma_xy = slope * strain_xy
    return (energies[0] - 2 * energies[1] + energies[2]) / step**2 / (2 * edge**3) / GPa


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default="results/full/strained-cells.json")
    arguments = parser.parse_args()
    began = time.perf_counter()
    cubic = by_part(datasets.load("na-gamma"))
    potential = train_committee(cubic["train"], cubic["valid"])
    one = [a for a in datasets.load("na-gamma-active") if a.info["kind"].startswith("strained")]
    four = [a for a in datasets.load("na-4k") if a.info.get("kind", "").startswith("strained")]
    same = {atoms.info["frame"] for atoms in four}
    labels = {"Gamma": one, "Gamma, frames with 4k": [a for a in one if a.info["frame"] in same], "4k": four}
    results = records(potential, labels)
    edge = float(np.mean([np.cbrt(atoms.cell.volume) for atoms in one]))
    many = free_electrons(128, edge, ceil(CONVERGED / edge), 0.5, WIDTH)
    gas = {name: free_electrons(128, edge, *mesh, WIDTH) - many for name, mesh in MESHES.items()}
    seconds = time.perf_counter() - began
    bookkit.save_result(arguments.out, results, seconds, seed=0, free_electrons=gas, edge=edge)


if __name__ == "__main__":
    main()
