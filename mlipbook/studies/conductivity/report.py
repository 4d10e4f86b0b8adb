"""results/full/conductivity.json from the runs of `conductivity`: all that chapter 11 draws and judges.

python -m mlipbook study conductivity.report --folder F
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from torch import Tensor

from mlipbook import archive, bookkit
from mlipbook.averages import Value, average
from mlipbook.heat import predicted_error
from mlipbook.heat.hnemd import Response
from mlipbook.potentials import AgSe
from mlipbook.potentials.ann import load
from mlipbook.structures import Structures
from mlipbook.studies.command import Result, command, kept_records
from mlipbook.studies.conductivity import readings
from mlipbook.studies.conductivity.readings import DEFINITIONS, MODELS, Numbers, replicas_of
from mlipbook.studies.conductivity.runs import REFERENCE_FIELDS, RUNS
from mlipbook.studies.conductivity.silver_selenide import rms
from mlipbook.training.derivatives import VOIGT
from mlipbook.units import GPa, meV, ps

# ---- what the fits miss --------------------------------------------------------------------------------


def errors_of(folder: Path) -> tuple[Numbers, Numbers]:
    """Errors of each model on the validation frames, and mean atomic energies of silver and selenium, eV."""
    structures = Structures.from_ase(list(ase.io.iread(folder / "valid.xyz")))
    found, right = load(folder / "potentials.npz").evaluate(structures), AgSe().evaluate(structures)
    stress = (found.stress - right.stress)[..., VOIGT[0], VOIGT[1]] / GPa  # (models, frames, 6)
    errors = {
        "stress": rms(stress),
        "fluctuating stress": rms(stress - stress.mean(1, keepdim=True)),
        "pressure": -stress[..., :3].mean((1, 2)),
        "force": rms((found.forces - right.forces) / meV),
        "energy": rms((found.energy - right.energy) / structures.n_atoms / meV),
    }
    masks = {z: torch.tensor([s == z for s in structures.symbols]) for z in ("Ag", "Se")}
    energies = {
        name: {z: result.energies[..., mask].mean((-2, -1)).tolist() for z, mask in masks.items()}
        for name, result in (("reference", right), ("students", found))
    }
    return {name: x.tolist() for name, x in errors.items()}, energies


# ---- Green-Kubo ----------------------------------------------------------------------------------------


def curves_of(found: Any, names: list[str], definitions: tuple[str, ...]) -> Numbers:
    """Green-Kubo integrals against their longest lag, of each model and definition."""
    out = {}
    for name, part in zip(names, replicas_of(found, len(names)), strict=True):
        for X in definitions:
            curves = readings.integrals(found, part, X)[:4]
            columns = ("raw", "raw_error", "corrected", "corrected_error")
            title = name if len(definitions) == 1 else f"{name}, {X}"
            out[title] = {key: rounded(x[::5]) for key, x in zip(columns, curves, strict=True)}
    return out


def rounded(x: Tensor) -> list[float]:
    return [float(f"{value:.5g}") for value in x.tolist()]


# ---- under a field -------------------------------------------------------------------------------------


def columns_of(each: Sequence[Response], kappas: Sequence[float] = ()) -> Numbers:
    """Of driven runs: kappa, what flows across, temperature, response of silver (L_1q or L_11).

    kappas: in equilibrium, from which errors are predicted, not from what is to be judged.
    """
    columns: Numbers = {"field": [float(x.field[0, 0]) for x in each]}
    for name, values in {
        "kappa": [x.kappa for x in each if not x.color],
        "across": [x.across for x in each if not x.color],
        "temperature": [average(x.temperature) for x in each],
        "silver": [x.onsager("Ag") for x in each],
    }.items():
        columns[name] = [v.value for v in values]
        columns["error" if name == "kappa" else f"{name}_error"] = [v.error for v in values]
    if kappas:
        columns["predicted_error"] = [
            predicted_error(abs(float(x.field[0, 0])), kappa, x.volume, x.interval * x.temperature.numel())
            for x, kappa in zip(each, kappas, strict=True)
        ]
    return columns


def running_of(found: Response, equilibrium: float) -> Numbers:
    """Running averages of the replicas, and how far the conductivity in equilibrium lets them stray."""
    time, kappa = found.running()
    field = float(found.field[0, 0])
    return {
        "time": (time / ps).tolist(),
        "kappa": [rounded(x) for x in kappa.T],
        "center": equilibrium,
        "predicted": [predicted_error(field, equilibrium, found.volume, t) for t in time.tolist()],
    }


# ---- the whole -----------------------------------------------------------------------------------------


def equilibrium_part(own: Any, students: Any, energies: Numbers) -> Numbers:
    """All that the equilibrium runs tell, those of the reference and of the students."""
    parts = replicas_of(students, len(MODELS))
    of_students = readings.readings_of(students, len(MODELS), readings.to_match(energies))
    of_reference = readings.readings_of(own, 1, np.zeros(1))
    [h] = readings.enthalpies(own, 1, "I")
    enthalpy: Numbers = {"reference": {"h": h.value, "error": h.error, "replicas": len(own["correlations"])}}
    onsager: Numbers = {"reference": readings.onsager_of(own, slice(None), "I")}
    for X in DEFINITIONS:
        each = readings.enthalpies(students, len(MODELS), X)
        enthalpy[X] = {"h": [x.value for x in each], "error": [x.error for x in each]}
        onsager[X] = [readings.onsager_of(students, part, X) for part in parts]
    curves = curves_of(own, ["reference"], ("I",)) | curves_of(students, MODELS, DEFINITIONS)
    lags = torch.arange(1, own["correlations"].shape[1], 5)
    curves["time"] = rounded(lags * float(own["interval"]) / ps)
    temperature = [float(students["temperature"][part].mean()) for part in parts]
    found: Numbers = {
        "readings": of_students | readings.paired(students, len(MODELS)),
        "reference": {name: {k: x[0] for k, x in table["I"].items()} for name, table in of_reference.items()},
        "enthalpy": enthalpy,
        "onsager": onsager,
        "green_kubo": curves,
        "temperature": {"reference": float(own["temperature"].mean()), "students": temperature},
        "lengths": {
            "reference, Green-Kubo": run_of(own, 1),
            "a fit, Green-Kubo": run_of(students, len(MODELS)),
        },
    }
    if "J_ref" in readings.fluxes_of(students):
        left = readings.along(students, len(MODELS), "J_ref")
        found["collisions"] = [len(own) - len(some) for own, some in zip(parts, left, strict=True)]
    return found


def driven_part(runs: Numbers, reference: Numbers) -> Numbers:
    """All that runs under fields tell, of those that are there: the reference's, the fits', and L_11."""
    out: Numbers = {"lengths": {}}
    for name, found in runs.items():
        of = RUNS[name]
        if not (of.fields or of.color):
            continue
        each = [readings.response(found, part, of.color) for part in replicas_of(found, of.copies)]
        shares = [share for _, share in of.fields] * of.models
        kappas = [reference["gauge fixed" if share else "as trained"]["kappa"] for share in shares]
        columns, title = columns_of(each, kappas), name
        if name == "heat-reference":
            title = "reference, HNEMD, each field"
            out["fields"] = {"names": list(REFERENCE_FIELDS), **columns}
            out["running"] = running_of(each[0], kappas[0])
        else:
            out[name] = columns
        out["lengths"][title] = run_of(found, of.copies)
    return out


def under_a_field(driven: Numbers, long: Numbers) -> tuple[Numbers, Numbers]:
    """One more reading: definition -> kappa and error of the fits; and of the reference, from long runs."""
    fits = {X: driven.get(f"heat-students-{X}") for X in DEFINITIONS}
    own = long["HNEMD at F and -F"]
    kept: Numbers = {X: {key: x[key] for key in ("kappa", "error")} for X, x in fits.items() if x}
    return kept, {"kappa": own["value"], "error": own["sem"]}


def run_of(found: Any, models: int) -> Numbers:
    """Replicas of a model, and how long each is, ps (None where it was not kept)."""
    replicas, time = min(len(own) for own in replicas_of(found, models)), None
    if "flux" in found:
        time = len(found["flux"]) * float(found["interval"]) / ps
    if "length" in found:
        time = float(found["length"]) / ps
    return {"replicas": replicas, "ps": time}


# ---- records: means over fits of a kind, with standard errors ------------------------------------------


def of_kind(values: Sequence[float], kind: str) -> np.ndarray:
    return np.array(values)[[name.startswith(f"{kind} ") for name in MODELS]]


def over_seeds(
    values: Sequence[float], kind: str, unit: str, errors: Sequence[float] = (0.0,) * len(MODELS)
) -> dict:
    """Mean over five fits; its error from their scatter or, if larger, from the noise of their runs."""
    x, noise = of_kind(values, kind), np.sqrt(np.mean(of_kind(errors, kind) ** 2))
    return Value(x.mean(), max(x.std(ddof=1), noise) / len(x) ** 0.5, len(x)).record(unit)


def records_of(found: Numbers) -> dict[str, dict]:
    """Of all that the report holds."""
    units, reference = {"force": "meV/A", "energy": "meV/atom"}, found["reference"]
    own, n = found["enthalpy"]["reference"], found["enthalpy"]["reference"]["replicas"]
    records = {"reference: heat with silver": Value(own["h"], own["error"], n).record("eV")}
    for name, x in reference.items():
        records[f"reference, {name}"] = Value(x["kappa"], x["error"], n).record("W/m/K")
    for kind in ("EF", "EFP"):
        for name, values in found["errors"].items():
            records[f"{kind}: {name} error"] = over_seeds(values, kind, units.get(name, "GPa"))
        for reading, by_definition in found["readings"].items():
            for X, x in by_definition.items():
                title = f"{kind}, {X}, {reading}"
                records[title] = over_seeds(x["kappa"], kind, "W/m/K", x["error"])
                if reading in reference:
                    gaps = abs(of_kind(x["kappa"], kind) - reference[reading]["kappa"])
                    error = np.hypot(of_kind(x["error"], kind)[gaps.argmax()], reference[reading]["error"])
                    records[f"{title}: largest distance"] = Value(gaps.max(), error, 1).record("W/m/K")
    if fields := found.get("fields"):
        n = found["lengths"]["reference, HNEMD, each field"]["replicas"]
        for name, kappa, error in zip(REFERENCE_FIELDS, fields["kappa"], fields["error"], strict=True):
            records[f"reference, HNEMD at {name}"] = Value(kappa, error, n).record("W/m/K")
    return records


@command(saves="conductivity")
def study(folder: Path) -> Result:
    """What the runs in the folder say."""
    paths = {name: folder / f"{name}.npz" for name in RUNS}
    runs = {name: archive.load_arrays(path) for name, path in paths.items() if path.exists()}
    errors, energies = errors_of(folder)
    found = equilibrium_part(runs["equilibrium-reference"], runs["equilibrium-students"], energies)
    driven = driven_part(runs, found["reference"])
    found["lengths"] |= driven.pop("lengths")
    if any(f"heat-students-{X}" in runs for X in DEFINITIONS):
        long = kept_records(bookkit.full_file("reference-hnemd.json"))
        found["readings"]["under a field"], found["reference"]["under a field"] = under_a_field(driven, long)
    arrays = {"models": MODELS, "errors": errors, "atomic_energies": energies, **found, **driven}
    arrays["broken"] = {name: len(x["broken"]) for name, x in runs.items() if "broken" in x}
    arrays["commits"] = sorted({str(x["commit"]) for x in runs.values()})
    device = ", ".join(sorted({str(x["device"]) for x in runs.values()}))
    return Result(records_of(arrays), arrays, sum(float(x["seconds"]) for x in runs.values()), device)
