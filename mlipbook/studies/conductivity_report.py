"""results/full/conductivity.json from the runs of `conductivity`: Fig. 3 in three readings.

    python -m mlipbook.studies.conductivity_report --folder F

As trained: Eq. 10-11 as they stand, in the zero of atomic energies that a fit happens to leave. Matched
energies: each species' mean atomic energy shifted to the reference's. Gauge fixed: the heat h that goes with
silver taken off. At zero mass current: L_qq - L_q1^2/L_11, the same in every gauge.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase.data import atomic_masses, atomic_numbers
from torch import Tensor

from mlipbook import bookkit
from mlipbook.ann import load
from mlipbook.averages import average
from mlipbook.heat import predicted_error
from mlipbook.heat.hnemd import Response
from mlipbook.potentials import AgSe, Evaluation
from mlipbook.structures import Structures
from mlipbook.studies.conductivity import (
    DEFINITIONS,
    GAUGE_LAG,
    MODELS,
    REFERENCE_FIELDS,
    coefficients,
    enthalpies,
    integrals,
    less_I,
    response,
    shares,
)
from mlipbook.units import GPa, meV, ps

READINGS = ("as trained", "matched energies", "gauge fixed", "zero mass current")
VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])
Numbers = dict[str, Any]


# ---- what the fits miss --------------------------------------------------------------------------------


def errors_of(folder: Path) -> tuple[Numbers, Numbers]:
    """Errors of each model on the validation frames, and mean atomic energies of silver and selenium, eV."""
    frames = list(ase.io.iread(folder / "valid.xyz"))
    structures = Structures.from_ase(frames)
    found, right = load(folder / "potentials.npz").evaluate(structures), AgSe().evaluate(structures)
    stress = (found.stress - right.stress)[..., VOIGT[0], VOIGT[1]] / GPa  # (models, frames, 6)
    energy = (found.energy - right.energy) / structures.n_atoms / meV
    errors = {
        "stress": rms(stress),
        "fluctuating stress": rms(stress - stress.mean(1, keepdim=True)),
        "pressure": -stress[..., :3].mean((1, 2)),
        "force": rms((found.forces - right.forces) / meV),
        "energy": rms(energy),
    }
    energies = {"reference": by_species(right, structures), "students": by_species(found, structures)}
    return {name: x.tolist() for name, x in errors.items()}, energies


def rms(x: Tensor) -> Tensor:
    """Of each model, over all that follows the first axis."""
    return x.flatten(1).square().mean(1).sqrt()


def by_species(result: Evaluation, structures: Structures) -> Numbers:
    masks = {z: torch.tensor([s == z for s in structures.symbols]) for z in ("Ag", "Se")}
    return {z: result.energies[..., mask].mean((-2, -1)).tolist() for z, mask in masks.items()}


# ---- Green-Kubo ----------------------------------------------------------------------------------------


def to_match(energies: Numbers) -> np.ndarray:
    """c (models,), eV: matching the energies of silver, and so those of selenium, adds c V_Ag to the flux."""
    silver, selenium = (
        np.array(energies["reference"][z]) - np.array(energies["students"][z]) for z in ("Ag", "Se")
    )
    ag, se = (atomic_masses[atomic_numbers[z]] for z in ("Ag", "Se"))
    return silver - selenium * ag / se  # V_Se = -(m_Ag/m_Se) V_Ag at zero total momentum


def readings_of(found: Any, models: int, shifts: np.ndarray) -> dict[str, dict[str, Numbers]]:
    """reading -> definition -> kappa and error (models,), W/m/K, of Green-Kubo integrals to GAUGE_LAG."""
    at = lag_of(found)
    out: dict[str, dict[str, Numbers]] = {name: {} for name in READINGS}
    for X in DEFINITIONS:
        parts = shares(len(found["correlations"]), models)
        trained = [integrals(found, part, X) for part in parts]
        matched = [integrals(found, part, X, c) for part, c in zip(parts, shifts, strict=True)]
        out["as trained"][X] = as_lists([(x[0][at], x[1][at]) for x in trained])
        out["matched energies"][X] = as_lists([(x[0][at], x[1][at]) for x in matched])
        out["gauge fixed"][X] = as_lists([gauge_fixed(found, part, X, at) for part in parts])
        out["zero mass current"][X] = as_lists([(x[2][at], x[3][at]) for x in trained])
    return out


def gauge_fixed(found: Any, part: slice, definition: str, at: int) -> tuple[float, float]:
    """L_qq of half the replicas, less the h of the others (its own would fit its noise), and reversed."""
    middle = (part.start + part.stop) // 2
    halves = slice(part.start, middle), slice(middle, part.stop)
    values = []
    for one, other in (halves, halves[::-1]):
        h = float(integrals(found, one, definition)[4][at])
        kappa, error, *_ = integrals(found, other, definition, -h)
        values.append((float(kappa[at]), float(error[at])))
    (x, dx), (y, dy) = values
    return (x + y) / 2, float(np.hypot(dx, dy)) / 2


def as_lists(values: list[tuple[Any, Any]]) -> Numbers:
    return {"kappa": [float(x) for x, _ in values], "error": [float(e) for _, e in values]}


def curves_of(found: Any, names: list[str], definitions: tuple[str, ...]) -> Numbers:
    """Green-Kubo integrals against their longest lag, of each model and definition."""
    out = {}
    for name, part in zip(names, shares(len(found["correlations"]), len(names)), strict=True):
        for X in definitions:
            raw, raw_error, corrected, corrected_error, *_ = integrals(found, part, X)
            title = name if len(definitions) == 1 else f"{name}, {X}"
            curves = {"raw": raw, "raw_error": raw_error}
            curves |= {"corrected": corrected, "corrected_error": corrected_error}
            out[title] = {key: rounded(x[::5]) for key, x in curves.items()}
    return out


def rounded(x: Tensor) -> list[float]:
    return [float(f"{value:.5g}") for value in x.tolist()]


# ---- HNEMD of the reference ----------------------------------------------------------------------------


def fields_of(found: Any, reference: Numbers) -> tuple[Numbers, Numbers]:
    """Response of the reference to each of its fields; running averages of the replicas at the paper's.

    Errors are predicted from the conductivity in equilibrium, not from what is to be judged.
    """
    parts = shares(found["flux"].shape[1], len(REFERENCE_FIELDS))
    each = [response(found, part) for part in parts]
    table: Numbers = {"names": list(REFERENCE_FIELDS), "field": [float(x.field[0, 0]) for x in each]}
    for name, values in {
        "kappa": [x.kappa for x in each],
        "across": [x.across for x in each],
        "temperature": [average(x.temperature) for x in each],
        "silver": [x.onsager("Ag") for x in each],
    }.items():
        table[name] = [v.value for v in values]
        table["error" if name == "kappa" else f"{name}_error"] = [v.error for v in values]
    equilibrium = [
        reference["gauge fixed" if share else "as trained"]["kappa"] for _, share in REFERENCE_FIELDS.values()
    ]
    table["predicted_error"] = [
        predicted_error(abs(F), kappa, x.volume, length(x) * x.flux.shape[1])
        for F, kappa, x in zip(table["field"], equilibrium, each, strict=True)
    ]
    return table, running_of(each[0], equilibrium[0])


def length(found: Response) -> float:
    """Of each replica, internal time."""
    return found.interval * found.flux.shape[0]


def running_of(found: Response, equilibrium: float) -> Numbers:
    time, kappa = found.running()
    field = float(found.field[0, 0])
    envelope = [predicted_error(field, equilibrium, found.volume, t) for t in time.tolist()]
    return {
        "time": (time / ps).tolist(),
        "kappa": [rounded(x) for x in kappa.T],
        "center": equilibrium,
        "predicted": envelope,
    }


# ---- the whole -----------------------------------------------------------------------------------------


def record(value: float, sem: float | None, n: int, unit: str) -> dict:
    return {"value": float(value), "sem": None if sem is None else float(sem), "n": n, "unit": unit}


def of_kind(values: list[float], kind: str) -> np.ndarray:
    return np.array(values)[[name.startswith(f"{kind} ") for name in MODELS]]


def over_seeds(values: list[float], kind: str, unit: str, errors: list[float] | None = None) -> dict:
    """Mean over five fits; its error from their scatter or, if larger, from the noise of their runs."""
    x = of_kind(values, kind)
    noise = 0.0 if errors is None else np.sqrt(np.mean(of_kind(errors, kind) ** 2))
    return record(x.mean(), max(x.std(ddof=1), noise) / len(x) ** 0.5, len(x), unit)


def records_of(errors: Numbers, readings: Numbers, reference: Numbers, enthalpy: Numbers) -> dict[str, dict]:
    units = {"force": "meV/A", "energy": "meV/atom"}
    own = enthalpy["reference"]
    records = {"reference: heat with silver": record(own["h"], own["error"], own["replicas"], "eV")}
    for name, x in reference.items():
        records[f"reference, {name}"] = record(x["kappa"], x["error"], own["replicas"], "W/m/K")
    for kind in ("EF", "EFP"):
        for name, values in errors.items():
            records[f"{kind}: {name} error"] = over_seeds(values, kind, units.get(name, "GPa"))
        for reading, by_definition in readings.items():
            for X, found in by_definition.items():
                title = f"{kind}, {X}, {reading}"
                records[title] = over_seeds(found["kappa"], kind, "W/m/K", found["error"])
                if reading in reference:
                    records[f"{title}: largest distance"] = largest(found, reference[reading], kind)
    return records


def largest(found: Numbers, reference: Numbers, kind: str) -> dict:
    """Of a fit of this kind from the reference, with the errors of both."""
    gaps = abs(of_kind(found["kappa"], kind) - reference["kappa"])
    error = of_kind(found["error"], kind)[gaps.argmax()]
    return record(gaps.max(), np.hypot(error, reference["error"]), 1, "W/m/K")


def equilibrium_part(own: Any, students: Any, energies: Numbers) -> Numbers:
    """All that the equilibrium runs tell."""
    at, parts = lag_of(students), shares(len(students["correlations"]), len(MODELS))
    readings = readings_of(students, len(MODELS), to_match(energies))
    readings["less I"] = {
        X: as_lists([(x[at], error[at]) for x, error in (less_I(students, part, X) for part in parts)])
        for X in ("II", "III")
    }
    reference = {
        name: {key: x[0] for key, x in table["I"].items()}
        for name, table in readings_of(own, 1, np.zeros(1)).items()
    }
    h, h_error = (float(x[0]) for x in enthalpies(own, 1, "I"))
    enthalpy: Numbers = {"reference": {"h": h, "error": h_error, "replicas": len(own["correlations"])}}
    onsager: Numbers = {"reference": onsager_of(own, slice(None), "I")}
    for X in DEFINITIONS:
        h_of, errors = enthalpies(students, len(MODELS), X)
        enthalpy[X] = {"h": h_of.tolist(), "error": errors.tolist()}
        onsager[X] = [onsager_of(students, part, X) for part in parts]
    curves = curves_of(own, ["reference"], ("I",)) | curves_of(students, MODELS, tuple(DEFINITIONS))
    lags = torch.arange(1, own["correlations"].shape[1], 5)
    curves["time"] = rounded(lags * float(own["interval"]) / ps)
    temperature = students["temperature"].reshape(len(MODELS), -1).mean(1).tolist()
    return {
        "readings": readings,
        "reference": reference,
        "enthalpy": enthalpy,
        "onsager": onsager,
        "green_kubo": curves,
        "temperature": {"reference": float(own["temperature"].mean()), "students": temperature},
        "lengths": {"reference, Green-Kubo": run_of(own), "a fit, Green-Kubo": run_of(students, len(MODELS))},
    }


def lag_of(found: Any) -> int:
    """Index of GAUGE_LAG, at which integrals are read."""
    return round(GAUGE_LAG / float(found["interval"])) - 1


def onsager_of(found: Any, part: slice, definition: str) -> Numbers:
    """L_q1 (W/m/K per eV) and L_11 (W/m/K per eV^2), value and error, gauge as trained."""
    L, error = (x[lag_of(found)] for x in coefficients(found, part, definition))
    return {name: [float(L[k, 1]), float(error[k, 1])] for k, name in enumerate(("L_q1", "L_11"))}


def run_of(found: Any, models: int = 1) -> Numbers:
    """Replicas of a model, and how long each is, ps (None where it was not kept)."""
    replicas, time = len(found["correlations"]) // models, None
    if "flux" in found:
        time = len(found["flux"]) * float(found["interval"]) / ps
    if "length" in found:
        time = float(found["length"]) / ps
    return {"replicas": replicas, "ps": time}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", default="results/full/conductivity.json")
    given = parser.parse_args()
    folder = given.folder
    errors, energies = errors_of(folder)
    own, students = (np.load(folder / f"equilibrium-{name}.npz") for name in ("reference", "students"))
    arrays: Numbers = {"models": MODELS, "errors": errors, "atomic_energies": energies}
    arrays |= equilibrium_part(own, students, energies)
    records = records_of(errors, arrays["readings"], arrays["reference"], arrays["enthalpy"])
    runs = [students, own]
    if (folder / "heat-reference.npz").exists():
        found = np.load(folder / "heat-reference.npz")
        runs.append(found)
        arrays["fields"], arrays["running"] = fields_of(found, arrays["reference"])
        replicas = found["flux"].shape[1] // len(REFERENCE_FIELDS)
        time = len(found["flux"]) * float(found["interval"]) / ps
        arrays["lengths"]["reference, HNEMD, each field"] = {"replicas": replicas, "ps": time}
        for k, name in enumerate(REFERENCE_FIELDS):
            kappa, error = arrays["fields"]["kappa"][k], arrays["fields"]["error"][k]
            records[f"reference, HNEMD at {name}"] = record(kappa, error, replicas, "W/m/K")
    arrays["commits"] = sorted({str(x["commit"]) for x in runs})
    device = ", ".join(sorted({str(x["device"]) for x in runs}))
    bookkit.save_result(given.out, records, sum(float(x["seconds"]) for x in runs), 0, device, **arrays)


if __name__ == "__main__":
    main()
