"""Milliseconds per step of molecular dynamics, beside the bare force call and ASE's in the same run.

    python benchmarks/benchmark_dynamics.py [--device cuda] [--steps 200] [--out FILE.json]

The bare call is `evaluate`: once after each step for the state that it led to, with the neighbor list that
it used, which shows what integrator and lists add, and once for frames of the run with lists that end at the
cutoff, the least there is. They take turns, so that they see the same load. Times are of the processor on a
CPU (other programs count little), of the clock on a GPU, where the call is also replayed from a CUDA graph,
as in a step; one thread; the network in float32. NPT, and the ratio to the bare call also for NVT and NVE.
Throughput of batches up to 64 replicas on a GPU.
"""

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.md.nose_hoover_chain import IsotropicMTKNPT

import mlipbook as mb
from mlipbook.averages import median
from mlipbook.bookkit import save_result
from mlipbook.dynamics.forces import CommitteeMean
from mlipbook.neighbors import VerletLists
from mlipbook.units import fs

TEMPERATURE, TIMESTEP, CUTOFF, SEED = 300.0, 2.9 * fs, 6.5, 0
GOAL = 1.15  # times the bare call with the same list
CASES = {"128 atoms": (4, 1), "128 atoms, 8 replicas": (4, 8), "1,024 atoms": (8, 1)}
ROUNDS = 5
ENSEMBLES: dict[str, Callable[[mb.ANNPotential], mb.dynamics.Simulation]] = {
    "NPT": partial(mb.dynamics.NPT, timestep=TIMESTEP, temperature=TEMPERATURE),
    "NVT": partial(mb.dynamics.NVT, timestep=TIMESTEP, temperature=TEMPERATURE),
    "NVE": partial(mb.dynamics.NVE, timestep=TIMESTEP),
}


def sodium(cells: int) -> Atoms:
    return bulk("Na", "bcc", 4.28, cubic=True) * cells


def trained() -> mb.ANNPotential:
    """An EFP-fit of a few seconds: bcc sodium must stay where it is."""
    descriptor = mb.Chebyshev(("Na",), CUTOFF, 16, CUTOFF, 4)
    potential = mb.ANNPotential(descriptor, hidden=(20, 20), seed=SEED).float()
    train, valid = (mb.datasets.load("na-gamma", part) for part in ("train", "valid"))
    mb.fit(potential, train, valid, mb.Cost(p_U=1, p_F=1, p_W=0.2), epochs=40, progress=False)
    return potential


def seconds(function: Callable[[], object], device: str) -> float:
    clock = time.perf_counter if device == "cuda" else time.process_time
    began = clock()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - began


def case(
    potential: mb.ANNPotential,
    cells: int,
    replicas: int,
    device: str,
    steps: int,
    compare: bool = False,
    ensemble: str = "NPT",
) -> dict[str, np.ndarray]:
    """ms per step and bare call (to compare, also of other kinds) of all replicas, in ROUNDS of `steps`."""
    structures = mb.Structures.from_ase([sodium(cells)] * replicas, device)
    state = mb.dynamics.thermalize(structures, TEMPERATURE, seed=SEED)
    simulation = ENSEMBLES[ensemble](potential)
    state = simulation.run(state, 200, progress=False).state  # atoms off their sites
    kinds = others(potential, simulation, state, steps) if compare else {}
    times: dict[str, list[float]] = {name: [] for name in ("a step", "bare call, same list", *kinds)}
    for _ in range(ROUNDS):
        step, call = in_turn(potential, simulation, state, steps, device)
        times["a step"].append(step)
        times["bare call, same list"].append(call)
        for name, (function, n) in kinds.items():
            repeats = steps // n  # as many calls as steps
            total = sum(seconds(function, device) for _ in range(repeats))
            times[name].append(1e3 * total / (n * repeats))
    return {name: np.array(values) for name, values in times.items()}


def in_turn(
    potential: mb.ANNPotential,
    simulation: mb.dynamics.Simulation,
    state: mb.dynamics.State,
    steps: int,
    device: str,
) -> tuple[float, float]:
    """ms of a step, and of the bare call with its list after it: means over `steps` of both."""
    forces = CommitteeMean(potential)
    run = simulation.advance(state, state.step + steps + 1, forces, *simulation.targets(state))
    now = next(run)  # makes the lists
    step = call = 0.0

    def go() -> None:
        nonlocal now
        now = next(run)

    for _ in range(steps):
        step += seconds(go, device)
        call += seconds(partial(potential.evaluate, now.structures, "II", forces.lists.narrow), device)
    return 1e3 * step / steps, 1e3 * call / steps


def others(
    potential: mb.ANNPotential, simulation: mb.dynamics.Simulation, state: mb.dynamics.State, steps: int
) -> dict[str, tuple[Callable[[], object], int]]:
    """What steps are compared with besides, and the number of steps or calls in each."""
    frames = visited(simulation, state, steps)
    least = cycle([(frame, mb.neighbors.build(frame, CUTOFF)) for frame in frames])

    def bare() -> object:
        structures, edges = next(least)
        return potential.evaluate(structures, "II", edges)

    kinds: dict[str, tuple[Callable[[], object], int]] = {"bare call, shortest list": (bare, 1)}
    if state.structures.positions.is_cuda:
        replayed, frame = mb.fast(potential), frames[0]
        edges = VerletLists(CUTOFF)(frame)
        kinds["replayed call"] = (lambda: replayed.evaluate(frame, "II", edges), 1)
    if len(state) > 1:
        return kinds
    atoms = state.structures.to_ase()[0]
    atoms.set_velocities(state.velocities[0].cpu().numpy())
    atoms.calc = mb.Calculator(potential)
    ase = IsotropicMTKNPT(
        atoms, TIMESTEP, temperature_K=TEMPERATURE, pressure_au=0.0, tdamp=100 * fs, pdamp=500 * fs
    )
    return {**kinds, "a step of ASE": (lambda: ase.run(steps), steps)}


def visited(simulation: mb.dynamics.Simulation, state: mb.dynamics.State, steps: int) -> list[mb.Structures]:
    """Ten frames of the run that is timed: a table is as wide as its most crowded atom, which varies."""
    run = simulation.run(state, steps, frames=max(1, steps // 10), progress=False)
    device = state.momenta.device
    return [
        state.structures.moved(positions.to(device), cells.to(device))
        for positions, cells in zip(run.positions, run.cells, strict=True)
    ]


def tabulated(name: str, times: dict[str, np.ndarray]) -> dict[str, dict]:
    """Records, and lines for the screen. Ratios are medians of the rounds' ratios."""
    records = {}
    for kind, values in times.items():
        time = median(values)
        records[f"{name}: {kind}"] = time.record("ms")
        print(f"{name:24} {kind:26} {time.value:9.3f} ± {time.error:.3f} ms")
    for kind in times:
        if kind != "a step":
            ratio, sem = found = median(times["a step"] / times[kind])
            records[f"{name}: a step over {kind.removeprefix('a ')}"] = found.record()
            goal = f", goal {GOAL}: {'met' if ratio <= GOAL else 'missed'}" if "same" in kind else ""
            print(f"{name:24} over {kind.removeprefix('a '):21} {ratio:9.3f} ± {sem:.3f}{goal}", flush=True)
    return records


def compared(potential: mb.ANNPotential, title: str, device: str, steps: int) -> dict[str, dict]:
    """Records of a case, in all ensembles."""
    cells, replicas = CASES[title]
    found = tabulated(title, case(potential, cells, replicas, device, steps, compare=True))
    for name in ("NVT", "NVE"):
        times = case(potential, cells, replicas, device, steps, ensemble=name)
        found |= tabulated(f"{title}, {name}", times)
    return found


def throughput(potential: mb.ANNPotential, replicas: int, device: str, steps: int) -> dict[str, dict]:
    """Atom-steps per second of a batch of 128 atoms; on a CPU the memory is soon the limit."""
    times = case(potential, 4, replicas, device, steps)["a step"]
    rates = replicas * 128 / (times / 1e3)
    rate = median(rates)
    shown = f"{rate.value:12.4g} ± {rate.error:.2g} atom-steps/s"
    print(f"{replicas:3} replicas of 128 atoms {shown}", flush=True)
    return {f"{replicas} replicas of 128 atoms": rate.record("atom-steps/s")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, default=200, help="in each of the rounds")
    parser.add_argument("--out", type=Path, help="save the table with its provenance as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began, device, steps = time.perf_counter(), arguments.device, arguments.steps
    name = torch.cuda.get_device_name() if device == "cuda" else f"cpu, 1 of {os.cpu_count()} cores"
    load = os.getloadavg()[0]
    print(f"{name}, load {load:.1f}; torch {torch.__version__}")
    potential = trained().to(device)
    records = {"load at the start": {"value": load, "sem": 0.0, "n": 1, "unit": "processes"}}
    batches = (1, 2, 4, 8, 16) if device == "cpu" else (1, 2, 4, 8, 16, 32, 64)
    jobs = [partial(compared, potential, title, device, steps) for title in CASES]
    jobs += [partial(throughput, potential, replicas, device, steps) for replicas in batches]
    for job in jobs:
        records |= job()
        if arguments.out:  # after each case: the next may take long
            save_result(arguments.out, records, time.perf_counter() - began, SEED, name)


if __name__ == "__main__":
    main()
