"""Errors of a potential on labeled frames: what chapter 5 compares, in the units of the field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from mlipbook.checks import frames as listed
from mlipbook.fast.choice import fast
from mlipbook.potentials import Potential
from mlipbook.structures import Structures, has_stress
from mlipbook.training.derivatives import VOIGT, labels_of
from mlipbook.units import GPa, meV

HEADER = ("", "unit", "labels", "RMSE", "MAE", "bias")
UNITS = {"energy": "meV/atom", "force": "meV/A", "stress": "GPa", "pressure": "GPa"}


@dataclass(frozen=True)
class ErrorTable:
    """Errors predicted minus reference: rmse, mae, bias map energy (meV/atom), force (meV/A), stress and
    pressure (GPa) to arrays (members,); count: number of labels behind each."""

    rmse: dict[str, np.ndarray]
    mae: dict[str, np.ndarray]
    bias: dict[str, np.ndarray]
    count: dict[str, int]

    def rows(self) -> list[tuple[str, ...]]:
        """(quantity, unit, labels, RMSE, MAE, bias) as text; committees as mean +- standard deviation."""
        columns = self.rmse, self.mae, self.bias
        return [
            (q, UNITS[q], str(self.count[q]), *(_text(values[q]) for values in columns)) for q in self.rmse
        ]

    def __str__(self) -> str:
        line = "{:9} {:9} {:>7}  {:>18} {:>18} {:>18}"
        return "\n".join(line.format(*row) for row in (HEADER, *self.rows()))

    def _repr_html_(self) -> str:
        cells = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in self.rows())
        names = "".join(f"<th>{c}</th>" for c in HEADER)
        return f"<table><thead><tr>{names}</tr></thead><tbody>{cells}</tbody></table>"


def _text(values: np.ndarray) -> str:
    if len(values) == 1:
        return f"{values[0]:.4g}"
    return f"{values.mean():.4g} ± {values.std(ddof=1):.2g}"


def predict(potential: Potential, frames: Sequence[Atoms]) -> list[dict[str, np.ndarray]]:
    """What a potential says of frames: of each a dict of arrays, members in front, also of a single one.

    energy: (members,) eV. forces: (members, N, 3) eV/A. stress: (members, 6) eV/A^3, ASE's sign and order
    (xx, yy, zz, yz, xz, xy), of frames that have stress (not of clusters). Raises ValueError,
    naming the atom, for species that the potential does not know and for atoms that overlap.
    """
    results, quick, members = [], fast(potential), potential.members
    for atoms in frames:
        result = quick.evaluate(Structures.from_ase(atoms, device=potential.device or "cpu"))
        energy, forces = result.energy.reshape(members), result.forces.reshape(members, -1, 3)
        found = {"energy": energy, "forces": forces}
        if has_stress(atoms):
            found["stress"] = result.stress.reshape(members, 3, 3)[:, VOIGT[0], VOIGT[1]]
        results.append({name: value.cpu().numpy() for name, value in found.items()})
    return results


def errors(potential: Potential, frames: Sequence[Atoms]) -> ErrorTable:
    """RMSE, MAE and bias of energies per atom, force components, stress components and pressure.

    Frames may lack labels; what is missing is left out. Raises ValueError if no frame has any label.
    """
    frames = listed([frames] if isinstance(frames, Atoms) else frames, "frames")
    differences: dict[str, list[np.ndarray]] = {name: [] for name in UNITS}
    for atoms, found in zip(frames, predict(potential, frames), strict=True):
        U, F, W = labels_of(atoms)
        if _given(U):
            differences["energy"].append((found["energy"] - U.numpy())[:, None] / len(atoms) / meV)
        if _given(F):
            differences["force"].append((found["forces"] - F.numpy()).reshape(len(found["forces"]), -1) / meV)
        if _given(W):
            stress = found["stress"] + W.numpy() / atoms.cell.volume
            differences["stress"].append(stress / GPa)
            differences["pressure"].append(-stress[:, :3].mean(1, keepdims=True) / GPa)
    d = {name: np.concatenate(parts, axis=1) for name, parts in differences.items() if parts}
    if not d:
        raise ValueError(f"none of the {len(frames)} frames has an energy, force or stress label")
    return ErrorTable(
        {name: np.sqrt((x**2).mean(1)) for name, x in d.items()},
        {name: abs(x).mean(1) for name, x in d.items()},
        {name: x.mean(1) for name, x in d.items()},
        {name: x.shape[1] for name, x in d.items()},
    )


def _given(label: Tensor) -> bool:
    return bool(torch.isfinite(label).all())
