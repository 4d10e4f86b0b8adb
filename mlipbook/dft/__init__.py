"""Plane-wave density functional theory in PyTorch: small enough to read, checked against Quantum ESPRESSO.

    calculator = PlaneWaveDFT(kpts=(2, 2, 2), shift=(1, 1, 1))      an ASE calculator, eV and angstrom

Inside, Hartree atomic units. From the bottom up: `pseudopotential`, `functionals`, `ewald` and `smearing` are
one formula each; `basis` has the plane waves, `hamiltonian` the operator on them, `eigensolver` its lowest
states, `energy` the total energy, whose derivatives are potential, forces and stress;
`mixing` and `scf` make it self-consistent; `extrapolation` carries it along molecular dynamics, `inputs`
checks what a user gives, `calculator` shows it all to ASE.
"""

from mlipbook.dft.calculator import PlaneWaveDFT
from mlipbook.dft.pseudopotential import read_upf
from mlipbook.dft.scf import NotConverged

__all__ = ["NotConverged", "PlaneWaveDFT", "read_upf"]
