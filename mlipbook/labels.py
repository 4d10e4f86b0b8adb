"""Labels: energies, forces and stresses of many structures from any ASE calculator, resumable and parallel.

    frames = label(structures, EMT())                                          here, one after the other
    frames = label(structures, make_dft, "labels", client.get_executor())      on a cluster; see campaign

A run that was killed continues from its store; one structure that fails does not stop the others.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator

from mlipbook import campaign
from mlipbook.calculator import Calculator
from mlipbook.structures import Structures, has_stress


def label(
    structures: Structures | Iterable[Atoms],
    calculator: Any,
    store: str | os.PathLike[str] | None = None,
    executor: Any = None,
) -> list[Atoms]:
    """Copies of the structures with energy (eV), forces (eV/A), stress (eV/A^3, ASE's sign; not of clusters).

    calculator: an ASE calculator, or a function that makes one (for calculators that cannot be pickled or
    shared). store: folder that keeps each finished label, found again by the structure and the calculator's
    name and parameters. executor: as in `campaign.run`. info["provenance"] of each frame holds calculator,
    parameters, versions, date and, if it has one, the calculator's `report` (JSON types); extxyz files keep
    it.

    Structures that failed are left out, and a warning lists them with their reasons.
    """
    given = structures.to_ase() if isinstance(structures, Structures) else structures
    frames = [atoms.copy() for atoms in given]
    description = _describe(_instance(calculator))
    jobs = [{"structure": _bare(atoms), "calculator": description} for atoms in frames]
    try:
        labels = campaign.run(SinglePoint(calculator), jobs, executor, store)
    except campaign.CampaignError as error:
        labels = error.results
        warnings.warn(_report(frames, labels), stacklevel=2)
    labeled = []
    for atoms, result in zip(frames, labels, strict=True):
        if not isinstance(result, campaign.Failure):
            atoms.calc = SinglePointCalculator(atoms, **result["results"])
            atoms.info["provenance"] = {**description, **result["made"]}
            labeled.append(atoms)
    return labeled


@dataclass(frozen=True)
class SinglePoint:
    """The calculation of one structure, as a job of a campaign."""

    calculator: Any

    def __call__(self, job: dict[str, Any]) -> dict[str, Any]:
        atoms = job["structure"]
        calculator = _instance(self.calculator)
        results = {}
        # Stress first: asked for it, calculators compute the rest with it.
        for name in (*(["stress"] if has_stress(atoms) else []), "forces", "energy", "free_energy"):
            try:
                results[name] = calculator.get_property(name, atoms)
            except PropertyNotImplementedError:
                if name in ("forces", "energy"):
                    raise
                continue
            if not np.isfinite(results[name]).all():
                raise ValueError(f"{name} is not finite: {results[name]}")
        made = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "versions": _versions(calculator)}
        if report := getattr(calculator, "report", None):  # what it tells of this very calculation
            made["report"] = report
        return {"results": results, "made": made}


def _instance(calculator: Any) -> Any:
    made = hasattr(calculator, "get_property") and not isinstance(calculator, type)
    return calculator if made else calculator()


def _bare(atoms: Atoms) -> Atoms:
    """The structure without what does not matter to a calculator."""
    bare = atoms.copy()
    bare.info = {}
    bare.set_constraint()
    return bare


def _describe(calculator: Any) -> dict[str, Any]:
    """Name and parameters of a calculator, JSON types; of a potential of ours a hash of its numbers, too."""
    parameters = dict(getattr(calculator, "parameters", None) or {})
    if isinstance(calculator, Calculator):
        numbers = [tensor.cpu().numpy() for tensor in calculator.potential.state_dict().values()]  # type: ignore[attr-defined]
        energies = getattr(calculator.potential, "reference_energies", None)
        content = b"".join([array.tobytes() for array in numbers] + [str(energies).encode()])
        parameters["potential"] = f"{calculator.potential}, SHA-256 {hashlib.sha256(content).hexdigest()}"
    return {
        "calculator": f"{type(calculator).__module__}.{type(calculator).__qualname__}",
        "parameters": json.loads(json.dumps(parameters, default=str, sort_keys=True)),
    }


def _versions(calculator: Any) -> dict[str, str]:
    """Of Python, the calculator's package, and ours."""
    found = {"python": platform.python_version()}
    for package in ("mlipbook", "ase", "numpy", "torch", type(calculator).__module__.split(".")[0]):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _report(frames: list[Atoms], labels: list[Any]) -> str:
    failed = [
        f"  structure {i} ({atoms.get_chemical_formula()}): {result.error}"
        for i, (atoms, result) in enumerate(zip(frames, labels, strict=True))
        if isinstance(result, campaign.Failure)
    ]
    return "\n".join([f"{len(failed)} of {len(frames)} structures have no label:", *failed])
