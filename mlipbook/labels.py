"""Labels: energies, forces and stresses of many structures from any ASE calculator, resumable and parallel.

    frames = label(structures, EMT())                                          here, one after the other
    frames = label(structures, make_dft, "labels", client.get_executor())      on a cluster; see campaign

A run that was killed continues from its store; one structure that fails does not stop the others.
"""

import json
import os
import platform
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, cast

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator

from mlipbook import archive, campaign
from mlipbook.checks import frames as listed
from mlipbook.potentials import Base, Potential, Wrapper
from mlipbook.potentials.calculator import Calculator
from mlipbook.structures import Structures, has_stress


def label(
    structures: Structures | Iterable[Atoms],
    calculator: Any,
    store: str | os.PathLike[str] | None = None,
    executor: Any = None,
    model: str | None = None,
) -> list[Atoms]:
    """Copies of the structures with energy (eV), forces (eV/A), stress (eV/A^3, ASE's sign; not of clusters).

    calculator: an ASE calculator, a potential of ours, or a function that makes a calculator (for those that
    cannot be pickled or shared). It sees all of a structure but its constraints: atoms.info, too. store:
    folder that keeps each finished label, found again by all that the calculator sees, by its class,
    parameters and attributes (`archive.identity`). model: a word that stands for those attributes, where they
    cannot be known, or say too little: a file that was changed under the same name. executor: as in
    `campaign.run`. info["provenance"] of each frame holds calculator, parameters, versions, date and, if it
    has one, the calculator's `report` (JSON types); extxyz files keep it.

    Structures that failed are left out, and a warning lists them with their reasons. Raises
    archive.Unidentified, a ValueError, for a store without `model` and a calculator that cannot be known.
    """
    given = structures.to_ase() if isinstance(structures, Structures) else structures
    frames, one = [atoms.copy() for atoms in listed(given, "structures")], _instance(calculator)
    description = _describe(one) | ({"model": model} if model else {})
    known = _known(one, model) if store is not None else None
    jobs = [{"structure": _bare(a), "calculator": {**description, "identity": known}} for a in frames]
    try:
        labels = campaign.run(SinglePoint(calculator), jobs, executor, store, name="SinglePoint")
    except campaign.CampaignError as error:
        labels = error.results
        warnings.warn(_report(frames, labels), stacklevel=2)
    labeled = []
    for atoms, result in zip(frames, labels, strict=True):
        if not isinstance(result, campaign.Failure):
            atoms.calc = SinglePointCalculator(atoms, **result["results"])
            atoms.info["provenance"] = {**description, **result["made"]}
            labeled.append(atoms)
    if store is not None and _known(one, model) != known:
        told = (
            f"{type(one).__name__} has other attributes after computing than before, so that the same object"
        )
        way = 'will not find these labels again: give model="...", or a function that makes the calculator'
        warnings.warn(f"{told} {way}", stacklevel=2)
    return labeled


@dataclass(frozen=True)
class SinglePoint:
    """The calculation of one structure, as a job of a campaign."""

    calculator: Any

    def __call__(self, job: dict[str, Any]) -> dict[str, Any]:
        atoms = job["structure"]
        calculator = _instance(self.calculator)
        if isinstance(calculator, BaseCalculator):
            calculator.atoms = None  # it would keep results of the same positions, whatever atoms.info says
        results = {}
        # Stress first: asked for it, calculators compute the rest with it.
        for name in (*(["stress"] if has_stress(atoms) else []), "forces", "energy", "free_energy"):
            try:
                results[name] = calculator.get_property(name, atoms)
            except PropertyNotImplementedError:
                if name in ("forces", "energy"):
                    raise
            if not np.isfinite(results.get(name, 0)).all():
                raise ValueError(f"{name} is not finite: {results[name]}")
        made = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "versions": _versions(calculator)}
        if report := getattr(calculator, "report", None):  # what it tells of this very calculation
            made["report"] = report
        return {"results": results, "made": made}


def _instance(calculator: Any) -> Any:
    if isinstance(calculator, Base | Wrapper):
        return Calculator(cast(Potential, calculator))
    made = hasattr(calculator, "get_property") and not isinstance(calculator, type)
    return calculator if made else calculator()


def _bare(atoms: Atoms) -> Atoms:
    """The structure as a calculator sees it."""
    bare = atoms.copy()
    bare.info.pop("provenance", None)  # of former labels
    bare.arrays.pop("momenta", None)  # of the run that a frame is from
    bare.set_constraint()
    return bare


def _describe(calculator: Any) -> dict[str, Any]:
    """Name and parameters of a calculator, JSON types; of one of ours its potential, too."""
    parameters, kind = dict(getattr(calculator, "parameters", None) or {}), type(calculator)
    if isinstance(calculator, Calculator):
        parameters["potential"] = archive.described(calculator.potential)
    plain = json.loads(json.dumps(parameters, default=str, sort_keys=True))
    return {"calculator": f"{kind.__module__}.{kind.__qualname__}", "parameters": plain}


def _known(calculator: Any, model: str | None) -> str:
    """What tells a calculator from others: all of it, or class, parameters as far as known, and `model`."""
    if model is None:
        try:
            return archive.identity(calculator)
        except archive.Unidentified as error:
            way = 'give label(..., model="..."), a word that changes when labels would, or no store'
            raise archive.Unidentified(f"{error}; {way}") from error
    parts = [type(calculator).__qualname__, archive.identity(model)]
    for item in sorted(dict(getattr(calculator, "parameters", None) or {}).items()):
        with suppress(archive.Unidentified):
            parts.append(archive.identity(item))
    return archive.identity(parts)


def _versions(calculator: Any) -> dict[str, str]:
    """Of Python, the calculator's package, and ours."""
    found = {"python": platform.python_version()}
    for package in ("mlipbook", "ase", "numpy", "torch", type(calculator).__module__.split(".")[0]):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _report(frames: list[Atoms], labels: list[Any]) -> str:
    failed = [
        f"  structure {i} ({frames[i].get_chemical_formula()}): {result.error}"
        for i, result in enumerate(labels)
        if isinstance(result, campaign.Failure)
    ]
    return "\n".join([f"{len(failed)} of {len(frames)} structures have no label:", *failed])
