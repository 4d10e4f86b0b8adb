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
from mlipbook.studies.melting.ramps import CLOSEST, Plateaus, Ramps
from mlipbook.studies.melting.response import Response
from mlipbook.studies.melting.scores import PHASES, Score, grid_of, melts_at, teacher_error, transitions
from mlipbook.studies.melting.teacher import KINDS, Errors
from mlipbook.studies.stress.training import UNITS
from mlipbook.units import meV

BRANCHES = ("heating", "cooling")
Key = tuple[str, float, float]  # model, rate (K/ps), pressure (GPa)


def count(value: float, unit: str = "") -> dict[str, Any]:
    """A record of what has no error."""
    return Value(value, np.nan, 1).record(unit)


def over_seeds(values: Iterable[float], unit: str, common: float = 0.0) -> dict[str, Any]:
    """Mean over students; its standard error is that over seeds with an error `common` to all of them."""
    return (melting.mean(np.array(list(values))) + Value(0.0, common)).record(unit)


def of_runs(students: Sequence[Value]) -> Value:
    """Mean over students, with the error that the scatter of each one's runs makes; n: all their runs."""
    mean = sum(students, Value(0.0)) / len(students)
    return replace(mean, n=sum(x.n for x in students))


def records_of_kind(kind: str, scores: Mapping[str, Score], teacher: Score) -> dict[str, dict[str, Any]]:
    """Means over the students of a kind; where they are compared with the teacher, its error is included.

    Melting temperatures scatter by the run: their mean's error is that of all replicas. z of the transition
    is that of the mean over students, and its own standard error is 1.
    """
    own = [found for name, found in scores.items() if name.split()[0] == kind]
    wrong = [1 - np.trace(s.labels) / s.labels.sum() for s in own]
    melted = of_runs([s.T_plus for s in own])
    z = Value(melted.z(teacher.T_plus), 1.0, melted.n)
    found = {
        "agreement of phase labels": over_seeds((100 * s.agreement for s in own), "%"),
        "replicas with another label": over_seeds((100 * x for x in wrong), "%"),
        "melting temperature": melted.record("K"),
        "z of the transition on heating": z.record(""),
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


def records_of_teacher(found: Score, response: Response) -> dict[str, dict[str, Any]]:
    return {
        "teacher: melting temperature": found.T_plus.record("K"),
        "teacher: replicas that froze": count(found.froze),
        "teacher: shortest pair": count(found.closest, "A"),
        "teacher: volume step": found.volume_step.record("A^3"),
        "teacher: enthalpy step": found.enthalpy_step.record("meV/atom"),
        "teacher: bulk modulus, solid": response.bulk_modulus[0].record("GPa"),
        "teacher: bulk modulus, liquid": response.bulk_modulus[1].record("GPa"),
        "teacher: dT/dP of melting on heating": response.melting.record("K/GPa"),
        "teacher: dT/dP by Clapeyron": response.clapeyron.record("K/GPa"),
    }


def records_of_errors(errors: Errors, prefix: str = "") -> dict[str, dict[str, Any]]:
    """Held-out errors of a committee of students, EF and EFP, over seeds."""
    out: dict[str, dict[str, Any]] = {}
    for k, kind in enumerate(KINDS):
        for name, values in errors.rmse.items():
            out[f"{prefix}{kind}: {name} error"] = over_seeds(np.split(values, 2)[k], UNITS[name])
        for phase in PHASES:
            bias = np.split(errors.pressure[phase], 2)[k]
            out[f"{prefix}{kind}: pressure bias, {phase}"] = over_seeds(bias, "GPa")
        delta = np.split(errors.energy["liquid"] - errors.energy["solid"], 2)[k]
        frames = np.hypot(errors.energy_sem["liquid"], errors.energy_sem["solid"]).mean()  # the same for all
        name = f"{prefix}{kind}: energy error of the liquid less that of the solid"
        out[name] = over_seeds(delta, "meV/atom", float(frames))
    return out


def records_of_teacher_errors(errors: Mapping[str, Errors]) -> dict[str, dict[str, Any]]:
    """Errors of the teacher on real test frames, by group; pressure biases with their error over frames."""
    out: dict[str, dict[str, Any]] = {}
    for group, found in errors.items():
        n = sum(found.frames.values())
        for name, values in found.rmse.items():
            item = Value(values[0], np.nan, n).record(UNITS[name])
            out[f"teacher: {name} error, {group} test frames"] = item
        for phase, bias in found.pressure.items():
            value = Value(bias[0], found.pressure_sem[phase][0], found.frames[phase])
            out[f"teacher: pressure bias, {phase}, {group} test frames"] = value.record("GPa")
    return out


def records_of_rates(by_rate: Mapping[float, Ramps]) -> dict[str, dict[str, Any]]:
    """What the rate does to the teacher: when it melts, how many freeze, how much order the rest gains."""
    out: dict[str, dict[str, Any]] = {}
    for rate, found in sorted(by_rate.items()):
        plus, minus = transitions(found)
        out[f"teacher: melting temperature, {rate:g} K/ps"] = melts_at(found).record("K")
        out[f"teacher: replicas that melted, {rate:g} K/ps"] = count(int(np.isfinite(plus).sum()))
        out[f"teacher: replicas that froze, {rate:g} K/ps"] = count(int(np.isfinite(minus).sum()))
        if np.isfinite(minus).sum() > 1:
            freezes = melting.mean(minus).record("K")
            out[f"teacher: freezing temperature of those that froze, {rate:g} K/ps"] = freezes
        coldest = grid_of(found, "q6")[melting.COOLING, :, 0]
        out[f"teacher: Q6 at the end of cooling, {rate:g} K/ps"] = melting.mean(coldest).record("")
    return out


def records_of_coverage(
    committee: ANNPotential, groups: Mapping[str, Sequence[Atoms]]
) -> dict[str, dict[str, Any]]:
    """Spread of the EFP-fits to real labels on groups of frames: the same where the labels cover both."""
    spreads: dict[str, dict[str, Any]] = {}
    for group, frames in groups.items():
        found = [x["forces"][committee.members // 2 :] for x in predict(committee, frames)]
        spread = np.array([np.sqrt(forces.var(axis=0, ddof=1).mean()) for forces in found]) / meV
        spreads[f"spread of forces, {group}"] = melting.mean(spread).record("meV/A")
        spreads[f"largest spread of forces, {group}"] = count(float(spread.max()), "meV/A")
    return spreads


def records_of_first_students(ramps: Mapping[Key, Ramps]) -> dict[str, dict[str, Any]]:
    """How many replicas students lost that had not been taught hot liquids, and where the first."""
    lost = [(found, b, i) for found in ramps.values() for b, i in np.argwhere(found.lost)]
    everyone = sum(found.lost.size for found in ramps.values())
    heated = [first_close(found, b, i) for found, b, i in lost if b == melting.HEATING]
    return {
        "students without hot liquids: replicas": count(everyone),
        "students without hot liquids: replicas lost": count(len(lost)),
        "students without hot liquids: coldest loss on heating": count(min(heated, default=np.nan), "K"),
    }


def first_close(ramps: Ramps, branch: int, replica: int) -> float:
    """Temperature at which a replica first has a pair closer than CLOSEST, K."""
    close = ~(ramps.observed["shortest"][branch, replica] > CLOSEST)
    return float(ramps.temperature[branch, np.argmax(close)])


def records_of_plateaus(held: Mapping[str, Plateaus]) -> dict[str, dict[str, Any]]:
    """Density of students of the real labels at constant temperature, over seeds, and of the teacher.

    Runs that have changed their phase are left out.
    """
    out: dict[str, dict[str, Any]] = {}
    for b, k in np.ndindex(held["teacher"].temperature.shape):
        where = f"density, {PHASES[b]}, {held['teacher'].temperature[b, k]:g} K"
        own = held["teacher"].observed
        if keeps(PHASES[b], own["q6"][b, k]):
            out[f"teacher: {where}"] = of_blocks(own["density"][b, k]).record("g/cm^3")
        for kind in KINDS:
            direct = [p.observed for name, p in held.items() if name.startswith(f"direct {kind} ")]
            same = [x["density"][b, k].mean() for x in direct if keeps(PHASES[b], x["q6"][b, k])]
            out[f"direct {kind}: {where}"] = over_seeds(same, "g/cm^3")
    return out


def keeps(phase: str, q6: np.ndarray) -> bool:
    """Whether a series (samples,) of Q6 is still that of its phase in its last fifth."""
    return bool((q6[-(len(q6) // 5) :].mean() > melting.SOLID) == (phase == "solid"))


def densities(held: Plateaus) -> np.ndarray:
    """Mean of each plateau, (2, n) g/cm^3; nan where the phase has changed."""
    found = held.observed["density"].mean(axis=-1)
    for b, k in np.ndindex(found.shape):
        if not keeps(PHASES[b], held.observed["q6"][b, k]):
            found[b, k] = np.nan
    return found


def of_blocks(series: np.ndarray, blocks: int = 5) -> Value:
    """Mean of a correlated series with the error of the means of equal blocks."""
    return melting.mean(np.array([block.mean() for block in np.array_split(series, blocks)]))
