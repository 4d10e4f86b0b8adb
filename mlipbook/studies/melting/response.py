"""Does a model's pressure or energy error explain how its ramps differ from the teacher's?

The causal law: a model whose pressure is too high by eps_P behaves like the teacher under an outer pressure
of -eps_P. The teacher's ramps under pressure tell what that does to volumes and melting.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlipbook.averages import Value
from mlipbook.studies.melting import comparison as melting
from mlipbook.studies.melting.ramps import Ramps
from mlipbook.studies.melting.scores import Score, melts_at, score, teacher_error
from mlipbook.studies.melting.teacher import KINDS, Errors
from mlipbook.studies.sodium import PHASES
from mlipbook.units import GPa, meV

# dB/dP of bcc sodium in PBE (Bosoni et al., Nat. Rev. Phys. 6, 45 (2024), all-electron), for the liquid, too:
# the teacher's pressure of scaled frames of both phases has it within the error given here (see the tests).
STIFFENING, STIFFENING_ERROR = 3.69, 0.5
Law = tuple[Value, float]  # slope of the line, and chi^2 per degree of freedom


@dataclass(frozen=True)
class Response:
    """What pressure does to the teacher: B = -dP/dlnV (GPa) at zero pressure of solid and liquid, dT_plus/dP
    (K/GPa), and by Clapeyron's equation T_m dV/dH, at the middle of the window (K/GPa); the volume step
    (A^3) that turns a pressure into a difference of energy."""

    bulk_modulus: tuple[Value, Value]
    melting: Value
    clapeyron: Value
    volume_step: Value


def expansion(error: float, bulk_modulus: float) -> float:
    """ln(V/V_0) under an outer pressure of -error (GPa) by Murnaghan's equation of state; about error/B."""
    return float(-np.log1p(-STIFFENING * error / bulk_modulus) / STIFFENING)


def modulus(pressure: float, change: Value) -> Value:
    """B at zero pressure (GPa) from the change of ln V under this one, by the inverse of `expansion`. Its
    error is that of the change and of STIFFENING."""

    def found(stiffening: float) -> float:
        return float(stiffening * pressure / np.expm1(-stiffening * change.value))

    B, unsure = found(STIFFENING), found(STIFFENING + STIFFENING_ERROR) - found(STIFFENING)
    return Value(B, float(np.hypot(B * change.error / change.value, unsure)), change.n)


def response(teacher: Ramps, pressed: Ramps, pressure: float, window: tuple[float, float]) -> Response:
    """From ramps at zero pressure and at this one (GPa)."""
    solid, liquid = score(pressed, teacher, window).volume_shift
    own = score(teacher, teacher, window)
    dV, dH = own.volume_step, own.enthalpy_step
    return Response(
        (modulus(pressure, solid), modulus(pressure, liquid)),
        (melts_at(pressed) - melts_at(teacher)) / pressure,
        sum(window) / 2 * GPa * dV / (dH * meV),
        dV,
    )


def causal_points(
    scores: Mapping[str, Score], errors: Errors, teacher: Score, response: Response
) -> dict[str, np.ndarray]:
    """What a model's error predicts and what the model does: name -> (4, points).

    Rows: predicted, its error, found, its error; errors are the model's own, those of the teacher and its
    response are common to all points (see `causal_law`). "volume": ln(V/V_teacher) = `expansion`(eps_P), of
    solid and liquid of each model; "melting": T_plus - T_plus of the teacher = -eps_P dT/dP (K); "energy":
    the same = delta dT/dP / dV, where delta is the energy error per atom of the liquid less that of the
    solid, which acts like the pressure error -delta/dV. errors: of the committee of students, scores: of
    some of them, by name.
    """
    points: dict[str, list[tuple[float, ...]]] = {"volume": [], "melting": [], "energy": []}
    slope = response.melting.value
    per_energy = slope / response.volume_step.value * meV / GPa  # K per meV
    members = len(errors.pressure["solid"].value) // len(KINDS)
    for name, found in scores.items():
        kind, seed = name.split()
        k = list(KINDS).index(kind) * members + int(seed)
        pressure, energy = (
            [Value(x[phase].value[k], x[phase].error[k]) for phase in PHASES]
            for x in (errors.pressure, errors.energy)
        )
        own = zip(pressure, response.bulk_modulus, found.volume_shift, teacher_error(teacher), strict=True)
        for error, B, shift, common in own:
            predicted = expansion(error.value, B.value), error.error / B.value
            points["volume"].append((*predicted, shift.value, (shift.error**2 - common**2) ** 0.5))
        change = found.T_plus.value - teacher.T_plus.value, found.T_plus.error
        points["melting"].append((*(-slope * ((pressure[0] + pressure[1]) / 2)), *change))
        points["energy"].append((*((energy[1] - energy[0]) * per_energy), *change))
    return {name: np.array(rows).T for name, rows in points.items()}


def causal_law(points: Sequence[np.ndarray], phases: int, scale: float) -> Law:
    """The law, right if its slope is 1. points: groups as of `causal_points`, of so many phases in turn.

    All shifts share the teacher's own statistical error, one in each phase: it is fitted as a constant. All
    predictions share the relative error `scale` of the bulk modulus or dT/dP; it joins the slope's error.
    """
    predicted, predicted_sem, found, found_sem = np.concatenate(points, axis=1)
    group = np.concatenate([np.arange(rows.shape[1]) % phases for rows in points])
    law, chi2 = melting.common_slope(predicted, found, np.hypot(predicted_sem, found_sem), group)
    return law + Value(0.0, law.value * scale), chi2


def laws_of(points: Mapping[str, Mapping[str, np.ndarray]], answer: Response) -> dict[str, Law]:
    """The causal laws of the first group of points, and of all groups together."""
    laws = {}
    moduli = answer.bulk_modulus
    for name, common in (("volume", moduli), ("melting", (answer.melting,)), ("energy", (answer.melting,))):
        groups, scale = [found[name] for found in points.values()], max(x.error / x.value for x in common)
        laws[name] = causal_law(groups[:1], len(common), scale)
        if len(groups) > 1:
            laws[f"{name}, {' and '.join(points)}"] = causal_law(groups, len(common), scale)
    return laws
