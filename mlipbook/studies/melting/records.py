"""The verdict on Fig. 1 as records: values with standard errors, under the names that chapter 7 reads.

Means over students have the error over seeds; where they are compared with the teacher, the teacher's own
error, which is common to all, is in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms

from mlipbook.accuracy import predict
from mlipbook.averages import Value
from mlipbook.potentials.ann import ANNPotential
from mlipbook.studies.melting import comparison as melting
from mlipbook.studies.melting.ramps import Plateaus, Ramps
from mlipbook.studies.melting.response import Response
from mlipbook.studies.melting.scores import Score, close, grid_of, melts_at, teacher_error, transitions
from mlipbook.studies.melting.teacher import KINDS, Errors
from mlipbook.studies.sodium import PHASES
from mlipbook.studies.stress.kinds import UNITS
from mlipbook.units import meV

BRANCHES = ("heating", "cooling")
Records = dict[str, dict[str, Any]]
Key = tuple[str, float, float]  # model, rate (K/ps), pressure (GPa)


def count(value: float, unit: str = "") -> dict[str, Any]:
    """A record of what has no error."""
    return Value(value, np.nan, 1).record(unit)


def over_seeds(values: Iterable[float], unit: str, common: float = 0.0) -> dict[str, Any]:
    """Mean over students; its standard error is that over seeds with an error `common` to all of them."""
    return (melting.mean(np.array(list(values))) + Value(0.0, common)).record(unit)


def of_kind(kind: str, scores: Mapping[str, Score], teacher: Score) -> Records:
    """Means over the students of a kind; where they are compared with the teacher, its error is included.

    Melting temperatures scatter by the run: their mean's error is that of all replicas, n: all runs. z of the
    transition is that of the mean over students, and its own standard error is 1.
    """
    own = [found for name, found in scores.items() if name.split()[0] == kind]
    wrong = [1 - np.trace(s.labels) / s.labels.sum() for s in own]
    melted = sum((s.T_plus for s in own), Value(0.0)) / len(own)
    melted = replace(melted, n=sum(s.T_plus.n for s in own))
    found = {
        "agreement of phase labels": over_seeds((100 * s.agreement for s in own), "%"),
        "replicas with another label": over_seeds((100 * x for x in wrong), "%"),
        "melting temperature": melted.record("K"),
        "z of the transition on heating": Value(melted.z(teacher.T_plus), 1.0, melted.n).record(""),
        "replicas that melted": over_seeds((s.melted for s in own), ""),
        "replicas that froze": over_seeds((s.froze for s in own), ""),
        "replicas lost": over_seeds((s.lost for s in own), ""),
        "shortest pair": count(min(s.closest for s in own), "A"),
        "volume step": over_seeds((s.volume_step.value for s in own), "A^3"),
        "enthalpy step": over_seeds((s.enthalpy_step.value for s in own), "meV/atom"),
    }
    for b, (branch, common) in enumerate(zip(BRANCHES, teacher_error(teacher), strict=True)):
        found[f"g(r) within the band, {branch}"] = over_seeds((100 * s.g[b] for s in own), "%")
        found[f"density RMS, {branch}"] = over_seeds((100 * s.density[b] for s in own), "%", 100 * common)
        shifts = (100 * s.volume_shift[b].value for s in own)
        found[f"volume shift, {PHASES[b]}"] = over_seeds(shifts, "%", 100 * common)
    return {f"{kind}: {name}": item for name, item in found.items()}


def of_teacher(own: Score, response: Response) -> Records:
    found = {
        "melting temperature": own.T_plus.record("K"),
        "replicas that froze": count(own.froze),
        "shortest pair": count(own.closest, "A"),
        "volume step": own.volume_step.record("A^3"),
        "enthalpy step": own.enthalpy_step.record("meV/atom"),
        "dT/dP of melting on heating": response.melting.record("K/GPa"),
        "dT/dP by Clapeyron": response.clapeyron.record("K/GPa"),
    }
    moduli = zip(PHASES, response.bulk_modulus, strict=True)
    found |= {f"bulk modulus, {phase}": B.record("GPa") for phase, B in moduli}
    return {f"teacher: {name}": item for name, item in found.items()}


def of_errors(errors: Errors, prefix: str = "") -> Records:
    """Held-out errors of a committee of students, EF and EFP, over seeds."""
    out: Records = {}
    delta = errors.energy["liquid"] - errors.energy["solid"]
    frames = float(delta.error.mean())  # by the frames, which are the same for all
    for k, kind in enumerate(KINDS):
        found = {f"{name} error": (x, UNITS[name], 0.0) for name, x in errors.rmse.items()}
        found |= {f"pressure bias, {phase}": (errors.pressure[phase].value, "GPa", 0.0) for phase in PHASES}
        found["energy error of the liquid less that of the solid"] = delta.value, "meV/atom", frames
        for name, (values, unit, common) in found.items():
            out[f"{prefix}{kind}: {name}"] = over_seeds(np.split(values, 2)[k], unit, common)
    return out


def of_teacher_errors(errors: Mapping[str, Errors]) -> Records:
    """Errors of the teacher on real test frames, by group; pressure biases with their error over frames."""
    out: Records = {}
    for group, found in errors.items():
        n = sum(bias.n for bias in found.pressure.values())
        for name, values in found.rmse.items():
            item = Value(values[0], np.nan, n).record(UNITS[name])
            out[f"teacher: {name} error, {group} test frames"] = item
        for phase, bias in found.pressure.items():
            value = Value(bias.value[0], bias.error[0], bias.n)
            out[f"teacher: pressure bias, {phase}, {group} test frames"] = value.record("GPa")
    return out


def of_rates(by_rate: Mapping[float, Ramps]) -> Records:
    """What the rate does to the teacher: when it melts, how many freeze, how much order the rest gains."""
    out: Records = {}
    for rate, ramps in sorted(by_rate.items()):
        plus, minus = transitions(ramps)
        freezes, coldest = melting.mean(minus), grid_of(ramps, "q6")[melting.COOLING, :, 0]
        found = {
            "melting temperature": melts_at(ramps).record("K"),
            "replicas that melted": count(int(np.isfinite(plus).sum())),
            "replicas that froze": count(freezes.n),
            "Q6 at the end of cooling": melting.mean(coldest).record(""),
        }
        if freezes.n > 1:
            found["freezing temperature of those that froze"] = freezes.record("K")
        out |= {f"teacher: {name}, {rate:g} K/ps": item for name, item in found.items()}
    return out


def of_coverage(committee: ANNPotential, groups: Mapping[str, Sequence[Atoms]]) -> Records:
    """Spread of the EFP-fits to real labels on groups of frames: the same where the labels cover both."""
    spreads: Records = {}
    for group, frames in groups.items():
        found = [x["forces"][committee.members // 2 :] for x in predict(committee, frames)]
        spread = np.array([np.sqrt(forces.var(axis=0, ddof=1).mean()) for forces in found]) / meV
        spreads[f"spread of forces, {group}"] = melting.mean(spread).record("meV/A")
        spreads[f"largest spread of forces, {group}"] = count(float(spread.max()), "meV/A")
    return spreads


def of_first_students(ramps: Mapping[Key, Ramps]) -> Records:
    """How many replicas students lost that had not been taught hot liquids, and where the first."""
    first = [
        x.temperature[b, close(x)[b, i].argmax()] if b == melting.HEATING else np.nan
        for x in ramps.values()
        for b, i in np.argwhere(x.lost)
    ]
    found = {
        "replicas": count(sum(x.lost.size for x in ramps.values())),
        "replicas lost": count(len(first)),
        "coldest loss on heating": count(float(np.fmin.reduce([np.nan, *first])), "K"),
    }
    return {f"students without hot liquids: {name}": item for name, item in found.items()}


def of_plateaus(held: Mapping[str, Plateaus]) -> Records:
    """Density of students of the real labels at constant temperature, over seeds, and of the teacher. Runs
    that have changed their phase are left out."""
    out: Records = {}
    found, teacher = {name: densities(x) for name, x in held.items()}, held["teacher"]
    for b, k in np.ndindex(teacher.temperature.shape):
        where = f"density, {PHASES[b]}, {teacher.temperature[b, k]:g} K"
        if np.isfinite(found["teacher"][b, k]):
            blocks = np.array_split(teacher.observed["density"][b, k], 5)  # of a correlated series
            own = melting.mean(np.array([block.mean() for block in blocks]))
            out[f"teacher: {where}"] = own.record("g/cm^3")
        for kind in KINDS:
            direct = [float(x[b, k]) for name, x in found.items() if name.startswith(f"direct {kind} ")]
            out[f"direct {kind}: {where}"] = over_seeds(direct, "g/cm^3")
    return out


def densities(held: Plateaus) -> np.ndarray:
    """Mean of each plateau, (2, n) g/cm^3; nan where Q6 in the last fifth is no longer that of the phase."""
    q6 = held.observed["q6"]
    solid = q6[..., -(q6.shape[-1] // 5) :].mean(-1) > melting.SOLID
    return np.where(solid == [[True], [False]], held.observed["density"].mean(-1), np.nan)
