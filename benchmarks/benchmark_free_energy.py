"""What 0.1 meV/atom of a free energy costs, and what windows in one batch save.

    python benchmarks/benchmark_free_energy.py [--device cuda] [--steps 1500] [--out FILE.json]

Absolute free energies of 128 atoms of sodium at 350 K (chapter 9's potential of 4 k points) from a short run:
its standard error, which falls with the root of the length, says how many atom-steps and seconds 0.1 meV/atom
would take. Then a step of all windows in one batch, and of one after another. Seconds are of the processor on
a CPU, of the clock on a GPU; one thread.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.build import bulk
from benchmark_dynamics import seconds

import mlipbook as mb
from mlipbook import free_energy as fe
from mlipbook.averages import Value, median
from mlipbook.bookkit import full_file, save_result
from mlipbook.dynamics import Langevin, Limits, thermalize
from mlipbook.potentials import Einstein, Mixture
from mlipbook.units import fs

TEMPERATURE, TIMESTEP, SEED, GOAL = 350.0, 4 * fs, 0, 1e-4  # eV/atom
VOLUMES = {"solid": 39.53, "liquid": 40.69}  # A^3 per atom
REPLICAS, EQUILIBRATION, SPRING = 16, 600, 0.35
ROUNDS, BATCH_STEPS = 5, 40


def potential() -> mb.ANNPotential:
    found = mb.load(full_file("table1-potentials/128-4k.npz")).member(0).float()
    found.shortest = {}
    return found


def box(phase: str, device: str) -> mb.Structures:
    edge = (2 * VOLUMES[phase]) ** (1 / 3)
    return mb.Structures.from_ase(bulk("Na", "bcc", edge, cubic=True) * 4, device)


def cost(phase: str, device: str, steps: int) -> dict[str, dict]:
    """Atom-steps and seconds to the goal, from a run of so many steps of production."""
    start, found = box(phase, device), []
    integrate = fe.solid if phase == "solid" else fe.liquid
    options: dict[str, Any] = {"spring": SPRING} if phase == "solid" else {}
    options["sampling"] = fe.Sampling(0.0, steps, REPLICAS, EQUILIBRATION)
    options |= {"timestep": TIMESTEP, "seed": SEED, "progress": False}
    spent = seconds(lambda: found.append(integrate(potential(), start, TEMPERATURE, **options)), device)
    error = found[0].windows.integral.error
    share = steps / (steps + EQUILIBRATION)  # of the time that made samples
    longer = (error / GOAL) ** 2
    values = {
        "standard error of the run": (1e3 * error, "meV/atom"),
        "atom-steps to 0.1 meV/atom": (start.n_atoms * REPLICAS * steps * longer, "atom-steps"),
        "seconds to 0.1 meV/atom": (spent * share * longer, "s"),
    }
    relative = (2 / min(w.independent for w in found[0].windows if w.weight)) ** 0.5  # of a squared error
    records = {}
    for name, (value, unit) in values.items():
        sem = value * relative / (2 if "error" in name else 1)
        records[f"{phase}: {name}"] = Value(value, sem, 1).record(unit)
        print(f"{phase:8}{name:32}{value:12.4g} ± {sem:.2g} {unit}", flush=True)
    return records


def batch(device: str) -> dict[str, dict]:
    """ms for a step of all windows of a solid, in one batch and one after another."""
    start, lam = box("solid", device), torch.as_tensor(fe.path(8, k=0.0).with_end().lam)
    springs = Einstein(start.positions, SPRING).to(device)
    network = potential().to(device)

    def run(lam: torch.Tensor) -> None:
        state = thermalize(start, [TEMPERATURE] * len(lam), SEED)
        mixture = Mixture(network, springs, lam.to(device))
        simulation = Langevin(mixture, TIMESTEP, TEMPERATURE)
        simulation.run(state, BATCH_STEPS, limits=Limits(closest=0.0), progress=False)

    def one_by_one() -> None:
        for one in lam.split(1):
            run(one)

    ways = {"in one batch": lambda: run(lam), "one after another": one_by_one}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            times[name].append(1e3 * seconds(way, device) / BATCH_STEPS)
    ratios = np.array(times["one after another"]) / np.array(times["in one batch"])
    records = {}
    for name, values, unit in [
        *((name, np.array(x), "ms") for name, x in times.items()),
        ("gain", ratios, ""),
    ]:
        key, found = f"{len(lam)} windows, {name}", median(values)
        records[key] = found.record(unit)
        print(f"{key:40}{found.value:10.3f} ± {found.error:.3f} {unit}", flush=True)
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, default=1500, help="of production in each run")
    parser.add_argument("--out", type=Path, help="save the table with its provenance as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began, device = time.perf_counter(), arguments.device
    name = torch.cuda.get_device_name() if device == "cuda" else f"cpu, 1 of {os.cpu_count()} cores"
    print(f"{name}, load {os.getloadavg()[0]:.1f}; torch {torch.__version__}")
    records = batch(device)
    for phase in VOLUMES:
        records |= cost(phase, device, arguments.steps)
    if arguments.out:
        save_result(arguments.out, records, time.perf_counter() - began, SEED, name)


if __name__ == "__main__":
    main()
