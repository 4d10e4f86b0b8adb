"""How a model's ramps differ from the teacher's, and whether its pressure error explains how.

`melting` has the scores as functions of arrays; here they are applied to the Ramps of `hysteresis`. The
causal law: a model whose pressure is too high by eps_P behaves like the teacher under an outer pressure of
-eps_P.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlipbook.studies import hysteresis as study
from mlipbook.studies import melting
from mlipbook.studies.hysteresis import Ramps
from mlipbook.studies.melting import COOLING, HEATING, Law, Mean
from mlipbook.studies.teacher import KINDS, Errors
from mlipbook.units import GPa, meV

GRID = 10.0  # K, bins of the phase labels and the density
ATOMIC_MASS = 22.98976928 / 0.602214076  # g/cm^3 A^3: mass of an atom over its volume
STIFFENING = 3.69  # dB/dP of bcc sodium in PBE (Bosoni et al., Nat. Rev. Phys. 6, 45 (2024), all-electron)
PHASES = ("solid", "liquid")  # of the branches before they change


@dataclass(frozen=True)
class Score:
    """A model's ramps against the teacher's.

    T_plus, T_minus: temperatures of melting (see `bounded`) and freezing; melted, froze: replicas that did;
    z: differences over the standard error. labels: counts, see `melting.confusion`; agreement: share of
    majority labels. g: share of frames within the bootstrap band, [heating, cooling]. density: relative RMS
    difference, [heating, cooling]. volume_step (A^3), enthalpy_step (meV per atom): liquid minus solid.
    volume_shift: ln(V/V_teacher) of solid and liquid before they change. lost: replicas with a pair closer
    than CLOSEST; closest: the shortest pair of all, A.
    """

    T_plus: Mean
    T_minus: Mean
    melted: int
    froze: int
    z: tuple[float, float]
    labels: np.ndarray
    agreement: float
    g: np.ndarray
    density: np.ndarray
    volume_step: Mean
    enthalpy_step: Mean
    volume_shift: tuple[Mean, Mean]
    lost: int
    closest: float
    stopped: str


def sound(ramps: Ramps, name: str) -> np.ndarray:
    """An observable, (2, replicas, samples), that is nan from where a replica is lost."""
    close = ~(ramps.observed["shortest"] > study.CLOSEST)
    return np.where(np.logical_or.accumulate(close, axis=-1), np.nan, ramps.observed[name])


def transitions(ramps: Ramps) -> tuple[np.ndarray, np.ndarray]:
    """Temperatures of melting and of freezing of each replica, K; nan for those without."""
    q6 = sound(ramps, "q6")
    plus, minus = (melting.crossing(ramps.temperature[b], q6[b]) for b in (HEATING, COOLING))
    return plus, minus


def bounded(ramps: Ramps) -> Mean:
    """Mean temperature of melting, where a replica that has not melted counts with the end of the ramp.

    To leave it out would make crystals that melt late look as if they melted early; this is a lower bound.
    """
    plus, _ = transitions(ramps)
    lasting = np.isnan(plus) & ~ramps.lost[HEATING]
    return melting.mean(np.where(lasting, ramps.temperature[HEATING, -1], plus))


def grid_of(ramps: Ramps, name: str) -> np.ndarray:
    """Means over GRID, (2, replicas, bins)."""
    low, high = ramps.temperature.min(), ramps.temperature.max()
    edges = np.arange(np.floor(low / GRID) * GRID, high + GRID, GRID)
    return melting.on_grid(ramps.temperature, sound(ramps, name), edges)


def volume(ramps: Ramps) -> np.ndarray:
    """Per atom, (2, replicas, samples) A^3."""
    return ATOMIC_MASS / sound(ramps, "density")


def before_change(ramps: Ramps, values: np.ndarray) -> np.ndarray:
    """The values while replicas are in the phase they began in; nan otherwise."""
    solid = ramps.observed["q6"] > melting.SOLID
    return np.where(solid == np.array([True, False])[:, None, None], values, np.nan)


def score(ramps: Ramps, teacher: Ramps, window: tuple[float, float]) -> Score:
    """window: temperatures at which the teacher's heated replicas are solid and its cooled ones liquid."""
    found, theirs = ((bounded(r), melting.mean(transitions(r)[1])) for r in (ramps, teacher))
    melted, froze = (int(np.isfinite(x).sum()) for x in transitions(ramps))
    T, V, V_teacher = ramps.temperature, *(before_change(r, volume(r)) for r in (ramps, teacher))
    shifts = [
        melting.mean(np.log(a)) - melting.mean(np.log(b))
        for a, b in zip(*(melting.in_window(T, x, window) for x in (V, V_teacher)), strict=True)
    ]
    enthalpy = before_change(ramps, sound(ramps, "enthalpy")) / meV
    q6, q6_teacher = grid_of(ramps, "q6"), grid_of(teacher, "q6")
    D, band = distances(ramps, teacher)
    return Score(
        T_plus=found[0],
        T_minus=found[1],
        melted=melted,
        froze=froze,
        z=(melting.z_score(found[0], theirs[0]), melting.z_score(found[1], theirs[1])),
        labels=melting.confusion(q6, q6_teacher),
        agreement=melting.agreement(q6, q6_teacher),
        g=(band >= D).mean(axis=1),
        density=melting.relative_rms(grid_of(ramps, "density"), grid_of(teacher, "density")),
        volume_step=melting.step_at_melting(T, V, window),
        enthalpy_step=melting.step_at_melting(T, enthalpy, window),
        volume_shift=(shifts[0], shifts[1]),
        lost=int(ramps.lost.sum()),
        closest=float(np.nanmin(ramps.observed["shortest"])),
        stopped=ramps.stopped,
    )


def mean_g(ramps: Ramps) -> np.ndarray:
    """g(r) averaged over the replicas that were not lost, (2, frames, bins)."""
    g = np.where(ramps.lost[..., None, None], np.nan, ramps.g)
    return melting.mean_of_finite(np.moveaxis(g, 1, -1))


def distances(ramps: Ramps, teacher: Ramps) -> tuple[np.ndarray, np.ndarray]:
    """D of the mean g(r) of each frame's temperature, and the teacher's band there, each (2, frames)."""
    D = melting.distance(mean_g(ramps), mean_g(teacher), study.EDGES)
    reference = np.moveaxis(teacher.g, 1, 0)  # (replicas, 2, frames, bins)
    return D, melting.bootstrap_band(reference, study.EDGES, ramps.g.shape[1])


# ---- the causal law ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Response:
    """What pressure does to the teacher: B = -dP/dlnV (GPa) at zero pressure of solid and liquid, dT_plus/dP
    (K/GPa), and by Clapeyron's equation T_m dV/dH, at the middle of the window (K/GPa)."""

    bulk_modulus: tuple[Mean, Mean]
    melting: Mean
    clapeyron: Mean


def expansion(error: float, bulk_modulus: float) -> float:
    """ln(V/V_0) under an outer pressure of -error (GPa) by Murnaghan's equation of state; about error/B."""
    return float(-np.log1p(-STIFFENING * error / bulk_modulus) / STIFFENING)


def response(teacher: Ramps, pressed: Ramps, pressure: float, window: tuple[float, float]) -> Response:
    """From ramps at zero pressure and at this one (GPa)."""
    change = score(pressed, teacher, window).volume_shift
    found = [STIFFENING * pressure / np.expm1(-STIFFENING * d.value) for d in change]  # see `expansion`
    B = [Mean(b, b * abs(d.sem / d.value), d.n) for b, d in zip(found, change, strict=True)]
    plus = bounded(pressed) - bounded(teacher)
    own = score(teacher, teacher, window)
    dV, dH = own.volume_step, own.enthalpy_step
    slope = sum(window) / 2 * dV.value / (dH.value * meV) * GPa
    relative = np.hypot(dV.sem / dV.value, dH.sem / dH.value)
    return Response(
        (B[0], B[1]),
        Mean(plus.value / pressure, plus.sem / pressure, plus.n),
        Mean(slope, slope * float(relative), dV.n),
    )


def causal_points(
    scores: Mapping[str, Score], errors: Errors, teacher: Score, response: Response
) -> dict[str, np.ndarray]:
    """What a model's pressure error predicts and what it does: name -> (4, points).

    Rows: predicted, its error, found, its error; errors are the model's own, those of the teacher and its
    response are common to all points (see `causal_law`). "volume": ln(V/V_teacher) = `expansion`(eps_P), of
    solid and liquid of each model; "melting": T_plus - T_plus of the teacher = -eps_P dT/dP (K). errors: of
    the committee of students, scores: of some of them, by name.
    """
    points: dict[str, list[tuple[float, float, float, float]]] = {"volume": [], "melting": []}
    for name, found in scores.items():
        kind, seed = name.split()
        k = list(KINDS).index(kind) * (len(errors.pressure["solid"]) // len(KINDS)) + int(seed)
        for p, (phase, B) in enumerate(zip(PHASES, response.bulk_modulus, strict=True)):
            error, sem = errors.pressure[phase][k], errors.pressure_sem[phase][k]
            shift = found.volume_shift[p]
            own = (shift.sem**2 - teacher_error(teacher)[p] ** 2) ** 0.5
            points["volume"].append((expansion(error, B.value), sem / B.value, shift.value, own))
        error = np.mean([errors.pressure[phase][k] for phase in PHASES])
        solid_sem, liquid_sem = (errors.pressure_sem[phase][k] for phase in PHASES)
        sem = np.hypot(solid_sem, liquid_sem) / 2
        change, slope = found.T_plus.value - teacher.T_plus.value, response.melting.value
        points["melting"].append((-error * slope, abs(sem * slope), change, found.T_plus.sem))
    return {name: np.array(rows).T for name, rows in points.items()}


def teacher_error(teacher: Score) -> list[float]:
    """Standard error of the teacher's own ln V, of solid and liquid; it is common to all models' shifts."""
    return [shift.sem / 2**0.5 for shift in teacher.volume_shift]  # its shifts are from itself


def causal_law(points: Sequence[np.ndarray], phases: int, scale: float) -> Law:
    """The law is right if its slope is 1. points: groups as of `causal_points`, of so many phases in turn.

    All shifts share the teacher's own statistical error, one in each phase: it is fitted as a constant. All
    predictions share the relative error `scale` of the bulk modulus or dT/dP; it joins the slope's error.
    """
    predicted, predicted_sem, found, found_sem = np.concatenate(points, axis=1)
    group = np.concatenate([np.arange(rows.shape[1]) % phases for rows in points])
    law = melting.common_slope(predicted, found, np.hypot(predicted_sem, found_sem), group)
    return replace(law, sem=float(np.hypot(law.sem, law.slope * scale)))
