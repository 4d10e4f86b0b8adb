"""The records of results/full/conductivity.json: means over fits of a kind, with standard errors."""

import numpy as np

from mlipbook.averages import Value
from mlipbook.studies.conductivity.readings import MODELS, Numbers
from mlipbook.studies.conductivity.runs import REFERENCE_FIELDS


def of_kind(values: list[float], kind: str) -> np.ndarray:
    return np.array(values)[[name.startswith(f"{kind} ") for name in MODELS]]


def over_seeds(values: list[float], kind: str, unit: str, errors: list[float] | None = None) -> dict:
    """Mean over five fits; its error from their scatter or, if larger, from the noise of their runs."""
    x = of_kind(values, kind)
    noise = 0.0 if errors is None else np.sqrt(np.mean(of_kind(errors, kind) ** 2))
    return Value(x.mean(), max(x.std(ddof=1), noise) / len(x) ** 0.5, len(x)).record(unit)


def records_of(errors: Numbers, readings: Numbers, reference: Numbers, enthalpy: Numbers) -> dict[str, dict]:
    units = {"force": "meV/A", "energy": "meV/atom"}
    own = enthalpy["reference"]
    records = {"reference: heat with silver": Value(own["h"], own["error"], own["replicas"]).record("eV")}
    for name, x in reference.items():
        records[f"reference, {name}"] = Value(x["kappa"], x["error"], own["replicas"]).record("W/m/K")
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


def records_of_fields(table: Numbers, lengths: Numbers) -> dict[str, dict]:
    n = lengths["reference, HNEMD, each field"]["replicas"]
    each = zip(REFERENCE_FIELDS, table["kappa"], table["error"], strict=True)
    return {
        f"reference, HNEMD at {name}": Value(kappa, error, n).record("W/m/K") for name, kappa, error in each
    }


def largest(found: Numbers, reference: Numbers, kind: str) -> dict:
    """Of a fit of this kind from the reference, with the errors of both."""
    gaps = abs(of_kind(found["kappa"], kind) - reference["kappa"])
    error = of_kind(found["error"], kind)[gaps.argmax()]
    return Value(gaps.max(), np.hypot(error, reference["error"]), 1).record("W/m/K")
