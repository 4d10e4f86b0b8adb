"""The Ag2Se reference over nanoseconds on one core: runs of `conductivity` with trajectories by LAMMPS.

The reference is a pair potential: on a CPU LAMMPS computes it from a table ten times faster than PyTorch
does, with the same energies, forces, heat flux (`lammps.table`) and driving force (`lammps.drive`). Needs the
package `lammps`.

    python -m mlipbook study conductivity.reference run --folder F
    python -m mlipbook study conductivity.reference report --folder F

The first makes F/equilibrium-reference.npz, for `report`, too, and goes on where it stopped. Replicas in
equilibrium come first: they tell the gauge of those under a field. The second makes of what is done
results/full/reference-hnemd.json.
"""

import time
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlipbook import archive, bookkit
from mlipbook.archive import made
from mlipbook.averages import Value
from mlipbook.dynamics import State
from mlipbook.heat import Response, without_enthalpy
from mlipbook.heat.green_kubo import correlation
from mlipbook.lammps.drive import heat_field, thermostat
from mlipbook.lammps.table import started
from mlipbook.potentials import AgSe
from mlipbook.studies.command import Result, command
from mlipbook.studies.conductivity import readings
from mlipbook.studies.conductivity.readings import Numbers, read
from mlipbook.studies.conductivity.report import columns_of, running_of
from mlipbook.studies.conductivity.runs import (
    BLOCK,
    FIELD,
    LAG,
    REFERENCE_FIELDS,
    SAMPLE,
    SETTLE,
    TIMESTEP,
    keep,
)
from mlipbook.studies.conductivity.silver_selenide import TEMPERATURE, melted
from mlipbook.units import fs, ps

STARTS = Path("results/full/ag2se/starts.npz")  # 24 melts of silver, of `conductivity`
EQUILIBRIUM, LENGTH = 24, 100 * ps  # replicas, and the time of each after SETTLE
DRIVEN = {  # the same for each of REFERENCE_FIELDS: 2 ns at the paper's field, half of them against it
    name: (12, 85 * ps) if name in ("F", "-F") else (8, 50 * ps) for name in REFERENCE_FIELDS
}
FIELDS = [name for name, (replicas, _) in DRIVEN.items() for _ in range(replicas)]  # of each driven replica
GROUPS = {"F and -F": ("F", "-F"), **{name: (name,) for name in REFERENCE_FIELDS}}
THERMOSTAT_TIME = 100 * fs
SEED = 7000  # and the replica's number, driven ones after the others: of its velocities


def start(b: int) -> State:
    """A melt at rest with new velocities, one replica."""
    melts = archive.load_arrays(STARTS)["positions"]
    return melted(melts[[b % len(melts)]], SEED + b)


def follow(path: Path, state: State, motion: list[str], length: float, mean_of: int = 1, **told: Any) -> None:
    """Keep heat flux, V_Ag (T, 3), internal units, temperature (T,), and what else is `told`, once.

    motion: commands of LAMMPS. mean_of: so many samples, one every SAMPLE steps, are averaged before.
    """
    if made(path, potential=AgSe(), start=state, length=length, **told):
        return
    began, file, table = time.process_time(), path.with_suffix(".txt"), path.with_suffix(".table")
    lmp = started(AgSe(), state.structures, state.velocities, table)
    seen = " ".join(f"c_{what}[{k}]" for what in ("flux", "current") for k in (1, 2, 3))
    times = f"{SAMPLE} {mean_of} {SAMPLE * mean_of}"
    lmp.commands_list(
        ["neighbor 1.0 bin", "neigh_modify every 1 delay 0 check yes", f"timestep {TIMESTEP / ps:.12g}"]
        + ["group silver type 1", "compute current silver reduce sum vx vy vz", "thermo 1000"]
        + [*motion, f"run {round(SETTLE / TIMESTEP)}"]
        + [f"fix seen all ave/time {times} {seen} c_thermo_temp file {file} format ' %.9g'"]
        + [f"run {round(length / TIMESTEP)}"]
    )
    lmp.close()
    series = torch.as_tensor(np.loadtxt(file)[:, 1:])
    kept = {"flux": series[:, :3] / ps, "current": series[:, 3:6] / ps, "temperature": series[:, 6]}
    keep(path, {**kept, **told, "seconds": time.process_time() - began, "commit": bookkit.results.COMMIT})
    file.unlink()
    table.unlink()


def series_of(runs: list[Any]) -> dict[str, Tensor]:
    """What runs saw, (T, B, ...), as long as the shortest."""
    T = min(len(run["flux"]) for run in runs)
    return {
        name: torch.stack([torch.as_tensor(run[name][:T]).double() for run in runs], 1)
        for name in ("flux", "current", "temperature")
    }


def told_of(runs: list[Any]) -> dict[str, Any]:
    """Seconds of a core, and the code that ran."""
    seconds, commits = sum(float(run["seconds"]) for run in runs), {str(run["commit"]) for run in runs}
    return {"seconds": seconds, "device": "cpu, 1 core, by LAMMPS", "commit": ", ".join(sorted(commits))}


def gathered(folder: Path) -> dict[str, Any]:
    """All replicas in equilibrium as `conductivity.equilibrium` returns them, without the series."""
    runs = [archive.load_arrays(path) for path in sorted(folder.glob("equilibrium-[0-9]*.npz"))]
    seen, interval = series_of(runs), SAMPLE * TIMESTEP
    together = torch.stack([seen["flux"], seen["flux"], seen["current"]], -1)  # pairs: I and II are one
    return {
        "correlations": torch.stack([correlation(x, round(LAG / interval)) for x in together.unbind(1)]),
        "temperature": seen["temperature"].mean(0),
        "volume": start(0).volume[0],
        "interval": interval,
        "length": interval * len(together),
        **told_of(runs),
    }


# ---- under a field -------------------------------------------------------------------------------------


def driven(b: int, h: float, folder: Path) -> None:
    """HNEMD under the field of this replica, with its share of h (eV) taken off the current of silver."""
    (strength, share), length = REFERENCE_FIELDS[FIELDS[b]], DRIVEN[FIELDS[b]][1]
    state, field = start(EQUILIBRIUM + b), strength * FIELD
    offsets = {z: float(c) for z, c in without_enthalpy(state.structures, "Ag", share * h).items()}
    drive = heat_field(state.structures, field, TEMPERATURE, offsets)
    motion, path = [*drive, thermostat(TEMPERATURE, THERMOSTAT_TIME)], folder / f"driven-{b:02d}.npz"
    follow(path, state, motion, length, BLOCK, field=field, gauge=-share * h)


def response(names: tuple[str, ...], folder: Path) -> Response | None:
    """Of all replicas under these fields that are done, each in the gauge in which it ran."""
    paths = [folder / f"driven-{b:02d}.npz" for b, name in enumerate(FIELDS) if name in names]
    runs = [archive.load_arrays(path) for path in paths if path.exists()]
    if not runs:
        return None
    seen = series_of(runs)
    gauge, field = (torch.tensor([float(run[name]) for run in runs]).double() for name in ("gauge", "field"))
    flux = seen["flux"] + gauge[:, None] * seen["current"]
    along_x = field[:, None] * torch.eye(3, dtype=torch.float64)[0]
    told = {"field": along_x, "volume": start(0).volume[0], "interval": BLOCK * SAMPLE * TIMESTEP}
    return readings.response({**seen, "flux": flux, **told}, slice(None))


def fields_of(equilibrium: Any, folder: Path) -> Numbers:
    """Columns of what the fields of each group did, and the errors that equilibrium predicts."""
    responses = {group: response(names, folder) for group, names in GROUPS.items()}
    done = {group: x for group, x in responses.items() if x is not None}
    raw, fixed, _ = read(equilibrium, slice(None), "I")
    return {
        "names": list(done),
        **columns_of(list(done.values()), [(raw if "raw" in group else fixed).value for group in done]),
        "replicas": [x.temperature.shape[1] for x in done.values()],
        "time": [x.interval * x.temperature.numel() / (1000 * ps) for x in done.values()],
    }


# ---- the whole -----------------------------------------------------------------------------------------


def records(equilibrium: Any, fields: Numbers) -> dict[str, dict]:
    """Conductivities and lengths; at the paper's field the difference from equilibrium in standard errors."""
    n, both = len(equilibrium["correlations"]), None
    own = read(equilibrium, slice(None), "I")[1]
    out = {"Green-Kubo, zero mass current": replace(own, n=n).record("W/m/K")}
    out["Green-Kubo: length"] = Value(n * float(equilibrium["length"]) / (1000 * ps), nan, n).record("ns")
    columns = ("names", "kappa", "error", "replicas", "time")
    for name, kappa, error, replicas, ns in zip(*(fields[x] for x in columns), strict=True):
        found = Value(kappa, error, replicas)
        out[f"HNEMD at {name}"] = found.record("W/m/K")
        out[f"HNEMD at {name}: length"] = Value(ns, nan, replicas).record("ns")
        both = found if name == "F and -F" else both
    if both:
        out["HNEMD at F and -F less Green-Kubo, in errors"] = Value(both.z(own), nan, 1).record()
    return out


@command()
def run(folder: Path) -> None:
    """All replicas that are not in the folder, those in equilibrium first."""
    folder.mkdir(exist_ok=True, parents=True)
    for b in range(EQUILIBRIUM):
        follow(folder / f"equilibrium-{b:02d}.npz", start(b), ["fix motion all nve"], LENGTH)
    found = gathered(folder)
    keep(folder / "equilibrium-reference.npz", found)
    for b in range(len(FIELDS)):
        driven(b, read(found, slice(None), "I")[2].value, folder)


@command(saves="reference-hnemd")
def report(folder: Path) -> Result:
    """Records, a table of the fields, and running averages of the replicas at F and -F, of what is done."""
    equilibrium = archive.load_arrays(folder / "equilibrium-reference.npz")
    told = told_of([archive.load_arrays(path) for path in folder.glob("driven-*.npz")])
    fields = fields_of(equilibrium, folder)
    both = response(GROUPS["F and -F"], folder)
    running = running_of(both, read(equilibrium, slice(None), "I")[1].value) if both else {}
    arrays = {"fields": fields, "running": running, "commits": told["commit"].split(", ")}
    return Result(records(equilibrium, fields), arrays, told["seconds"], told["device"], SEED)
