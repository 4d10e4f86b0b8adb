"""Electrons without atoms in a periodic cubic box: what a k mesh does when nothing else does anything.

A mesh of k points in a box of edge L sees the states k = 2 pi (m + shift)/(n L), m integer. Energies in eV,
lengths in angstrom, pressures in eV/A^3; Fermi-Dirac occupations of width kT, two electrons a state.
"""

from dataclasses import dataclass
from itertools import product
from math import ceil, pi

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import expit

from mlipbook.units import bohr, hartree

HALF_HBAR2_PER_MASS = hartree * bohr**2 / 2  # eV A^2, of an electron
CONVERGED = 100.0  # A: mesh times edge, shifted, from which on errors at sodium's density are below 0.01 meV


@dataclass(frozen=True)
class Gas:
    """Free energy F = E - TS and pressure -dF/dOmega at fixed kT and number of electrons."""

    free_energy: float
    pressure: float
    fermi_level: float


def filled(
    levels: np.ndarray, states: np.ndarray | float, electrons: float, kT: float
) -> tuple[float, float]:
    """Fermi level and free energy (eV) of electrons in levels (n,) that hold so many of them each."""

    def excess(mu: float) -> float:
        return (states * expit((mu - levels) / kT)).sum() - electrons

    mu = brentq(excess, -40 * kT, levels.max() + 40 * kT, xtol=1e-13)
    return mu, electrons * mu - kT * (states * np.logaddexp(0, (mu - levels) / kT)).sum()


def gas(electrons: float, edge: float, mesh: int, shift: float, kT: float) -> Gas:
    """Free electrons in a box of this edge with mesh^3 k points, moved by `shift` spacings (0 or 0.5). The
    pressure is 2/3 of the kinetic energy per volume, for any k points that scale with the box.
    """
    fermi = HALF_HBAR2_PER_MASS * (3 * pi**2 * electrons) ** (2 / 3) / edge**2
    levels, states = _levels(edge, mesh, shift, fermi + 40 * kT)
    mu, free_energy = filled(levels, states, electrons, kT)
    kinetic = states @ (levels * expit((mu - levels) / kT))
    return Gas(free_energy, 2 / 3 * kinetic / edge**3, mu)


def converged_gas(electrons: float, edge: float, kT: float) -> Gas:
    """Free electrons with as many k points as make no difference at widths of 0.1 eV."""
    return gas(electrons, edge, ceil(CONVERGED / edge), 0.5, kT)


def mesh_error(electrons: float, edge: float, mesh: int, shift: float, kT: float) -> tuple[float, float]:
    """Free energy per electron (eV) and pressure (eV/A^3) with a mesh minus those of a converged one."""
    here, converged = gas(electrons, edge, mesh, shift, kT), converged_gas(electrons, edge, kT)
    return (here.free_energy - converged.free_energy) / electrons, here.pressure - converged.pressure


def shell_energy(distance: float, edge: float, fermi_level: float, kT: float) -> float:
    """Contribution (eV, the box's) of one translation of length `distance` (A) to the grand potential.

    Poisson's sum turns the states of the box into its translations R, each with the Fourier coefficient

        edge^3 2 int d3k/(2 pi)^3 g(k) sin(kR)/(kR),    g = -kT ln(1 + exp((mu - e_k)/kT))

    The sum over R != 0 is the error of the Gamma point, at fixed mu.
    """
    top = np.sqrt((fermi_level + 40 * kT) / HALF_HBAR2_PER_MASS)

    def integrand(k: float) -> float:
        return -kT * np.logaddexp(0, (fermi_level - HALF_HBAR2_PER_MASS * k * k) / kT) * k

    value = quad(integrand, 0, top, weight="sin", wvar=distance, limit=400)[0]
    return edge**3 / (pi**2 * distance) * value


def from_translations(
    electrons: float, edge: float, mesh: int, shift: float, kT: float, reach: int = 6
) -> float:
    """The error of a mesh in the free energy per electron (eV), to second order from sums over translations.

    Of the box's translations R a mesh keeps mesh * R, with the sign (-1)^(R1 + R2 + R3) if it is shifted by
    0.5. At fixed mu that is an error of the grand potential and, as minus its derivative, of the number of
    electrons. Giving the electrons back at the Fermi level costs (error of the number)^2/(2 dN/dmu) more.
    """
    mu = converged_gas(electrons, edge, kT).fermi_level

    def grand(mu: float) -> float:
        terms = (
            np.cos(2 * pi * shift * m.sum(1)).sum() * shell_energy(mesh * edge * length**0.5, edge, mu, kT)
            for length, m in shells(reach).items()
        )
        return sum(terms)

    h = 0.01 * kT
    missing = (grand(mu + h) - grand(mu - h)) / (2 * h)
    states_per_energy = 3 * electrons / (2 * mu)
    return (grand(mu) + missing**2 / (2 * states_per_energy)) / electrons


def shells(reach: int) -> dict[int, np.ndarray]:
    """Integer vectors (n, 3) of a simple cubic lattice by their squared length, without 0, up to reach^2."""
    found: dict[int, list] = {}
    for m in product(range(-reach, reach + 1), repeat=3):
        if 0 < (length := sum(x * x for x in m)) <= reach**2:
            found.setdefault(length, []).append(m)
    return {length: np.array(found[length]) for length in sorted(found)}


def _levels(edge: float, mesh: int, shift: float, top: float) -> tuple[np.ndarray, np.ndarray]:
    """Distinct energies up to `top`, and the number of electrons that each can hold per box."""
    spacing = 2 * pi / (mesh * edge)
    reach = int(np.sqrt(top / HALF_HBAR2_PER_MASS) / spacing) + 2
    x2 = (np.arange(-reach, reach + 1) + shift) ** 2
    squares = (x2[:, None, None] + x2[:, None] + x2).round(9)
    values, counts = np.unique(squares, return_counts=True)
    inside = values <= reach**2
    return HALF_HBAR2_PER_MASS * spacing**2 * values[inside], 2 * counts[inside] / mesh**3
