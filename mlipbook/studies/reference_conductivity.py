"""Conductivity of the Ag2Se reference over nanoseconds on one core: our analysis, trajectories by LAMMPS.

The reference is a pair potential: on a CPU LAMMPS computes it from a table ten times faster than PyTorch
does, with the same energies, forces and heat flux (module lammps_table). Needs the package `lammps`.

    python -m mlipbook.studies.reference_conductivity --folder F

Replicas that are in the folder are not run again; the report is made anew after each.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlipbook import bookkit
from mlipbook.dynamics import State, thermalize
from mlipbook.heat import Transport, green_kubo
from mlipbook.potentials import AgSe
from mlipbook.structures import Structures
from mlipbook.studies.conductivity import LAG, SAMPLE, SETTLE, TIMESTEP, keep
from mlipbook.studies.conductivity_readings import GAUGE_LAG
from mlipbook.studies.lammps_table import started
from mlipbook.studies.silver_selenide import TEMPERATURE, crystal
from mlipbook.units import ps

STARTS = Path("results/full/ag2se/starts.npz")  # 24 melts of silver, of `conductivity`
LENGTH = 100 * ps  # of each replica
SEED = 7000  # and the replica's number: of its velocities


def start(b: int) -> State:
    """A melt at rest with new velocities, one replica."""
    positions = torch.as_tensor(np.load(STARTS)["positions"][b : b + 1])
    structures = replace(Structures.from_ase(crystal()), positions=positions)
    return thermalize(structures, TEMPERATURE, seed=SEED + b)


# ---- in equilibrium ------------------------------------------------------------------------------------


def equilibrium(b: int, folder: Path, steps: int) -> None:
    """A run at constant energy: heat flux, V_Ag (T, 3), internal units, and temperature (T,), in an npz."""
    path, file = folder / f"equilibrium-{b:02d}.npz", folder / f"equilibrium-{b:02d}.txt"
    if path.exists():
        return
    began, state = time.process_time(), start(b)
    lmp = started(AgSe(), state.structures, state.velocities, folder / f"agse-{b:02d}.table")
    seen = " ".join([*(f"c_flux[{k}]" for k in (1, 2, 3)), *(f"c_current[{k}]" for k in (1, 2, 3))])
    lmp.commands_list(
        ["neigh_modify every 1 delay 0 check yes", f"timestep {TIMESTEP / ps:.12g}", "fix nve all nve"]
        + ["group silver type 1", "compute current silver reduce sum vx vy vz", "thermo 1000"]
        + [f"run {round(SETTLE / TIMESTEP)}"]
        + [f"fix seen all ave/time {SAMPLE} 1 {SAMPLE} {seen} c_thermo_temp file {file} format ' %.9g'"]
        + [f"run {steps}"]
    )
    lmp.close()
    series = torch.as_tensor(np.loadtxt(file)[1:, 1:])
    kept = {"flux": series[:, :3] / ps, "current": series[:, 3:6] / ps, "temperature": series[:, 6]}
    keep(path, {**kept, "seconds": time.process_time() - began, "commit": bookkit.results.COMMIT})
    file.unlink()


def green_kubo_of(folder: Path) -> tuple[Transport, dict[str, Any]]:
    """Integrals of all replicas that are done, and what else is to be told of them."""
    runs = [np.load(path) for path in sorted(folder.glob("equilibrium-*.npz"))]
    T = min(len(run["flux"]) for run in runs)
    flux, current = (
        torch.stack([torch.as_tensor(run[name][:T]) for run in runs], 1) for name in ("flux", "current")
    )
    temperatures = torch.tensor([float(run["temperature"].mean()) for run in runs])
    volume, interval = float(start(0).volume[0]), SAMPLE * TIMESTEP
    found = green_kubo(flux, interval, volume, float(temperatures.mean()), LAG, current)
    temperature = temperatures.mean(), temperatures.std() / len(runs) ** 0.5
    told = {"replicas": len(runs), "length": T * interval, "temperature": temperature}
    return found, told | {"seconds": sum(float(run["seconds"]) for run in runs)}


# ---- the whole -----------------------------------------------------------------------------------------


def records(found: Transport, told: dict[str, Any]) -> dict[str, dict]:
    """Conductivity at zero mass current and as it stands, h, and L of heat and silver, at GAUGE_LAG."""
    at, n = round(GAUGE_LAG / (SAMPLE * TIMESTEP)) - 1, told["replicas"]

    def record(value: Any, error: Any, unit: str) -> dict:
        return {"value": float(value), "sem": float(error), "n": n, "unit": unit}

    L, errors = found.coefficients[at], found.coefficient_errors[at]
    return {
        "zero mass current": record(found.corrected[at], found.corrected_error[at], "W/m/K"),
        "as it stands": record(found.kappa[at], found.kappa_error[at], "W/m/K"),
        "h": record(found.enthalpy[at], found.enthalpy_error[at], "eV"),
        "L_q1": record(L[0, 1], errors[0, 1], "W/m/K/eV"),
        "L_11": record(L[1, 1], errors[1, 1], "W/m/K/eV^2"),
        "temperature": record(told["temperature"][0], told["temperature"][1], "K"),
        "length": {"value": n * told["length"] / (1000 * ps), "sem": None, "n": n, "unit": "ns"},
    }


def report(folder: Path, out: Path) -> None:
    """Records, and the integrals against their longest lag (every fifth)."""
    found, told = green_kubo_of(folder)
    curves = {
        name: [float(f"{x:.5g}") for x in getattr(found, name)[4::5].tolist()]
        for name in ("kappa", "kappa_error", "corrected", "corrected_error")
    }
    curves["time"] = (found.time[4::5] / ps).tolist()
    bookkit.save_result(
        out, records(found, told), told["seconds"], SEED, "cpu, 1 core, by LAMMPS", curves=curves
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--replicas", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path("results/full/reference-conductivity.json"))
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True, parents=True)
    for b in range(given.replicas):
        equilibrium(b, given.folder, round(LENGTH / TIMESTEP))
        if b:
            report(given.folder, given.out)


if __name__ == "__main__":
    main()
