"""Units: eV, angstrom, amu inside; everything else is a float to multiply with.

The internal time unit follows from these three, angstrom * sqrt(amu / eV) = 10.18 fs, and is ASE's.
``2.9 * fs`` is a time in internal units; ``pressure / GPa`` is a pressure in GPa.
CODATA 2018 values, SI definitions where exact.
"""

from math import pi, sqrt

__all__ = [
    "GPa",
    "K",
    "Ry",
    "W_per_m_K",
    "amu",
    "angstrom",
    "bohr",
    "coulomb_constant",
    "eV",
    "fs",
    "hartree",
]
__all__ += ["hbar", "kB", "meV", "ps", "second"]

ELEMENTARY_CHARGE = 1.602176634e-19  # C, exact
ATOMIC_MASS = 1.66053906660e-27  # kg
BOLTZMANN = 1.380649e-23  # J/K, exact
PLANCK = 6.62607015e-34  # J s, exact

eV = angstrom = amu = K = 1.0

second = 1e10 * sqrt(ELEMENTARY_CHARGE / ATOMIC_MASS)  # internal time units per second
ps = 1e-12 * second
fs = 1e-15 * second
meV = 1e-3
kB = BOLTZMANN / ELEMENTARY_CHARGE  # eV/K
hbar = PLANCK / (2 * pi) / ELEMENTARY_CHARGE * second  # eV * internal time
GPa = 1e9 * 1e-30 / ELEMENTARY_CHARGE  # eV/A^3
bohr = 0.529177210903
hartree = 27.211386245988
Ry = hartree / 2
coulomb_constant = 14.399645478  # e^2 / (4 pi eps0), eV A
W_per_m_K = 1 / ELEMENTARY_CHARGE * 1e-10 / second  # eV / (A K internal time)
