"""Melting temperatures from the jobs of `coexistence`, beside those of the free energies.

Every temperature is first brought to zero pressure along the melting curve (Clapeyron). A run forgets its
start by a share of the remaining way in each PIECE of time, and besides the interfaces wander: where a piece
ends is a straight line of where it begins, with noise that is independent from piece to piece. Its fixed
point is the melting temperature. So runs need not have arrived to count, all pieces do, and the scatter of
the pieces is an honest error, which the autocorrelation of such short runs would not give.

    python -m mlipbook study table1.coexistence_report --folder F --out results/full/coexistence.json
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlipbook import archive
from mlipbook.averages import Value
from mlipbook.studies.command import Result, command, kept_records
from mlipbook.studies.sodium import PHASES
from mlipbook.studies.table1.coexistence import jobs_of, path_of
from mlipbook.studies.table1.jobs import REFERENCE, TEMPERATURE, Job, done
from mlipbook.studies.table1.potentials import POTENTIALS, SETTINGS
from mlipbook.units import GPa, meV

SETTLE, PIECE, EDGE = 2, 10, 3  # ps: left out at the start, of a piece, and that its first value is a mean of
Records = Mapping[str, Mapping[str, Any]]


class FixedPoints(NamedTuple):
    """temperatures (G,), their covariance (G, G), pieces behind each (G,), and the share of the way that is
    left after a piece."""

    temperatures: np.ndarray
    covariance: np.ndarray
    counts: np.ndarray
    left: Value

    def combined(self, weights: np.ndarray) -> Value:
        """The sum of the temperatures times weights (G,), whose errors are correlated."""
        error = (weights @ self.covariance @ weights) ** 0.5
        return Value(weights @ self.temperatures, error, self.counts[weights > 0].sum())

    def value(self, group: int, less: int | None = None) -> Value:
        """Of a group, or of it less another one."""
        each = np.eye(len(self.counts))
        return self.combined(each[group] - (0 if less is None else each[less]))


def melting_slope(records: Records, setting: str) -> float:
    """dT/dP = T dV/dU along the melting curve at zero pressure (Clapeyron), K per eV/A^3."""
    solid, liquid = (records[f"volume, {setting}, {phase}"]["value"] for phase in PHASES)
    return TEMPERATURE * (liquid - solid) / (records[f"dU, {setting}"]["value"] * meV)


def at_zero_pressure(job: Job, slope: float) -> np.ndarray:
    """Temperatures of each ps brought to zero pressure, K."""
    return np.array(job["temperature"]) - slope * np.array(job["normal_pressure"])


def fitted(runs: Sequence[np.ndarray], of: Sequence[int]) -> FixedPoints:
    """Of runs (K, each ps) that belong to these groups, by least squares of

        ends = left begins + (1 - left) T_group,

    one `left` for all groups; pieces begin and end with means over EDGE ps. Raises ValueError with too few
    pieces, or if they do not approach anything.
    """
    points = [
        np.array([run[t : t + EDGE].mean() for t in range(SETTLE, len(run) - EDGE + 1, PIECE)])
        for run in runs
    ]
    begins, ends = (np.concatenate([x[part] for x in points]) for part in (slice(-1), slice(1, None)))
    groups = np.repeat(of, [len(x) - 1 for x in points])
    G, P = int(groups.max(initial=0)) + 1, len(ends)
    if P <= G + 1:
        raise ValueError(f"{P} pieces for {G} temperatures and a rate: make the runs longer")
    design = np.column_stack([begins, np.eye(G)[groups]])
    fit, *_ = np.linalg.lstsq(design, ends, rcond=None)
    left, T = fit[0], fit[1:] / (1 - fit[0])
    if not 0 <= left < 1:
        raise ValueError(f"after a piece {left:.2f} of the way is left: no approach; make the runs longer")
    noise = ((ends - design @ fit) ** 2).sum() / (P - G - 1)
    covariance = noise * np.linalg.inv(design.T @ design)
    slopes = np.column_stack([T, np.eye(G)]) / (1 - left)  # of T by (left, (1 - left) T)
    share = Value(left, covariance[0, 0] ** 0.5, P)
    return FixedPoints(T, slopes @ covariance @ slopes.T, np.bincount(groups), share)


def finished(folder: Path, potentials: Path = POTENTIALS) -> list[Job]:
    """Jobs in a folder. Raises FileNotFoundError if one is missing, ValueError if one is of other potentials
    than the present ones."""
    paths = [path_of(folder, job) for job in jobs_of()]
    found = [archive.read_json(path) for path in paths]
    if stale := [path for path in paths if not done(path, potentials)]:
        raise ValueError(f"{stale[0]}: of other potentials than those in {potentials}; run it again")
    return found


def records(jobs: Sequence[Job], free: Records) -> dict[str, Any]:
    """All numbers of the study; free: records of `table1.report`."""
    settings = [s for s in SETTINGS if any(job["setting"] == s for job in jobs)]
    slopes = {setting: melting_slope(free, setting) for setting in settings}
    runs = [at_zero_pressure(job, slopes[job["setting"]]) for job in jobs]
    groups = [settings.index(job["setting"]) for job in jobs]
    fit, single = fitted(runs, groups), fitted(runs, range(len(runs)))
    out: dict[str, Any] = {f"share of the way left after {PIECE} ps": fit.left.record()}
    base, level = settings.index(REFERENCE[0]), [T_m(free, setting) for setting in settings]
    for g, (setting, theirs) in enumerate(zip(settings, level, strict=True)):
        low, high = sorted((k for k, x in enumerate(groups) if x == g), key=lambda k: jobs[k]["start"])
        z = {
            "coexistence less free energies": fit.value(g).z(theirs),
            "from below less from above": single.value(low, high).z(),
        }
        out |= {f"z, T_m, {setting}: {what}": Value(x, 1.0, 1).record() for what, x in z.items()}
        pressures = np.concatenate([jobs[k]["normal_pressure"] for k in (low, high)]) / GPa
        out[f"T_m, {setting}, coexistence"] = fit.value(g).record("K")
        out[f"normal pressure, {setting}"] = Value(pressures.mean(), n=len(pressures)).record("GPa")
        out[f"melting curve, {setting}"] = Value(slopes[setting] * GPa, n=1).record("K/GPa")
        if g != base:
            less = fit.value(g, base)
            out[f"T_m, {setting} less {REFERENCE[0]}, coexistence"] = less.record("K")
    # The free energies' errors are those of the table's level, the same for all: they do not average out.
    G = len(settings)
    theirs = Value(np.mean([x.value for x in level]), np.mean([x.error for x in level]))
    less = fit.combined(np.full(G, 1 / G)) - theirs
    out["T_m, mean of all: coexistence less free energies"] = less.record("K")
    return out | watched(jobs)


def T_m(free: Records, setting: str) -> Value:
    """From the free energies; n: None, as its error is no scatter of so many samples."""
    return Value(*Value.from_record(free[f"T_m, {setting}, from 1024 atoms"]))


def watched(jobs: Sequence[Job]) -> dict[str, Any]:
    """What must stay: the energy, and both phases."""
    shares, lasted = (
        [np.mean(job["ordered"][-10:]) for job in jobs],
        [len(job["temperature"]) for job in jobs],
    )
    found = {
        "drift of the energy, the largest": (max(abs(job["energy_drift"]) for job in jobs) / meV, "meV/atom"),
        "ordered atoms at the end, the smallest share": (min(shares), ""),
        "ordered atoms at the end, the largest share": (max(shares), ""),
        "length of the runs, the shortest": (min(lasted), "ps"),
        "length of the runs, together": (sum(lasted), "ps"),
    }
    return {name: Value(x, n=len(jobs)).record(unit) for name, (x, unit) in found.items()}


def series(job: Job, slope: float) -> Job:
    """What figures need of a job, in few digits."""
    kept = {name: job[name] for name in ("setting", "seed", "start", "atoms", "volume", "commit")}
    kept["temperature"] = np.round(at_zero_pressure(job, slope), 2).tolist()
    return kept | {"ordered": np.round(job["ordered"], 3).tolist()}


@command(saves="coexistence")
def study(
    folder: Path, potentials: Path = POTENTIALS, free_energies: Path = Path("results/full/delta-f.json")
) -> Result:
    """What the runs in the folder say, beside the free energies."""
    jobs, free = finished(folder, potentials), kept_records(free_energies)
    box = next(job for job in jobs if job["setting"] == "128-4k")
    arrays = {
        "runs": [series(job, melting_slope(free, job["setting"])) for job in jobs],
        "snapshot": {name: np.round(box[name], 3).tolist() for name in ("z", "order")},
    }
    return Result(records(jobs, free), arrays, sum(job["cpu_seconds"] for job in jobs))
