"""Is this hysteresis that one? Scores of heating and cooling ramps against those of a reference.

Arrays of ramps have the axes (branch, replica, sample): branch 0 is heating, 1 cooling, and all replicas of a
branch have the same temperatures (branch, sample). Homogeneous melting is a matter of waiting for a nucleus:
one ramp says little, and every score here is a mean over replicas with its standard error.
"""

import numpy as np
from scipy.special import log_ndtr

from mlipbook import averages
from mlipbook.averages import Value

SOLID = 0.25  # of the global Q6: crystals of 128 atoms have 0.33-0.5, hot liquids 0.06, cold ones up to 0.2
HEATING, COOLING = 0, 1


def mean(values: np.ndarray) -> Value:
    """Over the values that are finite; the error is nan for a single one, all is nan for none."""
    seen = np.asarray(values)[np.isfinite(values)]
    return averages.mean(seen) if len(seen) else Value(np.nan, np.nan, 0)


def mean_with_end(values: np.ndarray, end: float) -> Value:
    """Most likely mean of a normal law of which nothing beyond `end` is seen: values that are nan lie there.

    Expectation and maximization: each hidden value counts with its mean and variance beyond `end` under the
    law of the step before. The standard error is by the information on the mean, of which a hidden value
    holds less than a seen one.
    """
    seen = values[np.isfinite(values)]
    if len(seen) in (0, 1, len(values)):
        return mean(values)
    hidden, center, width = len(values) - len(seen), seen.mean(), seen.std(ddof=1)
    for _ in range(500):
        x = (end - center) / width
        hazard = np.exp(-(x**2) / 2 - log_ndtr(-x)) / (2 * np.pi) ** 0.5
        beyond, variance = center + width * hazard, width**2 * (1 + x * hazard - hazard**2)
        center = (seen.sum() + hidden * beyond) / len(values)
        squares = ((seen - center) ** 2).sum() + hidden * (variance + (beyond - center) ** 2)
        width = (squares / (len(values) - 1)) ** 0.5
    information = len(seen) + hidden * hazard * (hazard - x)
    return Value(float(center), float(width / information**0.5), len(values))


# ---- when it melts --------------------------------------------------------------------------------------


def crossing(temperature: np.ndarray, q6: np.ndarray) -> np.ndarray:
    """Where each replica leaves its phase for good, (replicas,) K; nan for those that end in it.

    temperature (samples,), q6 (replicas, samples) of one branch, nan after a replica was lost. Small systems
    go back and forth: it counts when Q6 passes SOLID for the last time, interpolated between two samples.
    """
    solid = q6 > SOLID
    found = np.full(len(q6), np.nan)
    for b, stays in enumerate(solid == solid[:, :1]):
        k = int(np.flatnonzero(stays)[-1])
        if k + 1 < len(temperature) and np.isfinite(q6[b, k + 1]):
            part = (SOLID - q6[b, k]) / (q6[b, k + 1] - q6[b, k])
            found[b] = temperature[k] + part * (temperature[k + 1] - temperature[k])
    return found


def on_grid(temperature: np.ndarray, values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Means in the bins of temperature between edges (bins + 1,): (2, replicas, bins), nan where empty."""
    bins = np.digitize(temperature, edges) - 1  # (2, samples)
    grid = np.full((*values.shape[:2], len(edges) - 1), np.nan)
    for branch, k in np.ndindex(len(temperature), len(edges) - 1):
        here = bins[branch] == k
        if here.any():
            grid[branch, :, k] = values[branch][:, here].mean(axis=1)
    return grid


def confusion(q6: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Counts of labels [liquid, solid in the reference][liquid, solid in the model], (2, 2).

    q6, reference: (2, replicas, bins), see `on_grid`. The reference's label of a branch and bin is what most
    of its replicas are; each replica of the model is counted. Bins that one of them lacks are left out.
    """
    truth = np.broadcast_to(majority(reference)[:, None], q6.shape)
    valid = np.isfinite(q6) & np.isfinite(reference).any(axis=1, keepdims=True)
    return np.bincount(2 * truth[valid] + (q6[valid] > SOLID), minlength=4).reshape(2, 2)


def majority(q6: np.ndarray) -> np.ndarray:
    """Whether most replicas are solid, (2, bins); those that are nan do not count."""
    return 2 * (q6 > SOLID).sum(axis=1) > np.isfinite(q6).sum(axis=1)


def agreement(q6: np.ndarray, reference: np.ndarray) -> float:
    """Share of bins of temperature and branch whose majority label is the reference's."""
    both = np.isfinite(q6).any(axis=1) & np.isfinite(reference).any(axis=1)
    return float((majority(q6) == majority(reference))[both].mean())


# ---- structure ------------------------------------------------------------------------------------------


def distance(g: np.ndarray, reference: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """D = int r^2 |g - g_ref| dr / int r^2 |g_ref - 1| dr over the last axis (bins); edges (bins + 1,) A."""
    shells = np.diff(edges**3)
    return (shells * abs(g - reference)).sum(-1) / (shells * abs(reference - 1)).sum(-1)


def permutation_band(g: np.ndarray, reference: np.ndarray, edges: np.ndarray, samples: int = 1000) -> float:
    """D between the means of replicas (m, bins) and (n, bins) that change places at random: a 95 % quantile.

    If the model is right, its replicas and those of the reference may change places, and its own D is one
    of these draws: it stays below the band in 95 % of all cases, be the replicas few and uneven. (Drawn
    from the reference's alone, with replacement, the band of eight is too narrow: it holds a right model in
    three of four cases where one replica in ten has melted.)
    """
    rng, both = np.random.default_rng(0), np.concatenate([g, reference])
    order = rng.random((samples, len(both))).argsort(axis=1)
    model, other = both[order[:, : len(g)]].mean(axis=1), both[order[:, len(g) :]].mean(axis=1)
    return float(np.quantile(distance(model, other, edges), 0.95))


# ---- thermodynamics -------------------------------------------------------------------------------------


def relative_rms(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Root mean square over temperature of the relative difference of mean curves, (2,); see `on_grid`."""
    means = (mean_of_finite(x.swapaxes(1, 2)) for x in (values, reference))  # (2, bins)
    ratio = np.divide(*means) - 1
    return np.sqrt(mean_of_finite(ratio**2))


def in_window(temperature: np.ndarray, values: np.ndarray, window: tuple[float, float]) -> list[np.ndarray]:
    """Mean of each replica within a window of temperature, [heating (replicas,), cooling (replicas,)]."""
    inside = (temperature >= window[0]) & (temperature <= window[1])
    return [mean_of_finite(values[branch][:, inside[branch]]) for branch in (HEATING, COOLING)]


def mean_of_finite(values: np.ndarray) -> np.ndarray:
    """Means over the last axis of what is finite; nan where nothing is."""
    finite = np.isfinite(values)
    counts = finite.sum(axis=-1)
    return np.where(finite, values, 0).sum(axis=-1) / np.where(counts, counts, np.nan)


def step_at_melting(temperature: np.ndarray, values: np.ndarray, window: tuple[float, float]) -> Value:
    """Liquid minus solid at equal temperature: cooling minus heating where neither has changed its phase."""
    solid, liquid = (mean(x) for x in in_window(temperature, values, window))
    return liquid - solid


def coexistence_window(temperature: np.ndarray, q6: np.ndarray) -> tuple[float, float]:
    """The temperatures at which every heated replica is still solid and every cooled one still liquid."""
    changed = (~(q6[HEATING] > SOLID)).any(axis=0), (~(q6[COOLING] <= SOLID)).any(axis=0)
    melts, freezes = (int(np.append(np.flatnonzero(late), len(late))[0]) for late in changed)
    low = max(temperature[HEATING, 0], temperature[COOLING, freezes - 1])
    high = min(temperature[COOLING, 0], temperature[HEATING, melts - 1])
    if 0 in (melts, freezes) or low >= high:
        raise ValueError("the branches share no temperature at which one is solid and the other liquid")
    return float(low), float(high)


def common_slope(x: np.ndarray, y: np.ndarray, y_sem: np.ndarray, group: np.ndarray) -> tuple[Value, float]:
    """Weighted least squares with one slope and a constant for each group (one label per point): the slope,
    n the number of points, and chi^2 per degree of freedom.

    Where the scatter exceeds the errors, the slope's error grows with it.
    """
    weight = 1 / y_sem**2
    labels, index = np.unique(group, return_inverse=True)
    total = np.bincount(index, weight)
    x, y = (z - (np.bincount(index, weight * z) / total)[index] for z in (x, y))
    slope = float((weight * x * y).sum() / (weight * x * x).sum())
    chi2 = float((weight * (y - slope * x) ** 2).sum() / (len(x) - len(labels) - 1))
    return Value(slope, float((weight * x * x).sum() ** -0.5 * max(1, chi2) ** 0.5), len(x)), chi2
