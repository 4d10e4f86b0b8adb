"""Seconds for a label of 128 sodium atoms by plane-wave DFT, beside Quantum ESPRESSO's pw.x in the same run.

    python benchmarks/benchmark_dft.py [--kinds gamma 4k 32k 1024-gamma] [--device cuda] [--limit 7200]
        [--out FILE.json]

Each calculation is a process of its own on one thread: energy, forces and stress from scratch at 10/50 Ry,
PBE, converged to 1e-6 Ry. Seconds are of the processor (other programs count little) and of the clock; on a
GPU those of the clock count, after a small label that loads the libraries. pw.x runs if it is on the PATH.
With the reference BLAS that Debian installs by default it takes several times as long: let its library path
point to OpenBLAS. The table says which it found. A pw.x that has used the processor for --limit seconds is
stopped: what it had used is then a lower bound, and the ratio to it an upper one.
"""

import argparse
import multiprocessing
import os
import re
import resource
import shutil
import subprocess
import tempfile
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk

from mlipbook.bookkit import save_result
from mlipbook.dft import PlaneWaveDFT
from mlipbook.units import Ry

SEED, GOAL = 0, 1.5  # Gamma: at most so many times the seconds of pw.x
KINDS = {  # cells along each axis, mesh, shift, repeats
    "gamma": (4, 1, 0, 3),
    "4k": (4, 2, 1, 1),
    "32k": (4, 4, 1, 1),
    "1024-gamma": (8, 1, 0, 1),
}
Record = dict[str, float]


def sodium(cells: int) -> Atoms:
    atoms = bulk("Na", "bcc", 4.25, cubic=True) * cells
    atoms.rattle(0.15, seed=SEED)
    return atoms


def ours(kind: str, device: str) -> Record:
    """One label; to be run in a process of its own, so that the peak of memory is its own."""
    torch.set_num_threads(1)
    cells, mesh, shift, _ = KINDS[kind]
    atoms = sodium(cells)
    settings = {"kpts": (mesh,) * 3, "shift": (shift,) * 3, "device": device}
    if device == "cuda":  # the first label of a process waits seconds for libraries to load
        first = sodium(2)
        first.calc = PlaneWaveDFT(**settings, ecut_density=50 * Ry)
        first.get_stress()
        torch.cuda.reset_peak_memory_stats()
    atoms.calc = PlaneWaveDFT(**settings, ecut_density=50 * Ry)
    cpu, clock = time.process_time(), time.perf_counter()
    energy = atoms.get_potential_energy()  # with forces and stress: the calculator makes all at once
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if device == "cuda":
        memory = torch.cuda.max_memory_allocated() / 2**30
    return {
        "CPU": time.process_time() - cpu,
        "wall": time.perf_counter() - clock,
        "iterations": len(atoms.calc.report["scf_errors_eV"]),
        "memory": memory,
        "energy": energy / len(atoms),
    }


def pw(kind: str, limit: int | None) -> Record:
    """One label by pw.x; without an energy if it was stopped at the limit, in seconds of the processor."""
    cells, mesh, shift, _ = KINDS[kind]
    atoms = sodium(cells)
    # Of 1,024 atoms the atomic orbitals, pw.x's default start, take more memory than a common machine has.
    start = "random" if len(atoms) > 1000 else "atomic+random"
    points = "gamma" if mesh == 1 else f"automatic\n{mesh} {mesh} {mesh} {shift} {shift} {shift}"
    text = f"""&control
 calculation='scf', outdir='.', pseudo_dir='.', tprnfor=.true., tstress=.true., disk_io='none'
/
&system
 ibrav=0, nat={len(atoms)}, ntyp=1, ecutwfc=10, ecutrho=50, nosym=.true., nbnd={3 * len(atoms) // 4},
 occupations='smearing', smearing='fd', degauss=0.01
/
&electrons
 conv_thr=1e-6, mixing_mode='TF', startingwfc='{start}'
/
ATOMIC_SPECIES
Na 22.99 Na.UPF
K_POINTS {points}
CELL_PARAMETERS angstrom
{rows(atoms.cell.array)}
ATOMIC_POSITIONS angstrom
{rows(atoms.positions, "Na")}
"""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(str(files("mlipbook") / "data" / "Na.UPF"), folder)
        Path(folder, "in").write_text(text)
        clock = time.perf_counter()
        command = ["prlimit", f"--cpu={limit or 'unlimited'}", "pw.x", "-in", "in"]
        unbuffered = os.environ | {"GFORTRAN_UNBUFFERED_ALL": "1"}  # or what a stopped run wrote is lost
        with open(Path(folder, "out"), "w") as out:
            process = subprocess.Popen(command, cwd=folder, stdout=out, env=unbuffered)
            _, status, usage = os.wait4(process.pid, 0)
        wall, found = time.perf_counter() - clock, Path(folder, "out").read_text()
    used = {
        "CPU": usage.ru_utime + usage.ru_stime,
        "wall": wall,
        "iterations": len(re.findall(r"iteration #", found)),
        "memory": usage.ru_maxrss / 2**20,
    }
    if limit and used["CPU"] >= limit:
        return used
    if status or "convergence has been achieved" not in found:
        raise RuntimeError(f"pw.x failed on {kind}:\n{found[-2000:]}")
    [energy] = re.findall(r"!\s+total energy\s+=\s+(\S+) Ry", found)
    return used | {"energy": float(energy) * Ry / len(atoms)}


def rows(values: np.ndarray, symbol: str = "") -> str:
    return "\n".join(" ".join([symbol, *(f"{x:.10f}" for x in row)]) for row in values)


def blas_of_pw() -> str:
    """Name of the BLAS that pw.x finds."""
    linked = subprocess.run(["ldd", shutil.which("pw.x")], capture_output=True, text=True).stdout
    match = re.search(r"libblas\S* => (\S+)", linked)
    if not match:
        return "unknown"
    return "OpenBLAS" if "openblas" in os.path.realpath(match[1]) else "reference"


def measure(kind: str, device: str, with_pw: bool, limit: int | None) -> tuple[list[Record], list[Record]]:
    """Ours and pw.x in turn, so that both see the same load."""
    mine, theirs = [], []
    for _ in range(KINDS[kind][3]):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            mine.append(pool.apply(ours, (kind, device)))
        if with_pw:
            theirs.append(pw(kind, limit))
    return mine, theirs


def tabulated(name: str, runs: list[Record]) -> dict[str, dict]:
    """Records of the runs, and a line for the screen."""
    n, records = len(runs), {}
    for key, unit in (("CPU", "s"), ("wall", "s"), ("iterations", ""), ("memory", "GiB")):
        values = np.array([run[key] for run in runs], dtype=float)
        sem = values.std(ddof=1) / n**0.5 if n > 1 else 0.0
        records[f"{name}, {key}"] = {"value": float(values.mean()), "sem": float(sem), "n": n, "unit": unit}
    line = [f"{records[f'{name}, {key}']['value']:10.2f}" for key in ("CPU", "wall", "iterations", "memory")]
    print(f"{name:22}", *line, flush=True)
    return records


def compared(kind: str, mine: list[Record], theirs: list[Record]) -> dict[str, dict]:
    """Records of pw.x and of ours beside it, and lines for the screen."""
    stopped = any("energy" not in run for run in theirs)
    name, most = f"{kind}, pw.x" + ", stopped" * stopped, " at most" * stopped
    records = tabulated(name, theirs)
    ratio = float(np.mean([a["CPU"] for a in mine]) / np.mean([b["CPU"] for b in theirs]))
    records[f"{kind}, ours/pw.x{most}"] = {"value": ratio, "sem": 0.0, "n": len(mine), "unit": "CPU s"}
    line = f"{kind}:{most} {ratio:.2f} times the CPU seconds of pw.x"
    if kind == "gamma":
        line += f", goal {GOAL}: {'met' if ratio <= GOAL else 'missed'}"
    if not stopped:
        error = 1e3 * abs(mine[0]["energy"] - theirs[0]["energy"])
        records[f"{kind}, energy difference"] = {"value": error, "sem": 0.0, "n": 1, "unit": "meV/atom"}
        line += f"; energies to {error:.1e} meV/atom"
    print(line)
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["gamma", "4k"])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--limit", type=int, help="seconds of the processor after which pw.x is stopped")
    parser.add_argument("--out", type=Path, help="save the table with its provenance as JSON")
    arguments = parser.parse_args()
    began, device, with_pw = time.perf_counter(), arguments.device, shutil.which("pw.x") is not None
    name = torch.cuda.get_device_name() if device == "cuda" else f"cpu, 1 of {os.cpu_count()} cores"
    load = os.getloadavg()[0]
    blas = blas_of_pw() if with_pw else "no pw.x"
    print(f"{name}, load {load:.1f}; torch {torch.__version__}; pw.x with BLAS: {blas}")
    print(f"{'':22}     CPU s     wall s iterations memory GiB")
    records = {"load at the start": {"value": load, "sem": 0.0, "n": 1, "unit": "processes"}}
    for kind in arguments.kinds:
        mine, theirs = measure(kind, device, with_pw, arguments.limit)
        records |= tabulated(kind, mine)
        if theirs:
            records |= compared(kind, mine, theirs)
        if arguments.out:  # after each kind: the next may take long
            seconds = time.perf_counter() - began
            save_result(arguments.out, records, seconds, SEED, name, blas_of_pw_x=blas)


if __name__ == "__main__":
    main()
