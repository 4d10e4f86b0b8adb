"""Text files of aenet: setups of descriptors (.stp) and labeled structures (.xsf)."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers

from mlipbook.archive import reading, replacing
from mlipbook.archive.files import FilePath


@dataclass(frozen=True)
class Setup:
    """A descriptor around atoms of one element (.stp). Cutoffs and r_min in angstrom.

    environment: the neighbors' elements, in the order that sets their weights. r_min: shortest distance that
    aenet expects (it sizes its neighbor arrays). Raises ValueError for what no setup can have.
    """

    element: str
    environment: tuple[str, ...]
    description: str
    r_min: float
    radial_cutoff: float
    radial_order: int
    angular_cutoff: float
    angular_order: int

    def __post_init__(self) -> None:
        for symbol in (self.element, *self.environment):
            if symbol not in atomic_numbers:
                raise ValueError(f"unknown element {symbol!r}")
        if not self.environment or len(set(self.environment)) < len(self.environment):
            raise ValueError(f"environment {self.environment}: expected each neighbor's element once")
        if not all(0 < x < inf for x in (self.radial_cutoff, self.angular_cutoff, self.r_min)):
            raise ValueError("cutoffs and r_min must be positive (angstrom)")
        if min(self.radial_order, self.angular_order) < 0:
            raise ValueError("expansion orders must not be negative")

    @property
    def n_features(self) -> int:
        return (self.radial_order + self.angular_order + 2) * (1 if len(self.environment) == 1 else 2)


def read_setup(path: FilePath) -> Setup:
    """Read a .stp file. Raises ValueError naming the file and the line that is missing or wrong."""
    text = _text(path)
    description = re.search(r"^\s*DESCR\b.*\n((?:.*\n)*?)\s*END DESCR", text, re.MULTILINE | re.IGNORECASE)
    body = text[description.end() :] if description else text

    def find(pattern: str, example: str) -> re.Match[str]:
        match = re.search(pattern, body, re.MULTILINE | re.IGNORECASE)
        if match is None:
            raise ValueError(f"no line such as {example!r}; add it")
        return match

    def number(pattern: str, example: str, kind: Callable[[str], Any]) -> Any:
        word = find(pattern, example).group(1)
        try:
            return kind(re.sub("[dD]", "e", word))  # Fortran writes 1.5d0
        except ValueError as error:
            raise ValueError(f"{word!r} where {example!r} has a number") from error

    try:
        basis = find(r"^\s*BASIS\s+type\s*=\s*(\S+)", "BASIS type=Chebyshev").group(1)
        if basis.lower() != "chebyshev":
            raise ValueError(f"basis {basis!r}; only Chebyshev is supported")
        count = number(r"^\s*ENV\s+(\S+)", "ENV 2", int)
        return Setup(
            find(r"^\s*ATOM\s+(\S+)", "ATOM Na").group(1),
            tuple(body[find(r"^\s*ENV\s.*\n", "ENV 2").end() :].split()[:count]),
            description.group(1).rstrip("\n") if description else "",
            number(r"^\s*RMIN\s+(\S+)", "RMIN 1.5", float),
            number(r"radial_Rc\s*=\s*(\S+)", "radial_Rc = 6.5", float),
            number(r"radial_N\s*=\s*(\S+)", "radial_N = 16", int),
            number(r"angular_Rc\s*=\s*(\S+)", "angular_Rc = 6.5", float),
            number(r"angular_N\s*=\s*(\S+)", "angular_N = 4", int),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def write_setup(path: FilePath, setup: Setup) -> None:
    """Write a .stp file; reading it gives the same setup."""
    lines = ["DESCR", setup.description, "END DESCR", "", f"ATOM {setup.element}", ""]
    lines += [f"ENV {len(setup.environment)}", *setup.environment, "", f"RMIN {setup.r_min!r}", ""]
    radial = f"radial_Rc = {setup.radial_cutoff!r} radial_N = {setup.radial_order}"
    angular = f"angular_Rc = {setup.angular_cutoff!r} angular_N = {setup.angular_order}"
    _write(path, [*lines, "BASIS type=Chebyshev", f"{radial} {angular}"])


def read_xsf(path: FilePath) -> Atoms:
    """A structure with energy (eV) and forces (eV/A), as far as the file has them; Cartesian, angstrom.
    Raises ValueError naming the file and line for anything but a periodic CRYSTAL or isolated ATOMS.
    """
    text = _text(path)
    results: dict[str, Any] = _energy(path, text)
    lines = enumerate(text.splitlines(), 1)
    rows = [(i, line.split()) for i, line in lines if not line.lstrip().startswith("#")]
    keys = {words[0].upper(): k for k, (_, words) in enumerate(rows) if words}

    def after(key: str) -> int:
        if key not in keys:
            raise ValueError(f"{path}: no {key}; expected CRYSTAL with PRIMVEC and PRIMCOORD, or ATOMS")
        return keys[key] + 1

    def floats(k: int, start: int, counts: tuple[int, ...], what: str) -> list[float]:
        i, words = rows[k] if k < len(rows) else (rows[-1][0] + 1, [])
        values = _numbers(words[start:])
        if len(values) not in counts:
            raise ValueError(f"{path}: line {i}: expected {what}, found {' '.join(words)!r}")
        return values

    crystal = "ATOMS" not in keys
    cell = [floats(after("PRIMVEC") + k, 0, (3,), "a lattice vector") for k in range(3)] if crystal else None
    if crystal:
        first = after("PRIMCOORD") + 1
        count = floats(first - 1, 0, (1, 2), "the number of atoms and 1")[0]
        stop = first + int(count)
        follow = [len(words) in (4, 7) for _, words in rows[stop : stop + 1]]
        if count != int(count) or any(follow):
            raise ValueError(f"{path}: line {rows[first - 1][0]}: {count:g} atoms told, others are there")
    else:
        first = after("ATOMS")
        stop = next((k for k in range(first, len(rows)) if not rows[k][1]), len(rows))
    table = [floats(k, 1, (3, 6), "El x y z, or El x y z fx fy fz") for k in range(first, stop)]
    symbols = [rows[k][1][0] for k in range(first, stop)]
    if unknown := [symbol for symbol in symbols or [""] if symbol not in atomic_numbers]:
        raise ValueError(f"{path}: " + (f"unknown element {unknown[0]!r}" if symbols else "no atoms"))
    atoms = Atoms(symbols, [values[:3] for values in table], cell=cell, pbc=crystal)
    if all(len(values) == 6 for values in table):
        results["forces"] = np.array(table)[:, 3:]
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def write_xsf(path: FilePath, atoms: Atoms) -> None:
    """Write a structure with its energy and forces in all digits. Raises ValueError if it has none, which
    aenet demands, or is periodic in some directions only.
    """
    if atoms.pbc.any() != atoms.pbc.all():
        raise ValueError(f"{path}: pbc {atoms.pbc.tolist()}: aenet knows periodic and isolated structures")
    try:
        energy, forces = atoms.get_potential_energy(), atoms.get_forces(apply_constraint=False)
    except (RuntimeError, PropertyNotImplementedError) as error:
        raise ValueError(f"{path}: aenet wants an energy and forces with each structure: {error}") from error
    if not all(np.isfinite(values).all() for values in (energy, forces, atoms.positions, atoms.cell.array)):
        raise ValueError(f"{path}: energy, forces, positions or cell are not finite; label it again")
    symbols, numbers = atoms.get_chemical_symbols(), np.hstack([atoms.positions, forces]).tolist()
    lines = [f"# total energy = {float(energy)!r} eV", ""]
    if atoms.pbc.all():
        lines += ["CRYSTAL", "PRIMVEC", *(_row(vector) for vector in atoms.cell.array.tolist())]
        lines += ["PRIMCOORD", f"{len(atoms)} 1"]
    else:
        lines += ["ATOMS"]
    lines += [f"{symbol:2} {_row(row)}" for symbol, row in zip(symbols, numbers, strict=True)]
    _write(path, lines)


def _text(path: FilePath) -> str:
    with reading(path, "a text file of aenet"):
        return Path(path).read_bytes().decode()


def _energy(path: FilePath, text: str) -> dict[str, float]:
    """The energy (eV) that a comment tells, if one does."""
    told = re.search(r"^\s*#.*total energy\s*=\s*(\S+)", text, re.MULTILINE | re.IGNORECASE)
    if told is None:
        return {}
    if energy := _numbers([told.group(1)]):
        return {"energy": energy[0]}
    raise ValueError(f"{path}: total energy {told.group(1)!r}; expected a number (eV)")


def _numbers(words: list[str]) -> list[float]:
    """Finite numbers, as Fortran writes them, too (1.5d0); none if one of them is anything else."""
    try:
        values = [float(re.sub("[dD]", "e", word)) for word in words]
    except ValueError:
        return []
    return values if np.isfinite(values).all() else []


def _row(values: list[float]) -> str:
    return " ".join(f"{value!r:>24}" for value in values)


def _write(path: FilePath, lines: list[str]) -> None:
    with replacing(path) as file:
        file.write(("\n".join(lines) + "\n").encode())
