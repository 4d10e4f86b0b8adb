"""Milliseconds per HNEMD step of 384 ions of Ag2Se, beside bare force call, NVT and LAMMPS in the same run.

    python benchmarks/benchmark_heat.py [--device cuda] [--steps 100] [--out FILE.json]

The pair potential `AgSe`, cutoff 9.5 A. The bare call is `evaluate` for frames of an NVT run with the
neighbor lists that dynamics would use. LAMMPS (if `lammps` is installed) has the same potential as a table,
at constant energy, and on a CPU module `native_pairs` has it in C. Then, on a CPU, a network fitted to it, as
stored in results/full/ag2se, in single precision, ten replicas in a batch: in PyTorch and in C (module
`native`), and a step of HNEMD with the latter. All take turns, so that they see the same load. Times are of
the processor on a CPU (other programs count little), of the clock on a GPU, where the call is also replayed
from a CUDA graph, as in a step; one thread. On a GPU also atom-steps per second of 1 to 30 replicas.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np
import torch

import mlipbook as mb
from mlipbook import bookkit
from mlipbook.averages import median
from mlipbook.bookkit import save_result
from mlipbook.heat import hnemd
from mlipbook.lammps import table as lammps_table
from mlipbook.neighbors import VerletLists
from mlipbook.potentials import AgSe, EdgePotential
from mlipbook.studies.conductivity.silver_selenide import TEMPERATURE, TIMESTEP, crystal
from mlipbook.units import bohr

SEED, ROUNDS = 0, 5
FIELD = 0.01 / bohr  # the paper's, 1/A
GOAL = 1.25  # an HNEMD step over the bare call
BATCH = 10  # replicas of a network in a batch
BATCHES = {"cpu": (1, 4), "cuda": (1, 2, 4, 8, 16, 30)}
Kinds = dict[str, tuple[Callable[[], object], int]]  # name -> what to call, steps in a call


def seconds(function: Callable[[], object], device: str) -> float:
    clock = time.perf_counter if device == "cuda" else time.process_time
    began = clock()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - began


def liquid_silver(potential: EdgePotential, replicas: int, device: str) -> mb.dynamics.State:
    """Replicas of the superionic phase after a short run."""
    structures = mb.Structures.from_ase([crystal()] * replicas, device)
    state = mb.dynamics.thermalize(structures, 2 * TEMPERATURE, seed=SEED)
    return mb.dynamics.NVT(potential, TIMESTEP, TEMPERATURE).run(state, 200, progress=False).state


def driven(potential: EdgePotential, state: mb.dynamics.State, steps: int) -> Callable[[], object]:
    def run() -> object:
        options = {"settle": 0.0, "every": 5, "progress": False}
        return hnemd(potential, state, FIELD, TEMPERATURE, steps, TIMESTEP, **options)

    return run


def ours(potential: EdgePotential, state: mb.dynamics.State, steps: int) -> Kinds:
    nvt = mb.dynamics.NVT(potential, TIMESTEP, TEMPERATURE)
    run = nvt.run(state, steps, frames=max(1, steps // 10), progress=False)
    frames = [replace(state.structures, positions=x.to(state.momenta.device)) for x in run.positions]
    pairs = cycle([(frame, VerletLists(potential.cutoff)(frame)) for frame in frames])

    def bare() -> object:
        structures, edges = next(pairs)
        return potential.evaluate(structures, "I", edges)

    kinds: Kinds = {
        "a step of HNEMD": (driven(potential, state, steps), steps),
        "bare call": (bare, 1),
        "a step of NVT": (lambda: nvt.run(state, steps, every=steps, progress=False), steps),
    }
    if state.momenta.is_cuda:
        replayed, (structures, edges) = mb.fast(potential), next(pairs)
        kinds["replayed call"] = (lambda: replayed.evaluate(structures, "I", edges), 1)
    return kinds


def in_lammps(potential: EdgePotential, state: mb.dynamics.State, folder: str, steps: int) -> Kinds:
    """Empty without LAMMPS."""
    try:
        lmp = lammps_table.started(
            potential.cpu(), state.structures.to("cpu"), state.velocities.cpu(), f"{folder}/agse.table"
        )
    except (ImportError, OSError) as error:
        print(f"without LAMMPS: {error}")
        return {}
    lmp.commands_list([f"timestep {TIMESTEP / mb.units.ps}", "fix nve all nve", "thermo 1000000"])
    return {"a step of LAMMPS": (lambda: lmp.command(f"run {steps}"), steps)}


def rounds(kinds: Kinds, device: str, steps: int) -> dict[str, np.ndarray]:
    """ms per step, or call, in ROUNDS of `steps` of each kind."""
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(ROUNDS):
        for name, (function, n) in kinds.items():
            clock = "cpu" if "LAMMPS" in name else device
            total = sum(seconds(function, clock) for _ in range(steps // n))
            times[name].append(1e3 * total / steps)
    return {name: np.array(values) for name, values in times.items()}


def one_replica(device: str, steps: int) -> dict[str, dict]:
    """Records: times, and an HNEMD step over the others; ratios are medians of the rounds' ratios."""
    potential = AgSe().to(device)
    state = liquid_silver(potential, 1, device)
    with tempfile.TemporaryDirectory() as folder:
        kinds = ours(potential, state, steps) | in_lammps(AgSe(), state, folder, steps)
        if device == "cpu":
            native = mb.fast(potential)
            kinds["native call"] = (lambda: native.evaluate(state.structures), 1)
        times = rounds(kinds, device, steps)
    records = {f"384 ions: {name}": median(values).record("ms") for name, values in times.items()}
    step = times.pop("a step of HNEMD")
    for name, values in times.items():
        records[f"384 ions: HNEMD over {name.removeprefix('a ')}"] = median(step / values).record()
    return records


def network(steps: int) -> dict[str, dict]:
    """Records of a fit in C beside PyTorch: ms for 384 ions, of a batch of BATCH replicas."""
    potential = mb.load(bookkit.full_file("ag2se/potentials.npz")).member(5).float()  # EFP 0
    potential.shortest = {}  # these states are not to be judged
    native, state = mb.fast(potential), liquid_silver(AgSe(), BATCH, "cpu")
    edges = VerletLists(potential.cutoff)(state.structures)
    kinds: Kinds = {
        "call in PyTorch": (lambda: potential.evaluate(state.structures, "I", edges), 1),
        "native call": (lambda: native.evaluate(state.structures, "I", edges), 1),
        "a step of HNEMD, native": (driven(native, state, steps), steps),
    }
    times = {name: t / BATCH for name, t in rounds(kinds, "cpu", steps).items()}
    records = {f"384 ions, network: {name}": median(values).record("ms") for name, values in times.items()}
    call, c, step = times.values()
    records["384 ions, network: PyTorch over native call"] = median(call / c).record()
    records["384 ions, network: HNEMD over native call"] = median(step / c).record()
    return records


def throughput(replicas: int, device: str, steps: int) -> dict[str, dict]:
    """Atom-steps per second of HNEMD."""
    potential = AgSe().to(device)
    state = liquid_silver(potential, replicas, device)
    times = rounds({"step": (driven(potential, state, steps), steps)}, device, steps)["step"]
    rates = len(state) * state.structures.n_atoms / (times / 1e3)
    return {f"HNEMD, {replicas} replicas of 384 ions": median(rates).record("atom-steps/s")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, default=100, help="in each of the rounds, 60 or more")
    parser.add_argument("--out", type=Path, help="save the table with its provenance as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began, device, steps = time.perf_counter(), arguments.device, arguments.steps
    name = torch.cuda.get_device_name() if device == "cuda" else f"cpu, 1 of {os.cpu_count()} cores"
    load = os.getloadavg()[0]
    print(f"{name}, load {load:.1f}; torch {torch.__version__}")
    records = {"load at the start": {"value": load, "sem": 0.0, "n": 1, "unit": "processes"}}
    jobs = [partial(one_replica, device, steps)]
    jobs += [partial(network, steps)] * (device == "cpu")
    jobs += [partial(throughput, replicas, device, steps) for replicas in BATCHES[device]]
    for job in jobs:
        found = job()
        for title, item in found.items():
            goal = (
                f", goal {GOAL}: {'met' if item['value'] <= GOAL else 'missed'}"
                if "over bare" in title
                else ""
            )
            print(f"{title:40} {item['value']:11.5g} ± {item['sem']:.2g} {item['unit']}{goal}", flush=True)
        records |= found
        if arguments.out:  # after each case: the next may take long
            save_result(arguments.out, records, time.perf_counter() - began, SEED, name)


if __name__ == "__main__":
    main()
