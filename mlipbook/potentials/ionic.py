"""Ions that attract, repel and polarize each other: the pair potentials of Ag2Se and AgI.

    u(r) = k q q' erfc(damping r)/r + H/r^eta - P/r^4 - C/r^6,     P = k/2 (alpha q'^2 + alpha' q^2)

less its value and its slope at the cutoff, so that energies and forces end there together. The Coulomb
interaction is damped and shifted (Fennell, Gezelter, J. Chem. Phys. 124, 234104 (2006), without self term):
with a finite range, atomic energies and virials are those of Eq. 11-12, exactly.
"""

import os
import tomllib
from importlib.resources import files
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import torch
from ase.data import atomic_numbers, chemical_symbols
from torch import Tensor

from mlipbook.checks import finite, not_negative, positive
from mlipbook.potentials.edge import EdgePotential
from mlipbook.structures import Structures
from mlipbook.units import coulomb_constant

TERMS = ("qq", "H", "eta", "P", "C", "end", "slope")  # rows of the table of a pair of species


def AgSe(parameters: str | os.PathLike | None = None) -> "Ionic":
    """The reference potential of alpha-Ag2Se, this project's parameters or those of another TOML file."""
    return Ionic(read(parameters or "ag2se-project-B.toml"))


def AgI(parameters: str | os.PathLike | None = None) -> "Ionic":
    """The potential of AgI, or of another TOML file."""
    return Ionic(read(parameters or "agi.toml"))


def read(file: str | os.PathLike) -> dict[str, Any]:
    """Parameters from a file, or from one that comes with the package. Raises FileNotFoundError if there is
    neither, ValueError if it is not TOML.
    """
    bundled = files("mlipbook") / "data" / Path(file).name
    found = Path(file) if Path(file).exists() else bundled
    if not found.is_file():
        raise FileNotFoundError(f"{file}: no such file, nor one of this name in the package")
    try:
        return tomllib.loads(found.read_bytes().decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: {error}; see mlipbook/data/ag2se-project-B.toml for the layout") from error


class Ionic(EdgePotential):
    """u(r) of the module's docstring, half of it at either ion, so that the three atomic virials agree.

    parameters: cutoff (A), damping (1/A), and per element "charge" (e), "polarizability" (A^3), per pair
    "Ag-Se" "repulsion" {eta, H (eV A^eta)} and optionally "dispersion" C (eV A^6).
    Raises ValueError for parameters that are missing.
    """

    species: tuple[str, ...]
    table: Tensor
    index: Tensor

    def __init__(self, parameters: dict[str, Any]):
        super().__init__()
        try:
            self.cutoff = positive(parameters["cutoff"], "cutoff", "in angstrom")
            self.damping = not_negative(parameters["damping"], "damping", "in 1/A")
            self.species = tuple(parameters["charge"])
            table = self._table(parameters)
        except KeyError as error:
            name = parameters.get("name", "an ionic potential")
            raise ValueError(f"parameters of {name}: {error} is missing") from error
        index = torch.full((len(chemical_symbols),), -1)
        index[[atomic_numbers[s] for s in self.species]] = torch.arange(len(self.species))
        self.register_buffer("index", index)
        self.register_buffer("table", table)

    def _table(self, parameters: dict[str, Any]) -> Tensor:
        """(len(TERMS), n, n) for n elements."""
        n, charge, alpha = len(self.species), parameters["charge"], parameters["polarizability"]
        table = torch.zeros(len(TERMS), n, n, dtype=torch.float64)
        for (i, a), (j, b) in combinations_with_replacement(enumerate(self.species), 2):
            H, eta = (float(parameters["repulsion"][f"{a}-{b}"][name]) for name in ("H", "eta"))
            P = coulomb_constant / 2 * (alpha[a] * charge[b] ** 2 + alpha[b] * charge[a] ** 2)
            C = parameters.get("dispersion", {}).get(f"{a}-{b}", 0.0)
            row = [coulomb_constant * charge[a] * charge[b], H, eta, P, C, 0.0, 0.0]
            for name, value in zip(TERMS, row, strict=True):
                finite(value, f"{name} of {a}-{b}")
            table[:, i, j] = table[:, j, i] = torch.tensor(row, dtype=torch.float64)
        end = torch.tensor(self.cutoff, dtype=torch.float64, requires_grad=True)
        u = unshifted(end, table[:5], self.damping)
        slopes = [torch.autograd.grad(x, end, retain_graph=True)[0] for x in u.flatten()]
        table[5], table[6] = u.detach(), torch.stack(slopes).view(n, n)
        return table

    def check(self, structures: Structures) -> None:
        """Raise ValueError naming the first atom that has no parameters."""
        for i, symbol in enumerate(structures.symbols):
            if symbol not in self.species:
                raise ValueError(f"atom {i} is {symbol}; there are parameters for {', '.join(self.species)}")

    def atomic_energies(self, vectors: Tensor, center_species: Tensor, neighbor_species: Tensor) -> Tensor:
        pair = self.index[center_species][:, None] * len(self.species) + self.index[neighbor_species]
        terms = self.table.flatten(1)[:, pair]
        r = vectors.square().sum(0).sqrt()
        u = unshifted(r, terms[:5], self.damping) - terms[5] - terms[6] * (r - self.cutoff)
        return 0.5 * torch.where(r < self.cutoff, u, torch.zeros_like(u)).sum(-1)


def unshifted(r: Tensor, terms: Tensor, damping: float) -> Tensor:
    """u(r) in eV before value and slope at the cutoff are taken off; terms: qq, H, eta, P, C stacked."""
    qq, H, eta, P, C = terms
    square = r * r
    return qq * torch.erfc(damping * r) / r + H * r**-eta - (P + C / square) / square**2
