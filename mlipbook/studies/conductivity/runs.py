"""Thermal conductivity of alpha-Ag2Se by its reference and by ten potentials fitted to it (Fig. 3): the runs.

Five EF-fits and five EFP-fits have learned the reference potential (`conductivity.fits`); all ten run at
once, one batch of replicas for all. Equilibrium runs give Green-Kubo integrals and the heat h that a current
of silver carries; with h taken off the atomic energies, HNEMD gives the conductivity by each of the three
definitions, and a color field L_11. Replicas that break are left out, and named by the run's file.
`conductivity.readings` says what the runs mean, `conductivity.report` makes results/full/conductivity.json.

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
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

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
from mlipbook.studies.conductivity.fits import keep, potential_of
from mlipbook.studies.conductivity.readings import CHANNELS, MODELS, enthalpies
from mlipbook.studies.conductivity.silver_selenide import TEMPERATURE, melted
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
AXES = {"correlations": 0, "lasted": 0, "field": 0, "flux": 1, "current": 1, "temperature": -1}  # of replicas


@dataclass(frozen=True)
class Run:
    """In equilibrium; or under heat fields, given as REFERENCE_FIELDS are; or a color field on an element."""

    model: Literal["reference", "students"]
    fields: tuple[tuple[float, float], ...] = ()
    definition: Definition = "I"
    color: str | None = None

    @property
    def models(self) -> int:
        return len(MODELS) if self.model == "students" else 1

    @property
    def copies(self) -> int:
        """Of all starts: one for each model or field."""
        return self.models * max(1, len(self.fields))


RUNS = {
    "equilibrium-reference": Run("reference"),
    "equilibrium-students": Run("students"),
    "heat-reference": Run("reference", tuple(REFERENCE_FIELDS.values())),
    **{f"heat-students-{X}": Run("students", ((1.0, 1.0),), X) for X in DEFINITIONS},
    "color-reference": Run("reference", color="Ag"),
    "color-students": Run("students", color="Ag"),
}


def settled(
    simulation: Simulation, state: State, steps: int, observe: Mapping[str, Callable[[State], Tensor]]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What was seen every SAMPLE steps after SETTLE; and steps, timestep, volume, whether a replica lasted
    (B,), and of those that did not (n, 2) number and time of the last good sample, ps.
    """
    limits = Limits(closest=CLOSER * min(simulation.potential.shortest.values(), default=0.0))
    found = lasting.run(simulation, state, steps, observe, SAMPLE, limits)
    seen = {name: x[round(SETTLE / (SAMPLE * TIMESTEP)) :] for name, x in found.observed.items()}
    broken = found.broken.double() * torch.tensor([1.0, TIMESTEP / ps])
    told = {"steps": steps, "timestep": TIMESTEP, "volume": state.volume[0]}
    return seen, {**told, "lasted": found.lasted, "broken": broken}


def equilibrium(
    potential: Potential, state: State, steps: int, reference: Potential | None = None
) -> dict[str, Any]:
    """Constant energy: correlations (B, lags + 1, q, q) of each replica between J_I, J_II, V_Ag; the series
    of J_I and V_Ag (T, B, 3); temperature (B,) K; interval, length (internal time); and what `settled` tells.

    With a reference potential its flux along the same trajectories is correlated, too, and the series, which
    would be large, are left out.
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
    rest |= {"correlations": C, "interval": interval, "length": interval * len(together)}
    rest["temperature"] = seen["temperature"].mean(0)
    return rest if reference is not None else rest | {"flux": seen["I"], "current": seen["Ag"]}


def driven(of: Run, potential: Potential, state: State, steps: int, gauge: Any = None) -> dict[str, Any]:
    """Block means of HNEMD: flux and V_Ag (blocks, B, 3), temperature (blocks, B); and what `settled` tells.

    gauge: the run in equilibrium that tells the heat h of each model's silver, which is taken off.
    """
    along_x, told = torch.full((len(state),), COLOR, dtype=torch.float64), {}
    if gauge is not None:
        found = enthalpies(gauge, of.models, of.definition)
        h = torch.tensor([x.value for x in found], dtype=torch.float64)
        strength, share = torch.tensor(of.fields, dtype=torch.float64).T
        copies = torch.broadcast_tensors(FIELD * strength, share * h)
        along_x, off = (x.repeat_interleave(len(state) // of.copies) for x in copies)
        potential = Shifted(potential, without_enthalpy(state.structures, "Ag", off)).to(state.momenta.device)
        told = {"h": h}
    field = along_x[:, None] * torch.eye(3, dtype=torch.float64)[0]
    fields = field.to(state.momenta)
    simulation = under_field(potential, fields, TEMPERATURE, TIMESTEP, of.definition, of.color)
    seen, rest = settled(simulation, state, steps, observables(["Ag"]))
    for name, series in {**seen, "current": seen["current of Ag"]}.items():
        if name in AXES:
            rest[name] = series[: len(series) // BLOCK * BLOCK].unflatten(0, (-1, BLOCK)).mean(1)
    return {**rest, **told, "field": field, "interval": BLOCK * SAMPLE * TIMESTEP}


# ---- the whole -----------------------------------------------------------------------------------------


def run(
    name: str, folder: Path, steps: int, device: str = "cpu", parts: int = 1, replicas: int | None = None
) -> None:
    """Do one of the RUNS and keep what it returns, unless its file is there. ValueError if it is of others.

    parts: shares of the starts, one after another, each kept when it is done. replicas: of each model.
    """
    positions = archive.load_arrays(folder / "starts.npz")["positions"][:replicas]
    path, starts, what = folder / f"{name}.npz", len(positions), RUNS[name]
    potential = load(folder / "potentials.npz") if what.model == "students" else AgSe()
    of = {"steps": steps, "starts": positions, "potential": potential}
    if what.fields:
        of["equilibrium"] = in_equilibrium(what, folder)["correlations"]
    if made(path, **of):
        return
    shares = [slice(*ends) for ends in pairwise(np.linspace(0, starts, parts + 1).astype(int).tolist())]
    files = [folder / f"{name}, {own.start} to {own.stop} of {starts}.npz" for own in shares]
    for file, own in zip(files, shares, strict=True):
        if not made(file, **of):
            keep(file, part(name, folder, steps, device, own))
    keep(path, joined([archive.load_arrays(file) for file in files], what.copies))
    for file in files:
        file.unlink()
        file.with_name(f"{file.name}.made-of.json").unlink(missing_ok=True)


def part(name: str, folder: Path, steps: int, device: str, own: slice) -> dict[str, Any]:
    """One of the RUNS from some of the starts."""
    began, what = time.perf_counter(), RUNS[name]
    melts = archive.load_arrays(folder / "starts.npz")["positions"][own]
    seed = 1000 * (1 + list(RUNS).index(name)) + what.copies * own.start
    start = melted(np.tile(melts, (what.copies, 1, 1)), seed, device)
    potential, students = potential_of(what.model, folder, device), what.model == "students"
    if what.fields or what.color:
        gauge = in_equilibrium(what, folder) if what.fields else None
        result = driven(what, potential, start, steps, gauge)
    else:
        reference = potential_of("reference", folder, device) if students else None
        result = equilibrium(potential, start, steps, reference)
    for number, time_of_break in result["broken"].tolist():
        of = f"{MODELS[int(number) * len(MODELS) // len(result['lasted'])]}, " if students else ""
        print(f"{name}: {of}replica {number:.0f} broke after {time_of_break:.2f} ps and is left out")
    about = {"device": device_name(device), "commit": bookkit.results.COMMIT}
    return {**result, "seconds": time.perf_counter() - began, **about}


def in_equilibrium(what: Run, folder: Path) -> dict[str, Any]:
    """The run without a field of the same model."""
    return archive.load_arrays(folder / f"equilibrium-{what.model}.npz")


def joined(parts: Sequence[Mapping[str, Any]], copies: int) -> dict[str, Any]:
    """Parts of a run, each with some replicas of every copy, as one; ValueError for different lengths."""
    for name in ("steps", "timestep"):
        if len(found := {float(x[name]) for x in parts}) > 1:
            raise ValueError(f"parts of a run differ in {name}: {sorted(found)}; delete the older ones")
    whole = dict(parts[0])
    for name in AXES.keys() & whole.keys():
        each = [np.moveaxis(x[name], AXES[name], 0) for x in parts]
        models = [x.reshape(copies, -1, *x.shape[1:]) for x in each]
        replicas = np.concatenate(models, 1).reshape(-1, *each[0].shape[1:])
        whole[name] = np.moveaxis(replicas, 0, AXES[name])
    counts = [len(x["lasted"]) // copies for x in parts]  # replicas of a model
    broken = []
    for k, x in enumerate(parts):
        number, time_of_break = np.asarray(x["broken"], dtype=float).T
        model, own = np.divmod(number, counts[k])
        broken.append(np.stack([model * sum(counts) + sum(counts[:k]) + own, time_of_break], -1))
    seconds = sum(float(x["seconds"]) for x in parts)
    commits = ", ".join(sorted({str(x["commit"]) for x in parts}))
    return {**whole, "broken": np.concatenate(broken), "seconds": seconds, "commit": commits}


@command()
def study(
    folder: Path,
    names: Sequence[str] = tuple(RUNS),
    steps: int = 16_800,
    device: str = "cpu",
    parts: int = 1,
    replicas: int | None = None,
) -> None:
    """Do these of the RUNS, as `run` does. steps: of each replica, 5 fs. parts: shares of the replicas, one
    after another. replicas: of each model (default: one from each start).
    """
    if unknown := set(names) - set(RUNS):
        raise ValueError(f"no run {', '.join(sorted(unknown))}; there are {', '.join(RUNS)}")
    for name in names:
        run(name, folder, steps, device, parts, replicas)
