"""What is known in closed form: the ideal gas, the Einstein crystal, soft spheres.

All free energies are Helmholtz free energies in eV per atom, with the kinetic part, for N atoms of one kind.
"""

from __future__ import annotations

from math import gamma, lgamma, log, pi, sqrt

from mlipbook.checks import all_positive, positive, whole
from mlipbook.units import hbar, kB

# B_2, B_3, ... of soft spheres in units of (sigma (beta mu)^(1/12))^3, n = 12.
VIRIALS = (2 * pi / 3 * gamma(3 / 4), 3.79106644, 3.52761, 2.1149, 0.7695, 0.0908, -0.074)


def thermal_wavelength(mass: float, temperature: float) -> float:
    """Lambda = h/sqrt(2 pi m kT), angstrom; mass in amu, temperature in K."""
    mass, temperature = positive(mass, "mass", "in amu"), positive(temperature, "temperature", "in K")
    return sqrt(2 * pi / (mass * kB * temperature)) * hbar


def ideal_gas(n_atoms: int, volume: float, mass: float, temperature: float) -> float:
    """-kT/N ln[V^N/(N! Lambda^3N)], eV per atom, exact for any N; volume of all atoms, A^3."""
    n_atoms, volume = whole(n_atoms, "n_atoms"), positive(volume, "volume", "in A^3")
    wavelength = thermal_wavelength(mass, temperature)
    indistinguishable = lgamma(n_atoms + 1) / n_atoms
    return kB * temperature * (indistinguishable - log(volume / wavelength**3))


def einstein_crystal(
    n_atoms: int, volume: float, mass: float, spring: float, temperature: float
) -> dict[str, float]:
    """The reference of crystals term by term, eV per atom; volume of all atoms, A^3; spring in eV/A^2.

    "oscillators": -3 kT ln(sqrt(2 pi kT/K)/Lambda), 3N independent ones. "center of mass": from the crystal
    whose center is fixed, which molecular dynamics samples, to one whose center is anywhere in its share V/N
    of the volume, -kT/N ln[(V/N) (beta K N/2 pi)^(3/2)]: a shift by a lattice vector is one of the N!
    permutations, so that V in place of V/N would count states N times.
    Polson, Trizac, Pronk, Frenkel, J. Chem. Phys. 112, 5339 (2000).
    """
    n_atoms, volume = whole(n_atoms, "n_atoms"), positive(volume, "volume", "in A^3")
    kT, spring = kB * positive(temperature, "temperature", "in K"), positive(spring, "spring", "in eV/A^2")
    width = sqrt(2 * pi * kT / spring)  # its cube is the configurational integral of one atom
    center = volume / n_atoms * (n_atoms**0.5 / width) ** 3
    return {
        "oscillators": -3 * kT * log(width / thermal_wavelength(mass, temperature)),
        "center of mass": -kT / n_atoms * log(center),
    }


def soft_core_y(
    density: float, temperature: float, mu: float, sigma: float, lam: float = 1.0, n: int = 12
) -> float:
    """The one variable of soft spheres lam mu (sigma/r)^n: y = rho sigma^3 (beta lam mu)^(3/n)/sqrt(2).

    density: atoms per A^3. Excess free energy and pressure over kT depend on nothing else.
    """
    all_positive(density=density, temperature=temperature, mu=mu, sigma=sigma)
    return density * sigma**3 * (lam * mu / (kB * temperature)) ** (3 / n) / sqrt(2)


def soft_core_virial(y: float) -> float:
    """beta F_ex/N of soft spheres (n = 12) from the virial coefficients B_2 to B_8, good up to freezing.

    Dimensionless. Tan, Schultz, Kofke, Mol. Phys. 109, 123 (2011), Table 1; B_2 = 2 pi/3 Gamma(3/4) is exact.
    """
    x = sqrt(2) * y  # rho sigma^3 (beta mu)^(1/4)
    return sum(B * x**k / k for k, B in enumerate(VIRIALS, start=1))


def soft_core_cutoff(density: float, mu: float, sigma: float, cutoff: float, n: int = 12) -> float:
    """What the cutoff and the shift of `potentials.SoftCore` take off, F_cut - F, eV per atom.

    To first order, with g(r) = 1 where the difference is: -rho/2 int (u - u_cut) 4 pi r^2 dr, which is
    -2 pi rho r_c^3 u(r_c) [1/3 + 1/(n - 3)], the shift within and the tail beyond.
    """
    return -2 * pi * density * cutoff**3 * mu * (sigma / cutoff) ** n * (1 / 3 + 1 / (n - 3))
