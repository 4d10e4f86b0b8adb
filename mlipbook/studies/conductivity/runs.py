"""Thermal conductivity of alpha-Ag2Se by its reference and by ten potentials fitted to it (Fig. 3): the runs.

Five EF-fits and five EFP-fits, paired by their starting weights, have learned the reference potential
(`conductivity.fits`); all ten run at once, one batch of replicas for all. Equilibrium runs give Green-Kubo
integrals and the heat h that a current of silver carries; with h taken off the atomic energies, HNEMD gives
the conductivity by each of the three definitions, and a color field L_11. Replicas that break are left out,
and named by the run's file. `conductivity.readings` says what the runs mean, `conductivity.report` makes
results/full/conductivity.json.

    python -m mlipbook study conductivity.fits --folder F
    python -m mlipbook study conductivity.runs --folder F --names equilibrium-students --steps 4800 \\
        --replicas 12
    python -m mlipbook study conductivity.runs --folder F --names heat-students-I --steps 9040 --replicas 12

made what is stored of the fits, on a CPU with --parts 12 (and color-students with 6000 steps of 2 replicas).
Whatever is in the folder already is not made again. Without names it makes all of RUNS; in parts it takes
some replicas of each model after the others, for a CPU and for runs that may be cut off. With --device cuda
all replicas fit in one batch.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlipbook import archive, bookkit
from mlipbook.archive import made
from mlipbook.dynamics import NVE, Limits, Simulation, State, lasting
from mlipbook.dynamics.forces import CommitteeMean
from mlipbook.fast.choice import fast
from mlipbook.heat import Booked, Shifted, without_enthalpy
from mlipbook.heat.green_kubo import correlation
from mlipbook.heat.hnemd import current_of, flux_of, observables, under_field
from mlipbook.potentials import DEFINITIONS, AgSe, Definition, Potential
from mlipbook.potentials.ann import load
from mlipbook.studies.command import command, device_name
from mlipbook.studies.conductivity.fits import keep, potential_of, start
from mlipbook.studies.conductivity.parts import joined
from mlipbook.studies.conductivity.readings import CHANNELS, MODELS, enthalpies
from mlipbook.studies.conductivity.silver_selenide import TEMPERATURE
from mlipbook.units import bohr, fs, ps

TIMESTEP, SAMPLE = 5 * fs, 3  # steps between samples
SETTLE, LAG = 3 * ps, 5 * ps  # left out; longest lag of Green-Kubo
CLOSER = 0.8  # than the closest pair of the training set: there the fixed repulsion is 28 kT, and rises
FIELD = 0.01 / bohr  # 1/A, the paper's
COLOR = 0.01  # eV/A: 0.4 kT over the 1.8 A from site to site
BLOCK = 50  # samples in a stored mean of a driven run, 0.75 ps
REFERENCE_FIELDS = {  # field/FIELD, share of h taken off: linear response, sign, and the raw gauge
    "F": (1.0, 1.0),
    "-F": (-1.0, 1.0),
    "F/2": (0.5, 1.0),
    "F/4": (0.25, 1.0),
    "raw, F": (1.0, 0.0),
    "raw, F/4": (0.25, 0.0),
}


# ---- in equilibrium ------------------------------------------------------------------------------------


def equilibrium(
    potential: Potential, state: State, steps: int, folder: Path, reference: Potential | None = None
) -> dict[str, Any]:
    """Constant energy: correlations (B, lags + 1, q, q) of each replica between J_I, J_II, V_Ag and, if a
    reference potential is given, its flux along the same trajectories; the series of J_I and V_Ag (T, B, 3);
    temperature (B,) K; interval, length (internal time); volume (A^3); and what `settled` tells.
    """
    second = CommitteeMean(Booked(potential, "II"))
    observe: dict[str, Callable[[State], Tensor]] = {
        "I": flux_of,
        "II": lambda s: flux_of(replace(s, result=second(s.structures))),
        "Ag": partial(current_of, element="Ag"),
        "temperature": lambda s: s.temperature,
    }
    if reference is not None:
        other = fast(reference)
        observe["J_ref"] = lambda s: flux_of(replace(s, result=other.evaluate(s.structures)))
    seen, rest = settled(NVE(Booked(potential, "I"), TIMESTEP), state, steps, observe)
    interval = SAMPLE * TIMESTEP
    together = torch.stack([seen[name] for name in CHANNELS if name in seen], -1)  # (T, B, 3, q)
    C = torch.stack([correlation(x, round(LAG / interval)) for x in together.unbind(1)])
    rest |= {"temperature": seen["temperature"].mean(0), "volume": state.volume[0]}
    rest |= {"interval": interval, "length": interval * len(together)}
    return {"correlations": C, "flux": seen["I"], "current": seen["Ag"], **rest}


def correlations(potential: Potential, state: State, steps: int, folder: Path) -> dict[str, Any]:
    """`equilibrium` of many models, with the reference's flux; without the series, which would be large."""
    reference = potential_of("reference", folder, str(state.momenta.device))
    found = equilibrium(potential, state, steps, folder, reference)
    return {name: value for name, value in found.items() if name not in ("flux", "current")}


def settled(
    simulation: Simulation, state: State, steps: int, observe: Mapping[str, Callable[[State], Tensor]]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What was seen every SAMPLE steps after SETTLE; and steps, timestep, whether a replica lasted (B,), and
    of those that did not (n, 2) number and time of the last good sample, ps.
    """
    limits = Limits(closest=CLOSER * min(simulation.potential.shortest.values(), default=0.0))
    found = lasting.run(simulation, state, steps, observe, SAMPLE, limits)
    seen = {name: x[round(SETTLE / (SAMPLE * TIMESTEP)) :] for name, x in found.observed.items()}
    broken = found.broken.double() * torch.tensor([1.0, TIMESTEP / ps])
    return seen, {"steps": steps, "timestep": TIMESTEP, "lasted": found.lasted, "broken": broken}


# ---- under a field -------------------------------------------------------------------------------------


def heat(
    potential: Potential, state: State, steps: int, folder: Path, definition: Definition
) -> dict[str, Any]:
    """HNEMD of the students, each in the gauge in which its silver carries no heat."""
    h, _ = enthalpies(archive.load_arrays(folder / "equilibrium-students.npz"), len(MODELS), definition)
    shifted = gauged(potential, state, h.repeat_interleave(len(state) // len(MODELS)))
    return {**driven(shifted, state, along_x(FIELD, state), steps, definition=definition), "h": h}


def fields(potential: Potential, state: State, steps: int, folder: Path) -> dict[str, Any]:
    """HNEMD of the reference under all REFERENCE_FIELDS."""
    h, _ = enthalpies(archive.load_arrays(folder / "equilibrium-reference.npz"), 1, "I")
    R = len(state) // len(REFERENCE_FIELDS)
    strength, share = (
        torch.tensor(x, dtype=torch.float64).repeat_interleave(R)
        for x in zip(*REFERENCE_FIELDS.values(), strict=True)
    )
    field = along_x(FIELD, state) * strength[:, None]
    return {**driven(gauged(potential, state, h * share), state, field, steps), "h": h}


def color(potential: Potential, state: State, steps: int, folder: Path) -> dict[str, Any]:
    """A field on silver alone."""
    return driven(potential, state, along_x(COLOR, state), steps, color="Ag")


def gauged(potential: Potential, state: State, h: Tensor) -> Shifted:
    """The potential with h (eV), one for each replica, taken off the current of silver."""
    return Shifted(potential, without_enthalpy(state.structures, "Ag", h)).to(state.momenta.device)


def along_x(strength: float, state: State) -> Tensor:
    return torch.tensor([strength, 0.0, 0.0], dtype=torch.float64).repeat(len(state), 1)


def driven(potential: Potential, state: State, field: Tensor, steps: int, **options: Any) -> dict[str, Any]:
    """Block means of an HNEMD run: flux and V_Ag (blocks, B, 3), temperature (blocks, B); and what `settled`
    tells.
    """
    simulation = under_field(potential, field.to(state.momenta), TEMPERATURE, TIMESTEP, **options)
    seen, rest = settled(simulation, state, steps, observables(["Ag"]))
    kept = {"flux": seen["flux"], "current": seen["current of Ag"], "temperature": seen["temperature"]}
    rest |= {"field": field, "volume": state.volume[0], "interval": BLOCK * SAMPLE * TIMESTEP}
    return {**{name: block_means(series) for name, series in kept.items()}, **rest}


def block_means(series: Tensor) -> Tensor:
    """(T // BLOCK, ...) from (T, ...)."""
    return series[: len(series) // BLOCK * BLOCK].unflatten(0, (-1, BLOCK)).mean(1)


# ---- the whole -----------------------------------------------------------------------------------------


RUNS: dict[str, tuple[str, int, Callable[..., dict[str, Any]]]] = {  # model, copies of all starts, what
    "equilibrium-reference": ("reference", 1, equilibrium),
    "equilibrium-students": ("students", len(MODELS), correlations),
    "heat-reference": ("reference", len(REFERENCE_FIELDS), fields),
    **{f"heat-students-{X}": ("students", len(MODELS), partial(heat, definition=X)) for X in DEFINITIONS},
    "color-reference": ("reference", 1, color),
    "color-students": ("students", len(MODELS), color),
}


def run(
    name: str, folder: Path, steps: int, device: str = "cpu", parts: int = 1, replicas: int | None = None
) -> None:
    """Do one of the RUNS and keep what it returns, unless its file is there. ValueError if it is of others.

    parts: shares of the starts that run one after another; each is kept when it is done, until all are.
    replicas: of each model; as many starts are used (default: all).
    """
    positions = archive.load_arrays(folder / "starts.npz")["positions"][:replicas]
    path, starts = folder / f"{name}.npz", len(positions)
    potential = load(folder / "potentials.npz") if RUNS[name][0] == "students" else AgSe()
    of = {"steps": steps, "starts": positions, "potential": potential}
    if made(path, **of):
        return
    shares = [slice(*ends) for ends in pairwise(np.linspace(0, starts, parts + 1).astype(int).tolist())]
    files = [folder / f"{name}, {own.start} to {own.stop} of {starts}.npz" for own in shares]
    for file, own in zip(files, shares, strict=True):
        if not made(file, **of):
            keep(file, part(name, folder, steps, device, own))
    keep(path, joined([archive.load_arrays(file) for file in files], RUNS[name][1]))
    for file in files:
        file.unlink()
        file.with_name(f"{file.name}.made-of.json").unlink(missing_ok=True)


def part(name: str, folder: Path, steps: int, device: str, own: slice) -> dict[str, Any]:
    """One of the RUNS from some of the starts."""
    model, copies, job = RUNS[name]
    began, seed = time.perf_counter(), 1000 * (1 + list(RUNS).index(name)) + copies * own.start
    state = start(folder, copies, seed, device, own)
    result = job(potential_of(model, folder, device), state, steps, folder)
    for number, time_of_break in result["broken"].tolist():
        of = f"{MODELS[int(number) * len(MODELS) // len(result['lasted'])]}, " if model == "students" else ""
        print(f"{name}: {of}replica {number:.0f} broke after {time_of_break:.2f} ps and is left out")
    about = {"device": device_name(device), "commit": bookkit.results.COMMIT}
    return {**result, "seconds": time.perf_counter() - began, **about}


@command()
def study(
    folder: Path,
    names: Sequence[str] = tuple(RUNS),
    steps: int = 16_800,
    device: str = "cpu",
    parts: int = 1,
    replicas: int | None = None,
) -> None:
    """Do these of the RUNS, as `run` does. steps: of each replica, 5 fs.

    parts: shares of the replicas, one after another. replicas: of each model (default: one from each start).
    """
    if unknown := set(names) - set(RUNS):
        raise ValueError(f"no run {', '.join(sorted(unknown))}; there are {', '.join(RUNS)}")
    for name in names:
        run(name, folder, steps, device, parts, replicas)
