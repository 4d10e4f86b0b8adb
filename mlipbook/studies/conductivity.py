"""Thermal conductivity of alpha-Ag2Se by its reference and by ten potentials fitted to it (Fig. 3): the runs.

Five EF-fits and five EFP-fits, paired by their starting weights, learn the reference potential; then all ten
run at once, one batch of replicas for all. Equilibrium runs give Green-Kubo integrals and the heat h that a
current of silver carries; with h taken off the atomic energies, HNEMD gives the conductivity by each of the
three definitions, and a color field L_11. `conductivity_report` makes results/full/conductivity.json of it.

    python -m mlipbook.studies.conductivity frames train starts equilibrium heat --folder F --device cuda

Each step leaves files in the folder and is skipped where they exist.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from torch import Tensor

from mlipbook import bookkit
from mlipbook.ann import ANNPotential, MemberPerReplica, load
from mlipbook.archive import replacing
from mlipbook.dynamics import NVE, State, thermalize
from mlipbook.dynamics.forces import CommitteeMean
from mlipbook.heat import Booked, Response, Shifted, hnemd, without_enthalpy
from mlipbook.heat.green_kubo import conductivities, correlation, prefactor
from mlipbook.heat.hnemd import current_of, flux_of
from mlipbook.potentials import AgSe
from mlipbook.recording import compiled
from mlipbook.structures import Structures
from mlipbook.studies import cost_weights
from mlipbook.studies.silver_selenide import TEMPERATURE, TIMESTEP, crystal, equilibrated, labeled, split
from mlipbook.units import bohr, fs, ps

MEMBERS, COSTS = 5, [(1.0, 1.0, 0.0), (1.0, 1.0, 1.0)]  # p_U, p_F, p_W of EF and EFP
MODELS = [f"{kind} {m}" for kind in ("EF", "EFP") for m in range(MEMBERS)]
DEFINITIONS = ("I", "II", "III")
FIELD = 0.01 / bohr  # 1/A, the paper's
COLOR = 0.01  # eV/A: 0.3 kT over the 1.3 A from site to site
SAMPLE, SETTLE, LAG = 5, 3 * ps, 5 * ps  # steps between samples; left out; longest lag of Green-Kubo
THERMOSTAT = 100 * fs
BLOCK = 50  # samples in a stored mean of a driven run, 0.75 ps
GAUGE_LAG = 2 * ps  # at which h is read
REFERENCE_FIELDS = {  # name -> field/FIELD, share of h taken off: linear response, sign, raw gauge
    "F": (1.0, 1.0),
    "-F": (-1.0, 1.0),
    "F/2": (0.5, 1.0),
    "F/4": (0.25, 1.0),
    "raw, F": (1.0, 0.0),
    "raw, F/4": (0.25, 0.0),
}


# ---- potentials ----------------------------------------------------------------------------------------


def make_frames(folder: Path, frames: int = 50, device: str = "cpu") -> None:
    """train.xyz, valid.xyz, test.xyz: labeled frames of six trajectories, four to train."""
    parts = split(labeled(equilibrated(6, device=device), frames, 0.2 * ps))
    for name, atoms in zip(("train", "valid", "test"), parts, strict=True):
        ase.io.write(folder / f"{name}.xyz", atoms)


def train(folder: Path, epochs: int, device: str = "cpu") -> None:
    """potentials.npz: a committee of ten, EF 0..4 and EFP 0..4."""
    learn, valid = (ase.io.read(folder / f"{name}.xyz", ":") for name in ("train", "valid"))
    committee, _ = cost_weights.fit_map(COSTS, learn, valid, members=MEMBERS, epochs=epochs, device=device)
    committee.cpu().save(folder / "potentials.npz")


# ---- runs ----------------------------------------------------------------------------------------------


def make_starts(folder: Path, replicas: int, device: str = "cpu") -> None:
    """starts.npz: positions of the superionic phase, one melt per replica."""
    state = equilibrated(replicas, seed=100, device=device)
    keep(folder / "starts.npz", positions=state.structures.positions)


def start(folder: Path, copies: int, seed: int, device: str) -> State:
    """All starts, as often as there are models, with new velocities."""
    positions = torch.as_tensor(np.load(folder / "starts.npz")["positions"]).repeat(copies, 1, 1)
    one = Structures.from_ase(crystal())
    cells = one.cells.expand(len(positions), 3, 3).contiguous()
    structures = replace(one, positions=positions, cells=cells).to(device)
    return thermalize(structures, TEMPERATURE, seed)


def students(folder: Path, device: str) -> MemberPerReplica:
    """In single precision, each with replicas of its own."""
    committee: ANNPotential = load(folder / "potentials.npz").float().to(device)
    committee.shortest = None
    return fast(MemberPerReplica(committee), device)


def reference(device: str) -> Any:
    return fast(AgSe().to(device), device)


def fast(potential: Any, device: str) -> Any:
    return compiled(potential) if device != "cpu" else potential


def equilibrium(potential: Any, state: State, steps: int) -> dict[str, Any]:
    """Constant energy: correlations (B, lags + 1, 3, 3) of J_I, J_II and V_Ag of each replica, and the series
    of J_I and V_Ag (T, B, 3); temperature (B,) K; interval (internal time); volume (A^3).
    """
    second = CommitteeMean(Booked(potential, "II"))
    observe: dict[str, Callable[[State], Tensor]] = {
        "I": flux_of,
        "II": lambda s: flux_of(replace(s, result=second(s.structures))),
        "Ag": partial(current_of, element="Ag"),
        "temperature": lambda s: s.temperature,
    }
    run = NVE(Booked(potential, "I"), TIMESTEP).run(state, steps, observe, every=SAMPLE)
    interval = SAMPLE * TIMESTEP
    seen = {name: series[round(SETTLE / interval) :] for name, series in run.observed.items()}
    together = torch.stack([seen["I"], seen["II"], seen["Ag"]], -1)  # (T, B, 3, 3)
    C = torch.stack([correlation(x, round(LAG / interval)) for x in together.unbind(1)])
    rest = {"temperature": seen["temperature"].mean(0), "interval": interval, "volume": state.volume[0]}
    return {"correlations": C, "flux": seen["I"], "current": seen["Ag"], **rest}


def integrals(found: Any, replicas: slice, definition: str) -> tuple[Tensor, ...]:
    """`green_kubo.conductivities` of a model's replicas: kappa, corrected, h, each with its error."""
    half = {"I": (1.0, 0.0), "II": (0.0, 1.0), "III": (0.5, 0.5)}[definition]
    mix = torch.tensor([[*half, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    C = mix @ torch.as_tensor(found["correlations"][replicas]).double() @ mix.T
    scale = prefactor(float(found["volume"]), float(found["temperature"][replicas].mean()))
    return conductivities(torch.cumulative_trapezoid(C, dx=float(found["interval"]), dim=1) * scale)


def enthalpies(found: Any, models: int) -> dict[str, Tensor]:
    """definition -> h (models,), eV: what a current of silver carries, from the equilibrium runs."""
    at = round(GAUGE_LAG / float(found["interval"])) - 1
    R = len(found["correlations"]) // models
    shares = [slice(m * R, (m + 1) * R) for m in range(models)]
    return {X: torch.stack([integrals(found, s, X)[4][at] for s in shares]) for X in DEFINITIONS}


def gauged(potential: Any, state: State, h: Tensor) -> Shifted:
    """The potential with h (eV), one for each replica, taken off the current of silver."""
    return Shifted(potential, without_enthalpy(state.structures, "Ag", h)).to(state.momenta.device)


def driven(potential: Any, state: State, field: Tensor, steps: int, **options: Any) -> dict[str, Any]:
    """Block means of an HNEMD run: flux and V_Ag (blocks, B, 3), temperature (blocks, B)."""
    settings: dict[str, Any] = {"thermostat_time": THERMOSTAT, "settle": SETTLE, "every": SAMPLE, **options}
    found = hnemd(potential, state, field, TEMPERATURE, steps, TIMESTEP, **settings)
    kept = {"flux": found.flux, "current": found.current["Ag"], "temperature": found.temperature}
    means = {name: block_means(series) for name, series in kept.items()}
    rest = {"field": found.field, "volume": found.volume, "interval": BLOCK * found.interval}
    return {**means, **rest}


def block_means(series: Tensor) -> Tensor:
    """(T // BLOCK, ...) from (T, ...)."""
    return series[: len(series) // BLOCK * BLOCK].unflatten(0, (-1, BLOCK)).mean(1)


def response(path: Path, replicas: slice) -> Response:
    """A model's share of a stored driven run."""
    found = np.load(path)
    flux, current, temperature = (
        torch.as_tensor(found[name][:, replicas]).double() for name in ("flux", "current", "temperature")
    )
    field = torch.as_tensor(found["field"][replicas])
    rest = float(found["volume"]), float(found["interval"]), TEMPERATURE
    return Response(flux, {"Ag": current}, temperature, field, *rest)


# ---- the whole -----------------------------------------------------------------------------------------


def along_x(strength: float, state: State) -> Tensor:
    return torch.tensor([strength, 0.0, 0.0], dtype=torch.float64).expand(len(state), 3)


def run_equilibrium(folder: Path, steps: int, device: str) -> None:
    jobs = {"reference": (1, reference), "students": (len(MODELS), partial(students, folder))}
    for name, (copies, potential) in jobs.items():
        make = partial(equilibrium, steps=steps)
        once(folder, f"equilibrium-{name}", device, lambda s, p=potential, f=make: f(p(device), s), copies, 1)


def run_heat(folder: Path, steps: int, device: str) -> None:
    """The reference under its six fields, then the students by each definition, then color fields."""
    raw = np.load(folder / "equilibrium-reference.npz")
    h_reference = enthalpies(raw, 1)["I"]
    strengths, shares = (
        torch.tensor(x, dtype=torch.float64) for x in zip(*REFERENCE_FIELDS.values(), strict=True)
    )

    def heat_of_reference(state: State) -> dict[str, Any]:
        R = len(state) // len(strengths)
        field = FIELD * strengths.repeat_interleave(R)[:, None] * torch.eye(3, dtype=torch.float64)[0]
        potential = gauged(reference(device), state, (h_reference * shares).repeat_interleave(R))
        return driven(potential, state, field, steps)

    once(folder, "heat-reference", device, heat_of_reference, len(strengths), 2)
    h = enthalpies(np.load(folder / "equilibrium-students.npz"), len(MODELS))
    for k, X in enumerate(DEFINITIONS):

        def heat(state: State, X: str = X) -> dict[str, Any]:
            offsets = h[X].repeat_interleave(len(state) // len(MODELS))
            potential = gauged(students(folder, device), state, offsets)
            return {**driven(potential, state, along_x(FIELD, state), steps, definition=X), "h": h[X]}

        once(folder, f"heat-students-{X}", device, heat, len(MODELS), 3 + k)
    for name, (copies, potential) in {
        "reference": (1, lambda: reference(device)),
        "students": (len(MODELS), lambda: students(folder, device)),
    }.items():

        def color(state: State, potential: Callable[[], Any] = potential) -> dict[str, Any]:
            return driven(potential(), state, along_x(COLOR, state), steps // 3, color="Ag")

        once(folder, f"color-{name}", device, color, copies, 6)


def once(
    folder: Path, name: str, device: str, job: Callable[[State], dict[str, Any]], copies: int, seed: int
) -> None:
    """Do a job on `copies` of all starts and keep what it returns, unless its file is there."""
    path = folder / f"{name}.npz"
    if path.exists():
        return
    began = time.perf_counter()
    result = job(start(folder, copies, 1000 * seed, device))
    used = "cpu" if device == "cpu" else torch.cuda.get_device_name()
    keep(path, **result, seconds=time.perf_counter() - began, device=used, commit=bookkit.results.COMMIT)


def keep(path: Path, **arrays: Any) -> None:
    """Write an npz, complete or not at all; floating-point series in single precision."""
    plain = {
        k: v.detach().cpu().numpy() if isinstance(v, Tensor) else np.asarray(v) for k, v in arrays.items()
    }
    small = {k: v.astype(np.float32) if v.ndim > 2 and k != "positions" else v for k, v in plain.items()}
    with replacing(path) as file:
        np.savez_compressed(file, **small)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = ["frames", "train", "starts", "equilibrium", "heat"]
    parser.add_argument("commands", nargs="+", choices=commands)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--replicas", type=int, default=24, help="of each model")
    parser.add_argument("--steps", type=int, default=28_000, help="of each replica, 3 fs")
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True, parents=True)
    folder, device = given.folder, given.device
    if "frames" in given.commands and not (folder / "train.xyz").exists():
        make_frames(folder, device=device)
    if "train" in given.commands and not (folder / "potentials.npz").exists():
        train(folder, given.epochs, device)
    if "starts" in given.commands and not (folder / "starts.npz").exists():
        make_starts(folder, given.replicas, device)
    if "equilibrium" in given.commands:
        run_equilibrium(folder, given.steps, device)
    if "heat" in given.commands:
        run_heat(folder, given.steps, device)


if __name__ == "__main__":
    main()
