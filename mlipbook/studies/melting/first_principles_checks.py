"""What the checks of `first_principles` say: multiple time stepping beside plain Verlet and stored dynamics.

    python -m mlipbook study melting.first_principles_checks

All checks in NVE begin at one state. Over a picosecond their trajectories part by the integrator's error
alone, so that means differ far less than either scatters.
"""

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch

from mlipbook.averages import Value, quiet_average
from mlipbook.studies.command import Result, command
from mlipbook.studies.melting.first_principles_files import load_state
from mlipbook.studies.melting.first_principles_plan import FOLDER, OUTER_STEPS, VERLET, level
from mlipbook.units import GPa, kB

STORED = Path(
    "results/full/first-principles-md/liquid-350.xyz.xz"
)  # the liquid's NVE begins at its last frame


@command(saves="first-principles-checks")
def check(folder: Path = FOLDER) -> Result:
    """Means over the checks, their invariants, how far they are from plain Verlet and stored dynamics."""
    series = {name: read(folder, name) for name in [*names("nve"), VERLET.name, *names("npt")]}
    records: dict[str, dict] = {}
    for name, found in series.items():
        records |= {
            f"{name}: {what}": mean(x).record(UNITS[what]) for what, x in found.items() if what != "time"
        }
        if flat := level(folder, name):
            records[f"{name}: spread of the invariant"] = Value(flat[0]).record("meV/atom")
            records[f"{name}: slope of the invariant"] = Value(flat[1]).record("meV/atom/ps")
    plain = series[VERLET.name]
    for name in names("nve"):
        apart = {what: distance(series[name], plain, what) for what in UNITS}
        records |= {
            f"{name} beside Verlet, RMS: {what}": Value(x).record(UNITS[what]) for what, x in apart.items()
        }
    before = stored()
    for what, unit in UNITS.items():
        less = mean(plain[what]) - mean(before[what])
        records[f"Verlet less stored dynamics: {what}"] = less.record(unit)
    # A liquid's potential energy follows temperature by about 3/2 kB an atom: series less that share, so that
    # errors have the scatter of both, which go against each other in NVE.
    ours, theirs = (x["energy"] - 1.5e3 * kB * x["temperature"] for x in (plain, before))
    records["Verlet less stored dynamics: energy - 3/2 kB T"] = (mean(ours) - mean(theirs)).record("meV/atom")
    return Result(records, {"series": {n: {k: x.tolist() for k, x in s.items()} for n, s in series.items()}})


UNITS = {"energy": "meV/atom", "pressure": "GPa", "temperature": "K"}


def names(ensemble: str) -> list[str]:
    return [f"{ensemble}-{outer:g}fs" for outer in OUTER_STEPS]


def read(folder: Path, name: str) -> dict[str, np.ndarray]:
    """Time (ps), potential energy (meV/atom), static pressure (GPa), temperature (K) of each step."""
    state, arrays, _ = load_state(folder / name / "checkpoint.npz")
    return {
        "time": arrays["row.time"],
        "energy": 1e3 * arrays["row.energy"] / state.structures.n_atoms,
        "pressure": arrays["row.pressure"] / GPa,
        "temperature": arrays["row.temperature"],
    }


def stored() -> dict[str, np.ndarray]:
    """The same of the liquid's stored dynamics, in NVT at one volume."""
    frames: Any = ase.io.read(STORED, ":")
    return {
        "energy": np.array([1e3 * atoms.get_potential_energy() / len(atoms) for atoms in frames]),
        "pressure": np.array([-atoms.get_stress()[:3].mean() / GPa for atoms in frames]),
        "temperature": np.array([atoms.get_temperature() for atoms in frames]),
    }


def mean(series: np.ndarray) -> Value:
    """With its error by the series' correlation."""
    found = quiet_average(torch.as_tensor(series))
    return Value(float(found.value), float(found.error), float(found.n))


def distance(a: dict[str, np.ndarray], b: dict[str, np.ndarray], what: str) -> float:
    """RMS difference of two series at the times that both have."""
    ours, theirs = (np.round(1e3 * x["time"]).astype(int) for x in (a, b))
    _, i, j = np.intersect1d(ours, theirs, return_indices=True)
    return float(np.sqrt(np.mean((a[what][i] - b[what][j]) ** 2)))
