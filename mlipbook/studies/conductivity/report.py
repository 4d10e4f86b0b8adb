"""results/full/conductivity.json from the runs of `conductivity`: all that chapter 11 draws and judges.

python -m mlipbook study conductivity.report --folder F
"""

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from torch import Tensor

from mlipbook import archive, bookkit
from mlipbook.averages import average
from mlipbook.heat import predicted_error
from mlipbook.heat.hnemd import Response
from mlipbook.potentials import AgSe, Evaluation
from mlipbook.potentials.ann import load
from mlipbook.structures import Structures
from mlipbook.studies.command import Result, command, kept_records
from mlipbook.studies.conductivity.readings import (
    DEFINITIONS,
    MODELS,
    Numbers,
    enthalpies,
    fluxes_of,
    integrals,
    onsager_of,
    paired,
    readings_of,
    replicas_of,
    response,
    to_match,
    undisturbed,
)
from mlipbook.studies.conductivity.records import records_of, records_of_fields
from mlipbook.studies.conductivity.runs import REFERENCE_FIELDS, RUNS
from mlipbook.units import GPa, meV, ps

VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


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


def curves_of(found: Any, names: list[str], definitions: tuple[str, ...]) -> Numbers:
    """Green-Kubo integrals against their longest lag, of each model and definition."""
    out = {}
    for name, part in zip(names, replicas_of(found, len(names)), strict=True):
        for X in definitions:
            raw, raw_error, corrected, corrected_error, *_ = integrals(found, part, X)
            title = name if len(definitions) == 1 else f"{name}, {X}"
            curves = {"raw": raw, "raw_error": raw_error}
            curves |= {"corrected": corrected, "corrected_error": corrected_error}
            out[title] = {key: rounded(x[::5]) for key, x in curves.items()}
    return out


def rounded(x: Tensor) -> list[float]:
    return [float(f"{value:.5g}") for value in x.tolist()]


# ---- under a field -------------------------------------------------------------------------------------


def columns_of(each: list[Response]) -> Numbers:
    """Of each of these driven runs: kappa and its error, what flows across, temperature, response of silver
    (L_1q; of a color field L_11, and no kappa).
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
    return columns


def fields_of(found: Any, reference: Numbers) -> tuple[Numbers, Numbers]:
    """Response of the reference to each of its fields; running averages of the replicas at the paper's.

    Errors are predicted from the conductivity in equilibrium, not from what is to be judged.
    """
    each = [response(found, part) for part in replicas_of(found, len(REFERENCE_FIELDS))]
    table: Numbers = {"names": list(REFERENCE_FIELDS), **columns_of(each)}
    equilibrium = [
        reference["gauge fixed" if share else "as trained"]["kappa"] for _, share in REFERENCE_FIELDS.values()
    ]
    table["predicted_error"] = predicted_errors(each, equilibrium)
    return table, running_of(each[0], equilibrium[0])


def predicted_errors(each: list[Response], kappas: list[float]) -> list[float]:
    """Of the conductivities that these runs give, if they are kappas; W/m/K."""
    return [
        predicted_error(abs(float(x.field[0, 0])), kappa, x.volume, x.interval * x.temperature.numel())
        for x, kappa in zip(each, kappas, strict=True)
    ]


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


def equilibrium_part(own: Any, students: Any, energies: Numbers) -> Numbers:
    """All that the equilibrium runs tell."""
    readings = readings_of(students, len(MODELS), to_match(energies)) | paired(students, len(MODELS))
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
        onsager[X] = [onsager_of(students, part, X) for part in replicas_of(students, len(MODELS))]
    curves = curves_of(own, ["reference"], ("I",)) | curves_of(students, MODELS, tuple(DEFINITIONS))
    lags = torch.arange(1, own["correlations"].shape[1], 5)
    curves["time"] = rounded(lags * float(own["interval"]) / ps)
    temperature = [float(students["temperature"][part].mean()) for part in replicas_of(students, len(MODELS))]
    collisions = {}
    if "J_ref" in fluxes_of(students):
        each = zip(replicas_of(students, len(MODELS)), undisturbed(students, len(MODELS)), strict=True)
        collisions = {"collisions": [len(own) - len(left) for own, left in each]}
    lengths = {"reference, Green-Kubo": run_of(own, 1), "a fit, Green-Kubo": run_of(students, len(MODELS))}
    return {
        "readings": readings,
        "reference": reference,
        "enthalpy": enthalpy,
        "onsager": onsager,
        "green_kubo": curves,
        "temperature": {"reference": float(own["temperature"].mean()), "students": temperature},
        "lengths": lengths,
        **collisions,
    }


def driven_part(runs: Numbers, reference: Numbers) -> Numbers:
    """All that runs under fields tell, of those that are there: the reference's, the fits', and L_11."""
    out: Numbers = {"lengths": {}}
    for name, found in runs.items():
        kind = name.split("-")[0]
        if name == "heat-reference":
            out["fields"], out["running"] = fields_of(found, reference)
            out["lengths"]["reference, HNEMD, each field"] = run_of(found, len(REFERENCE_FIELDS))
        elif kind != "equilibrium":
            copies, color = RUNS[name][1], "Ag" if kind == "color" else None
            each = [response(found, part, color) for part in replicas_of(found, copies)]
            out[name] = columns_of(each)
            if kind == "heat":
                kappas = [reference["gauge fixed"]["kappa"]] * copies
                out[name]["predicted_error"] = predicted_errors(each, kappas)
            out["lengths"][name] = run_of(found, copies)
    return out


def under_a_field(driven: Numbers, long: Numbers) -> tuple[Numbers, Numbers]:
    """One more reading: definition -> kappa and error of the fits; and of the reference, from records of
    `conductivity.reference`.
    """
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
    records = records_of(errors, found["readings"], found["reference"], found["enthalpy"])
    if "fields" in driven:
        records |= records_of_fields(driven["fields"], found["lengths"])
    arrays = {"models": MODELS, "errors": errors, "atomic_energies": energies, **found, **driven}
    arrays["broken"] = {name: len(x["broken"]) for name, x in runs.items() if "broken" in x}
    arrays["commits"] = sorted({str(x["commit"]) for x in runs.values()})
    device = ", ".join(sorted({str(x["device"]) for x in runs.values()}))
    return Result(records, arrays, sum(float(x["seconds"]) for x in runs.values()), device)
