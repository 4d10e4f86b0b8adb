"""Pressure against volume of labeled frames and of models: what a bias of the pressure does to the volume."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from mlipbook.averages import Value
from mlipbook.units import GPa

STRETCH = (-0.06, -0.03, 0.0, 0.03, 0.06)  # ln(V/V_frame) of the scaled copies


def volumes(frames: Sequence[Atoms]) -> np.ndarray:
    """Volume per atom, (frames,) A^3."""
    return np.array([atoms.cell.volume / len(atoms) for atoms in frames])


def pressures(frames: Sequence[Atoms]) -> np.ndarray:
    """Labeled static pressure -Tr(stress)/3, (frames,) GPa."""
    return np.array([-atoms.get_stress()[:3].mean() for atoms in frames]) / GPa


def scaled(atoms: Atoms, stretch: float) -> Atoms:
    """A copy without labels whose volume is exp(stretch) times the frame's; atoms move with the cell."""
    copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    copy.set_cell(atoms.cell.array * np.exp(stretch / 3), scale_atoms=True)
    return copy


def volume_shift(curves: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a model has the labeled pressure: (ln(V_model/V_frame), B there in GPa), each (members, frames).

    curves: (members, frames, len(STRETCH)) GPa, P(V) along scaled copies of frames whose labels (frames,)
    GPa belong to stretch 0; ln V is taken as a parabola in P. To first order the shift is eps_P/B.
    """
    *shape, points = curves.shape
    excess = (curves - labels[:, None]).reshape(-1, points)
    _, slope, shift = np.array([np.polyfit(curve, STRETCH, 2) for curve in excess]).T
    return shift.reshape(shape), -1 / slope.reshape(shape)


def equation_of_state(
    volumes: np.ndarray, pressures: np.ndarray, shell: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Equilibrium volume (...,) A^3, bulk modulus (...,) GPa, coefficients c (..., 4) GPa of like frames.

    volumes, shell: (frames,); pressures: (..., frames) GPa, labeled or predicted. Least squares of

        P = c0 + c1 x + c2 x^2 + c3 (shell - mean),     x = ln(V / mean V)

    shell (see `nearest_shell`) stands for the thermal displacements. It does not change where atoms move
    with the cell, so that the parabola in x is P(V) of scaled copies; V0 is its zero, B = -dP/dlnV there.
    """
    center = volumes.mean()
    x = np.log(volumes / center)
    A = np.stack([np.ones_like(x), x, x * x, shell - shell.mean()], 1)
    shape = pressures.shape[:-1]
    c = np.linalg.lstsq(A, pressures.reshape(-1, len(x)).T, rcond=None)[0]
    root = -2 * c[0] / (c[1] - np.sqrt(c[1] ** 2 - 4 * c[2] * c[0]))
    V0, B = center * np.exp(root), -(c[1] + 2 * c[2] * root)
    return V0.reshape(shape), B.reshape(shape), c.T.reshape(*shape, 4)


def nearest_shell(frames: Sequence[Atoms]) -> np.ndarray:
    """Mean distance to the 8 nearest atoms (a shell of bcc) over the cube root of V, (frames,)."""
    distances = [np.sort(atoms.get_all_distances(mic=True), axis=1)[:, 1:9].mean() for atoms in frames]
    return np.array(distances) / np.cbrt(volumes(frames))


def labeled_equation_of_state(frames: Sequence[Atoms]) -> dict[str, dict]:
    """Records of V0 and B there of like frames from their labels alone; errors by bootstrap over frames."""
    V, P, shell = volumes(frames), pressures(frames), nearest_shell(frames)
    n = len(frames)
    draws = np.random.default_rng(0).integers(n, size=(200, n))
    spread = np.array([equation_of_state(V[k], P[k], shell[k])[:2] for k in draws]).std(0, ddof=1)
    V0, B, _ = equation_of_state(V, P, shell)
    return {
        "equilibrium volume, labels": Value(V0, spread[0], n).record("A^3"),
        "bulk modulus, labels": Value(B, spread[1], n).record("GPa"),
    }
