"""How a model's ramps differ from the teacher's.

`comparison` has the scores as functions of arrays; here they are applied to the Ramps of `melting.ramps`.
"""

from dataclasses import dataclass

import numpy as np

from mlipbook.averages import Value
from mlipbook.studies.melting import comparison as melting
from mlipbook.studies.melting.comparison import COOLING, HEATING
from mlipbook.studies.melting.ramps import CLOSEST, EDGES, Ramps
from mlipbook.units import meV

GRID = 10.0  # K, bins of the phase labels and the density
ATOMIC_MASS = 22.98976928 / 0.602214076  # g/cm^3 A^3: mass of an atom over its volume


@dataclass(frozen=True)
class Score:
    """A model's ramps against the teacher's.

    T_plus, T_minus: temperatures of melting (see `melts_at`) and freezing (of the replicas that do);
    melted, froze: how many did; z: differences over the standard error. labels: counts, see
    `comparison.confusion`; agreement: share of majority labels. g: share of frames within the band, see
    `distances`, [heating, cooling]. density: relative RMS difference, [heating, cooling].
    volume_step (A^3), enthalpy_step (meV per atom): liquid minus solid.
    volume_shift: ln(V/V_teacher) of solid and liquid before they change. lost: replicas with a pair closer
    than CLOSEST; closest: the shortest pair of all, A.
    """

    T_plus: Value
    T_minus: Value
    melted: int
    froze: int
    z: tuple[float, float]
    labels: np.ndarray
    agreement: float
    g: np.ndarray
    density: np.ndarray
    volume_step: Value
    enthalpy_step: Value
    volume_shift: tuple[Value, Value]
    lost: int
    closest: float
    stopped: str


def close(ramps: Ramps) -> np.ndarray:
    """Whether a replica is lost by then: it has had a pair closer than CLOSEST, (2, replicas, samples)."""
    return np.logical_or.accumulate(~(ramps.observed["shortest"] > CLOSEST), axis=-1)


def sound(ramps: Ramps, name: str) -> np.ndarray:
    """An observable, (2, replicas, samples), that is nan from where a replica is lost."""
    return np.where(close(ramps), np.nan, ramps.observed[name])


def transitions(ramps: Ramps) -> tuple[np.ndarray, np.ndarray]:
    """Temperatures of melting and of freezing of each replica, K; nan for those without."""
    q6 = sound(ramps, "q6")
    plus, minus = (melting.crossing(ramps.temperature[b], q6[b]) for b in (HEATING, COOLING))
    return plus, minus


def melts_at(ramps: Ramps) -> Value:
    """Mean temperature of melting, where a replica that has not melted is one that melts beyond the ramp. To
    leave it out would make crystals that melt late look as if they melted early."""
    plus, _ = transitions(ramps)
    present = ~(np.isnan(plus) & ramps.lost[HEATING])  # lost as a crystal: nobody knows when it would melt
    return melting.mean_with_end(plus[present], float(ramps.temperature[HEATING, -1]))


def grid_of(ramps: Ramps, name: str) -> np.ndarray:
    """Means over GRID, (2, replicas, bins)."""
    low, high = ramps.temperature.min(), ramps.temperature.max()
    edges = np.arange(np.floor(low / GRID) * GRID, high + GRID, GRID)
    return melting.on_grid(ramps.temperature, sound(ramps, name), edges)


def before_change(ramps: Ramps, values: np.ndarray) -> np.ndarray:
    """The values while replicas are in the phase they began in; nan otherwise."""
    solid = ramps.observed["q6"] > melting.SOLID
    return np.where(solid == np.array([True, False])[:, None, None], values, np.nan)


def score(ramps: Ramps, teacher: Ramps, window: tuple[float, float]) -> Score:
    """window: temperatures at which the teacher's heated replicas are solid and its cooled ones liquid."""
    found, theirs = ((melts_at(r), melting.mean(transitions(r)[1])) for r in (ramps, teacher))
    melted, froze = (int(np.isfinite(x).sum()) for x in transitions(ramps))
    T = ramps.temperature
    V, V_teacher = (before_change(r, ATOMIC_MASS / sound(r, "density")) for r in (ramps, teacher))  # per atom
    own, reference = (
        [melting.mean(np.log(x)) for x in melting.in_window(T, y, window)] for y in (V, V_teacher)
    )
    q6, q6_teacher = grid_of(ramps, "q6"), grid_of(teacher, "q6")
    D, band = distances(ramps, teacher)
    enthalpy = before_change(ramps, sound(ramps, "enthalpy")) / meV
    return Score(
        T_plus=found[0],
        T_minus=found[1],
        melted=melted,
        froze=froze,
        z=(found[0].z(theirs[0]), found[1].z(theirs[1])),
        labels=melting.confusion(q6, q6_teacher),
        agreement=melting.agreement(q6, q6_teacher),
        g=melting.mean_of_finite(np.where(np.isfinite(D), band >= D, np.nan)),
        density=melting.relative_rms(grid_of(ramps, "density"), grid_of(teacher, "density")),
        volume_step=melting.step_at_melting(T, V, window),
        enthalpy_step=melting.step_at_melting(T, enthalpy, window),
        volume_shift=(own[0] - reference[0], own[1] - reference[1]),
        lost=int(ramps.lost.sum()),
        closest=float(np.nanmin(ramps.observed["shortest"])),
        stopped=ramps.stopped,
    )


def sound_g(ramps: Ramps) -> np.ndarray:
    """g(r), (2, replicas, frames, bins), that is nan from where a replica is lost."""
    at = abs(ramps.temperature[:, :, None] - ramps.frame_temperature[:, None]).argmin(axis=1)  # (2, frames)
    lost = np.take_along_axis(close(ramps), at[:, None], axis=-1)
    return np.where(lost[..., None], np.nan, ramps.g)


def distances(ramps: Ramps, teacher: Ramps) -> tuple[np.ndarray, np.ndarray]:
    """D of the mean g(r) at each frame's temperature and the band of models that are right, (2, frames) each.

    Both are of the replicas that are not lost yet; what remains of crystals that melt is a selection, of
    which no band knows.
    """
    g, own = sound_g(ramps), sound_g(teacher)
    mean, theirs = (melting.mean_of_finite(np.moveaxis(x, 1, -1)) for x in (g, own))
    D = melting.distance(mean, theirs, EDGES)
    band = np.full(D.shape, np.nan)
    for b, k in np.argwhere(np.isfinite(D)):
        left = np.isfinite(g[b, :, k, 0])
        band[b, k] = melting.permutation_band(g[b, left, k], teacher.g[b, :, k], EDGES)
    return D, band


def teacher_error(teacher: Score) -> list[float]:
    """Standard error of the teacher's own ln V, of solid and liquid; it is common to all models' shifts."""
    return [shift.error / 2**0.5 for shift in teacher.volume_shift]  # its shifts are from itself
