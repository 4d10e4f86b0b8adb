"""Strained cells with few k points: a shear stress that belongs to the mesh, not to the atoms.

A mesh sees the cell's shape. Its error in the energy changes with shear also where no atom's surroundings do
(in a liquid), so that no local potential can learn the stress that goes with it: `records` compares labels of
strained frames with a potential that was trained on cubic cells, `free_electrons` says what to expect without
atoms.

    python -m mlipbook study k_points.strained_cells
"""

from collections.abc import Mapping, Sequence
from itertools import product
from math import ceil

import numpy as np
from ase import Atoms

from mlipbook import datasets
from mlipbook.averages import Value, mean
from mlipbook.potentials import EdgePotential
from mlipbook.studies.command import Result, command
from mlipbook.studies.exploration.active_learning import train_committee
from mlipbook.studies.k_points.free_electrons import CONVERGED, HALF_HBAR2_PER_MASS, filled
from mlipbook.studies.k_points.labels import MESHES, WIDTH
from mlipbook.studies.sodium import by_part, deviations, is_strained, means, of_phase
from mlipbook.units import GPa


def shear(atoms: Atoms) -> np.ndarray:
    """Strains yz, xz, xy, (3,); ValueError for a cell that is not symmetric, hence no strained cube."""
    strain = atoms.cell.array / np.cbrt(atoms.cell.volume) - np.eye(3)
    if not np.allclose(strain, strain.T, atol=1e-6):
        raise ValueError(f"frame {atoms.info.get('frame')}: the cell is no strained cube")
    return strain[[1, 0, 0], [2, 2, 1]]


def missing_stress(potential: EdgePotential, frames: Sequence[Atoms]) -> np.ndarray:
    """Labeled minus predicted stresses yz, xz, xy, (frames, 3) GPa; a committee predicts its mean."""
    return -np.array([d["stress"][3:] for d in deviations(frames, means(potential, frames))])


def slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Least squares through the origin, y = slope x, and its standard error."""
    x, y = x.ravel(), y.ravel()
    value = x @ y / (x @ x)
    residuals = y - value * x
    return float(value), float(np.sqrt(residuals @ residuals / (len(x) - 1) / (x @ x)))


def records(potential: EdgePotential, labels: Mapping[str, Sequence[Atoms]]) -> dict[str, dict]:
    """Shear stress that a potential of cubic cells misses in strained ones (k points -> frames), by phase:
    rms, and slope against strain, twice an error of the shear modulus; GPa.
    """
    out = {}
    for (name, frames), phase in product(labels.items(), ("solid", "liquid")):
        here = of_phase(frames, phase)
        if len(here) > 1:
            missing, strains = missing_stress(potential, here), np.array([shear(a) for a in here])
            rms = mean((missing**2).mean(1)) ** 0.5
            out[f"{name}, {phase}: shear stress missed"] = rms.record("GPa")
            out[f"{name}, {phase}: per strain"] = Value(*slope(strains, missing), len(here)).record("GPa")
    return out


# ---- without atoms -------------------------------------------------------------------------------------


def free_energy(electrons: float, cell: np.ndarray, mesh: int, shift: float, kT: float) -> float:
    """F = E - TS (eV) of free electrons in a cell (3, 3) with mesh^3 k points moved by `shift` spacings."""
    reach = mesh * (int(2 * np.cbrt(3 * electrons / (8 * np.pi))) + 2)  # twice the Fermi sphere's radius
    m = np.arange(-reach, reach + 1)
    points = (np.stack(np.meshgrid(m, m, m, indexing="ij"), -1).reshape(-1, 3) + shift) / mesh
    levels = HALF_HBAR2_PER_MASS * (2 * np.pi) ** 2 * ((points @ np.linalg.inv(cell).T) ** 2).sum(1)
    return filled(levels, 2 / mesh**3, electrons, kT)[1]


def free_electrons(
    electrons: float, edge: float, mesh: int, shift: float, kT: float, step: float = 0.02
) -> float:
    """Shear stress per strain xy of free electrons in a cube of this edge (A), GPa, by differences of F."""
    xy = np.zeros((3, 3))
    xy[0, 1] = xy[1, 0] = step
    less, none, more = (
        free_energy(electrons, edge * (np.eye(3) + k * xy), mesh, shift, kT) for k in (-1, 0, 1)
    )
    # dF = 2 Omega sigma_xy d(strain_xy), sigma_xy = slope * strain_xy
    return (less - 2 * none + more) / step**2 / (2 * edge**3) / GPa


@command(saves="strained-cells")
def study() -> Result:
    """All bundled strained cells, and free electrons in cells of their size."""
    potential = train_committee(by_part(datasets.load("na-gamma")))
    one, four = (list(filter(is_strained, datasets.load(name))) for name in ("na-gamma-active", "na-4k"))
    same = {atoms.info["frame"] for atoms in four}
    labels = {"Gamma": one, "Gamma, frames with 4k": [a for a in one if a.info["frame"] in same], "4k": four}
    edge = float(np.mean([np.cbrt(atoms.cell.volume) for atoms in one]))
    many = free_electrons(128, edge, ceil(CONVERGED / edge), 0.5, WIDTH)
    gas = {name: free_electrons(128, edge, *mesh, WIDTH) - many for name, mesh in MESHES.items()}
    return Result(records(potential, labels), {"free_electrons": gas, "edge": edge})
