"""Write the page of benchmarks from their stored results: python scripts/make_benchmark_page.py

book/benchmarks.md shows what the scripts in benchmarks/ measured (results/full/benchmark-*.json).
"""

from pathlib import Path

from mlipbook import archive
from mlipbook.bookkit.records import format_value
from mlipbook.bookkit.results import REPOSITORY

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "book" / "benchmarks.md"
RESULTS = ROOT / "results" / "full"
FREE_ENERGY = """## Free energies

`benchmark_free_energy.py`. The cost of a free energy of 128 atoms to 0.1 meV/atom, estimated from the
standard error of a short run, and a step of nine windows in one batch beside nine batches of one.
"""
Records = dict[str, dict]

INTRODUCTION = f"""# Benchmarks

How fast the library is, as ratios to something that ran beside it, on one core of the machine that CI has two
of, and on a GPU where there was one. Each table comes from a script in
[`benchmarks`]({REPOSITORY}/tree/main/benchmarks);
run it on your machine for your numbers. Milliseconds and seconds on a CPU are of the processor; ± is a
standard error over repetitions.
"""
POTENTIAL = """## The potential and its training

`benchmark.py`. Energies and forces of one structure, beside the plain form of the same descriptor, a sum over
triplets of atoms; the neighbor list beside ASE's; a step of training on stored derivatives (four structures,
five seeds) beside double backward. 16/4 are radial and angular orders; the cutoff is 6.5 A.
"""
LABELS = """## First-principles labels

`benchmark_dft.py`. One label of 128 (last row: 1,024) sodium atoms at 10/50 Ry: energy, forces and stress
from scratch. pw.x is Quantum ESPRESSO's, with OpenBLAS, on the same core in turn; where it was stopped before
it had converged, bounds stand. What was not measured has a dash.
"""
DYNAMICS = """## Molecular dynamics

`benchmark_dynamics.py`. A step of NPT with a network of the usual size (16/4, 20-20, float32) beside the bare
call of `evaluate` with the neighbor lists of dynamics: what integrator and lists add. The goal on a CPU, 1.15
times, is met by {met}.
What is left are short operations on a handful of numbers, whose code the force call has pushed out of the
processor's caches, and the pick of near pairs.
On the GPU the call is replayed from a CUDA graph; launching its kernels one by one takes longer than all the
rest of the step, and what is left of a step is Python's time, not the GPU's: take many replicas.
"""
CASES = ("128 atoms", "128 atoms, 8 replicas", "1,024 atoms")
ENSEMBLES = {"NPT": "", "NVT": ", NVT", "NVE": ", NVE"}
GOAL = 1.15
HEAT = """## Heat transport

`benchmark_heat.py`. A step of HNEMD of 384 ions of Ag2Se with the reference potential beside the bare call of
`evaluate` (goal: 1.25 times), a step of NVT, LAMMPS with the same potential as a table, and our own table in
C (module `native_pairs`), in the same run. A network fitted to it, in a batch of ten replicas, in PyTorch and
in C (module `native`): beside a call that is short, all else in a step weighs more.
"""


def records(name: str) -> tuple[Records, str]:
    stored = archive.read_json(RESULTS / f"{name}.json")
    return stored["records"], stored["provenance"]["device"]


def shown(found: Records, key: str) -> str:
    """Value ± standard error, or the value to three digits where nothing was repeated."""
    if key not in found:
        return "-"
    record = found[key]
    if record["sem"]:
        return format_value(record["value"], record["sem"])
    return f"{record['value']:.0f}" if record["value"] >= 100 else f"{record['value']:.3g}"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def potential_table() -> str:
    found, _ = records("benchmark-cpu")
    rows = []
    for key, record in found.items():
        plain = found.get(f"{key}, plain")
        if plain:
            ratio = plain["value"] / record["value"]
            unit = record["unit"]
            values = [f"{shown(found, k)} {unit}" for k in (key, f"{key}, plain")]
            rows.append([key.removesuffix(" (plain: ASE)"), *values, f"{ratio:.1f}"])
    return table(["", "ours", "plain", "times faster"], rows)


def label_table() -> str:
    cpu = records("benchmark-dft-cpu-1024")[0] | records("benchmark-dft-cpu")[0]
    gpu, device = records("benchmark-dft-cuda")
    large, _ = records("benchmark-dft-cuda-1024")
    rows = []
    names = {"gamma": "Gamma", "4k": "4 k points", "32k": "32 k points", "1024-gamma": "Gamma, 1,024 atoms"}
    for kind, name in names.items():
        on_gpu = gpu if f"{kind}, wall" in gpu else large
        columns = [shown(cpu, f"{kind}, CPU"), *beside_pw(cpu, kind), shown(cpu, f"{kind}, memory")]
        seconds, memory = (shown(on_gpu, f"{kind}, {x}") for x in ("wall", "memory"))
        rows.append([name, *columns, seconds, memory])
    head = ["", "core, s", "pw.x, s", "ours/pw.x", "core, GiB", f"{device.split(' 80GB')[0]}, s", "GPU, GiB"]
    return table(head, rows)


def beside_pw(found: Records, kind: str) -> list[str]:
    """Seconds of pw.x and the ratio to them; bounds, where it was stopped."""
    if f"{kind}, pw.x, stopped, CPU" in found:
        seconds, ratio = f"{kind}, pw.x, stopped, CPU", f"{kind}, ours/pw.x at most"
        return [f"> {shown(found, seconds)}", f"< {shown(found, ratio)}"]
    return [shown(found, f"{kind}, pw.x, CPU"), shown(found, f"{kind}, ours/pw.x")]


def free_energy_table() -> str:
    cpu, core = records("benchmark-free-energy-cpu")
    gpu, device = records("benchmark-free-energy-cuda")
    rows = [
        [key, *(f"{shown(found, key)} {record['unit']}" for found in (cpu, gpu))]
        for key, record in cpu.items()
        if "load" not in key
    ]
    return table(["", core, device], rows)


def heat_table() -> str:
    found, device = records("benchmark-heat-cpu")
    rows = [[key, f"{shown(found, key)} {found[key]['unit']}"] for key in found if "load" not in key]
    return table(["", device], rows)


def step_table() -> str:
    cpu, _ = records("benchmark-dynamics-cpu")
    gpu, device = records("benchmark-dynamics-cuda")
    rows = []
    for case in CASES:
        keys = ["a step", "bare call, same list", "a step over bare call, same list", "a step of ASE"]
        rows.append([f"{case}, core", *(shown(cpu, f"{case}: {key}") for key in keys), "-"])
        on_gpu = [shown(gpu, f"{case}: {key}") for key in [*keys, "replayed call"]]
        rows.append([f"{case}, {device.split(' 80GB')[0].removeprefix('NVIDIA ')}", *on_gpu])
    return table(["ms", "a step", "bare call", "ratio", "ASE's step", "replayed call"], rows)


def ratio_key(case: str, ensemble: str) -> str:
    return f"{case}{ENSEMBLES[ensemble]}: a step over bare call, same list"


def ensemble_table() -> str:
    cpu, _ = records("benchmark-dynamics-cpu")
    rows = [[case, *(shown(cpu, ratio_key(case, name)) for name in ENSEMBLES)] for case in CASES]
    return table(["a step over the bare call, core", *ENSEMBLES], rows)


def met() -> str:
    """Which cases of dynamics meet the goal, in words."""
    cpu, _ = records("benchmark-dynamics-cpu")
    missed = [
        f"{name} of {case}"
        for case in CASES
        for name in ENSEMBLES
        if cpu[ratio_key(case, name)]["value"] > GOAL
    ]
    return f"all but {' and '.join(missed)}" if missed else "all cases"


def batch_table() -> str:
    cpu, _ = records("benchmark-dynamics-cpu")
    gpu, device = records("benchmark-dynamics-cuda")
    rows = []
    for replicas in (1, 2, 4, 8, 16, 32, 64):
        key = f"{replicas} replicas of 128 atoms"
        rates = [f"{found[key]['value']:,.0f}" if key in found else "-" for found in (cpu, gpu)]
        rows.append([str(replicas), *rates])
    return table(["replicas of 128 atoms", "core, atom-steps/s", f"{device}, atom-steps/s"], rows)


def page() -> str:
    return "\n".join(
        [INTRODUCTION, POTENTIAL, potential_table(), LABELS, label_table()]
        + [DYNAMICS.format(met=met()), step_table()]
        + [ensemble_table(), batch_table(), FREE_ENERGY, free_energy_table(), HEAT, heat_table()]
    )


if __name__ == "__main__":
    with archive.replacing(PAGE) as file:
        file.write(page().encode())
