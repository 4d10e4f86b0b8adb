"""The runs of `first_principles`, the most telling first, and what the checks among them say.

Checks compare outer time steps: the longest whose invariant stays level in NVE and NPT is that of the ramps.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlipbook.studies.melting.first_principles_files import load_state

FOLDER = Path("results/full/first-principles-ramps")
OUTER_STEPS = (10.0, 20.0, 30.0)  # fs, that the checks compare
LONGEST_SPREAD, LONGEST_DRIFT = 0.07, 0.1  # meV/atom, meV/atom/ps, of the invariant (see `outer_step`)


@dataclass(frozen=True)
class Run:
    """A run of 128 sodium atoms. start: name of a file in the folder's starts. rate: K/ps, 0 for a check.

    outer: fs between first-principles calls, 0 for the one that the checks chose. plain: without an inner
    potential, velocity Verlet on first-principles forces. length: ps, at most.
    """

    name: str
    ensemble: str  # NVE or NPT, at zero pressure
    start: str
    first: float  # K
    last: float
    length: float
    outer: float = 0.0
    plain: bool = False

    def temperature(self, time: float) -> float:
        """Of the thermostat, K, after so many ps."""
        return self.first + (self.last - self.first) * min(time / self.length, 1.0)


def check(ensemble: str, start: str, outer: float, length: float = 1.0) -> Run:
    return Run(f"{ensemble.lower()}-{outer:g}fs", ensemble, start, 350, 350, length, outer)


def heating(seed: int) -> Run:
    return Run(f"heating-{seed}", "NPT", f"crystal-{seed}", 340, 470, 130 / 7)


def cooling(seed: int) -> Run:
    return Run(f"cooling-{seed}", "NPT", f"liquid-{seed}", 380, 220, 160 / 7)


VERLET = Run("nve-verlet-5fs", "NVE", "nve", 350, 350, 1.0, 5.0, plain=True)
RUNS = [
    *(check("NVE", "nve", outer) for outer in (20, 30)),
    *(check("NPT", "npt", outer) for outer in (20, 30)),
    heating(1),
    check("NVE", "nve", 10),
    check("NPT", "npt", 10),
    VERLET,
    *(heating(seed) for seed in (2, 3, 4)),
    *(cooling(seed) for seed in (1, 2, 3, 4)),
    *(heating(seed) for seed in (5, 6, 7, 8)),
]  # fmt: skip


def level(folder: Path, name: str) -> tuple[float, float] | None:
    """Spread about a straight line (meV/atom) and slope (meV/atom/ps) of a check's invariant, if done."""
    run = next(run for run in RUNS if run.name == name)
    path = folder / name / "checkpoint.npz"
    if not path.exists():
        return None
    state, arrays, _ = load_state(path)
    if state.step < round(1e3 * run.length / run.outer):
        return None
    time, H = arrays["row.time"], 1e3 * arrays["row.after"] / state.structures.n_atoms
    slope, intercept = np.polyfit(time, H, 1)
    return float((H - slope * time - intercept).std(ddof=2)), float(slope)


def outer_step(folder: Path) -> float:
    """The longest outer step of the checks (fs) whose invariant is level in NVE and in NPT; 20 if none is."""
    for outer in sorted(OUTER_STEPS, reverse=True):
        found = [level(folder, f"{ensemble}-{outer:g}fs") for ensemble in ("nve", "npt")]
        if all(x and x[0] <= LONGEST_SPREAD and abs(x[1]) <= LONGEST_DRIFT for x in found):
            return outer
    return 20.0
