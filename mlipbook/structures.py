"""Atomic structures as tensors with a leading batch (replica) axis, and the way from and to ASE."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers, chemical_symbols
from torch import Tensor

from mlipbook import checks

FLAT = 1e-6  # A^3; a cell of less has no volume
THIN = 0.1  # A; between the images of an atom there is room for more than that


@dataclass(frozen=True)
class Structures:
    """B structures of the same N atoms in the same order; only positions and cells differ.

    positions: (B, N, 3) angstrom, float64. cells: (B, 3, 3) angstrom, rows are the lattice vectors.
    species: (N,) atomic numbers. pbc: periodic along each lattice vector. masses: (N,) amu, float64; default:
    the standard atomic weights (dataclasses.replace keeps masses: beside other species give new ones).
    constraints: of ASE, the same on all structures; dynamics hold the atoms of FixAtoms and refuse any other,
    energies and forces do not know them.

    Raises ValueError for wrong shapes, NaN or infinite coordinates, masses that are not positive, and flat
    periodic cells; the message names the structure and the atom.
    """

    positions: Tensor
    cells: Tensor
    species: Tensor
    pbc: tuple[bool, bool, bool] = (True, True, True)
    masses: Tensor = None  # type: ignore[assignment]
    constraints: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        B, N = self.positions.shape[0], self.species.shape[0]
        if self.positions.shape != (B, N, 3) or self.cells.shape != (B, 3, 3):
            raise ValueError(
                f"positions {tuple(self.positions.shape)} and cells {tuple(self.cells.shape)} do not fit "
                f"species ({N},): expected (B, {N}, 3) and (B, 3, 3)"
            )
        if self.positions.dtype != torch.float64 or self.cells.dtype != torch.float64:
            raise ValueError(
                f"positions are {self.positions.dtype}, cells {self.cells.dtype}: both must be float64 "
                "(a potential casts distances to its own dtype)"
            )
        if B == 0 or N == 0 or self.species.dtype != torch.int64:
            raise ValueError(
                f"{B} structures of {N} atoms, species of type {self.species.dtype}: give at "
                "least one structure and one atom, and atomic numbers as int64"
            )
        for i in first((self.species < 1) | (self.species >= len(chemical_symbols))):
            raise ValueError(f"atom {i}: species {int(self.species[i])} is no atomic number")
        if self.masses is None:
            object.__setattr__(self, "masses", standard_masses(self.species).to(self.positions))
        if self.masses.shape != (N,) or self.masses.dtype != torch.float64:
            raise ValueError(f"masses {tuple(self.masses.shape)}, {self.masses.dtype}: give ({N},) float64")
        for i in first(~((self.masses > 0) & (self.masses < torch.inf))):
            raise ValueError(f"atom {i} has a mass of {float(self.masses[i])} amu; give a positive one")
        self.refuse_broken()

    def refuse_fixed(self, why: str) -> None:
        """Raise ValueError if atoms are fixed."""
        if self.n_fixed:
            raise ValueError(f"{self.n_fixed} atoms are fixed: {why}")

    def refuse_broken(self) -> None:
        """Raise ValueError for coordinates that are not finite and for flat periodic cells."""
        for row in first(~torch.isfinite(self.positions).all(-1).flatten()):
            b, i = divmod(row, self.n_atoms)
            position = self.positions[b, i].tolist()
            raise ValueError(f"structure {b}, atom {i}: position is {position}, not finite")
        heights = self.heights[:, torch.tensor(self.pbc)]
        good = torch.isfinite(self.cells).all(2).all(1) & ((heights >= THIN) & (heights < torch.inf)).all(1)
        for b in first(~good):
            raise ValueError(
                f"structure {b}: cell {self.cells[b].tolist()} is not finite, or flat along a periodic "
                f"direction (heights {heights[b].tolist()} A); set the cell, or pbc=False"
            )

    def moved(self, positions: Tensor, cells: Tensor | None = None) -> "Structures":
        """The same atoms at other positions (B, N, 3), in the same cells or in others (B, 3, 3), angstrom.
        Dynamics calls it at every step, so nothing is checked: the next search for neighbors does that.
        """
        new = object.__new__(Structures)
        vars(new).update(vars(self), positions=positions)  # what is cached comes along
        if cells is not None:
            for derived in ("volumes", "inverse_cells", "heights"):
                vars(new).pop(derived, None)
            vars(new).update(cells=cells)
        return new

    def swollen(self, positions: Tensor, factor: Tensor | float) -> "Structures":
        """As `moved`, in cells whose edges are so many times as long; factor: a number, or (B, 1, 1)."""
        new = self.moved(positions, factor * self.cells)
        if "inverse_cells" in vars(self):
            vars(new)["inverse_cells"] = self.inverse_cells / factor
        vars(new)["volumes"] = self.volumes * (factor if isinstance(factor, float) else factor.view(-1)) ** 3
        return new

    def __len__(self) -> int:
        return self.positions.shape[0]

    @property
    def n_atoms(self) -> int:
        return self.species.shape[0]

    @cached_property
    def volumes(self) -> Tensor:
        """(B,) A^3."""
        a, b, c = self.cells.unbind(1)
        return (a * torch.linalg.cross(b, c)).sum(-1).abs()

    @cached_property
    def heights(self) -> Tensor:
        """(B, 3) angstrom, how far a periodic vector reaches out of the line or plane of the others: the
        distances between opposite faces. Infinite for vectors that are not periodic.
        """
        cells, periodic = self.cells.cpu(), [i for i in range(3) if self.pbc[i]]
        found = torch.full_like(cells[:, 0], torch.inf)
        for i in periodic:
            last = [j for j in periodic if j != i] + [i]
            found[:, i] = torch.linalg.qr(cells[:, last].mT, mode="r").R[:, -1, -1].abs()
        return found.to(self.cells.device)

    @cached_property
    def inverse_cells(self) -> Tensor:
        """(B, 3, 3) 1/A; its columns are the reciprocal lattice vectors."""
        return torch.linalg.inv(self.cells)

    @cached_property
    def fixed(self) -> Tensor:
        """(N,) bool, no units: atoms that dynamics do not move, FixAtoms; ValueError for others."""
        fixed = torch.zeros(self.n_atoms, dtype=torch.bool)
        if not self.constraints:
            return fixed.to(self.species.device)
        from ase.constraints import FixAtoms  # it takes half of scipy along

        if others := sorted({type(c).__name__ for c in self.constraints if not isinstance(c, FixAtoms)}):
            raise ValueError(
                f"constraint {', '.join(others)}: dynamics keep FixAtoms and no other; take it away, with "
                "atoms.set_constraint(), or hold whole atoms by FixAtoms"
            )
        for constraint in self.constraints:
            fixed[torch.as_tensor(constraint.index)] = True
        return fixed.to(self.species.device)

    @cached_property
    def n_fixed(self) -> int:
        """How many atoms are `fixed`."""
        return int(self.fixed.sum()) if self.constraints else 0

    def mass_of(self, symbol: str) -> float:
        """Of each atom of an element, amu. Raises ValueError if there is none, or isotopes are mixed."""
        masses = self.masses[self.species == atomic_numbers[symbol]].unique()
        if len(masses) != 1:
            raise ValueError(f"{symbol} has masses of {masses.tolist()} amu: one is needed, not a mixture")
        return float(masses[0])

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        return tuple(chemical_symbols[z] for z in self.species.tolist())

    def to(self, device: str | torch.device) -> "Structures":
        """The same structures on another device."""
        names = ("positions", "cells", "species", "masses")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    @staticmethod
    def from_ase(frames: Atoms | Sequence[Atoms], device: str | torch.device = "cpu") -> "Structures":
        """Batch of ASE structures, with their masses and constraints. Raises ValueError if species, their
        order, pbc, masses or constraints differ.
        """
        frames = checks.frames([frames] if isinstance(frames, Atoms) else frames, "frames")
        first = frames[0]
        for b, atoms in enumerate(frames[1:], start=1):
            for name, of in SHARED.items():
                if of(atoms) != of(first):
                    told = [f"{a.get_chemical_formula()}, pbc {a.pbc.tolist()}" for a in (atoms, first)]
                    raise ValueError(
                        f"structure {b} ({told[0]}) has other {name} than structure 0 ({told[1]}): one batch "
                        f"has the same {name}; make a batch for each"
                    )
        return Structures(
            torch.as_tensor(np.stack([atoms.positions for atoms in frames]), device=device),
            torch.as_tensor(np.stack([atoms.cell.array for atoms in frames]), device=device),
            torch.as_tensor(first.numbers.astype(np.int64), device=device),
            (bool(first.pbc[0]), bool(first.pbc[1]), bool(first.pbc[2])),
            torch.as_tensor(first.get_masses(), device=device),
            tuple(deepcopy(first.constraints)),
        )

    def to_ase(self) -> list[Atoms]:
        """One ase.Atoms per structure (angstrom), with constraints and masses (no array of standard ones)."""
        standard = torch.equal(self.masses.cpu(), standard_masses(self.species))
        masses = None if standard else self.masses.cpu().numpy()
        shared = {"numbers": self.species.cpu().numpy(), "pbc": self.pbc, "masses": masses}
        return [
            Atoms(positions=x, cell=h, constraint=list(deepcopy(self.constraints)), **shared)
            for x, h in zip(self.positions.cpu().numpy(), self.cells.cpu().numpy(), strict=True)
        ]


def first(mask: Tensor) -> list[int]:
    """Where a mask is true for the first time; empty if nowhere."""
    return mask.nonzero()[:1, 0].tolist()


def standard_masses(species: Tensor) -> Tensor:
    """The standard atomic weights of ASE, (N,) amu, on the CPU."""
    return torch.as_tensor(atomic_masses)[species.cpu()]


def _constraints(atoms: Atoms) -> list[str]:
    """As text, to compare them."""
    from ase.io.jsonio import encode

    return [encode(c.todict()) if hasattr(c, "todict") else repr(c) for c in atoms.constraints]


SHARED: dict[str, Callable[[Atoms], Any]] = {
    "atoms or order": lambda atoms: atoms.numbers.tolist(),
    "pbc": lambda atoms: atoms.pbc.tolist(),
    "masses": lambda atoms: atoms.get_masses().tolist(),
    "constraints": _constraints,
}


def has_stress(atoms: Atoms) -> bool:
    """Whether dU/dstrain over the volume is a stress: of crystals, slabs and rods in a cell of three vectors.
    As in ASE's calculators all six components are there, those across the vacuum too, over the whole volume:
    what is left out, or relaxed by ASE's cell filters, is for a mask. Clusters have none, whatever their box.
    """
    return bool(atoms.pbc.any()) and atoms.cell.volume >= FLAT
