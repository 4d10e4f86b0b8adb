"""Thermal conductivity of alpha-Ag2Se by its reference and by ten potentials fitted to it (Fig. 3): the runs.

Five EF-fits and five EFP-fits, paired by their starting weights, learn the reference potential; then all ten
run at once, one batch of replicas for all. Equilibrium runs give Green-Kubo integrals and the heat h that a
current of silver carries; with h taken off the atomic energies, HNEMD gives the conductivity by each of the
three definitions, and a color field L_11. `conductivity_report` makes results/full/conductivity.json of it.

    python -m mlipbook.studies.conductivity prepare --folder F --device cuda
    python -m mlipbook.studies.conductivity run equilibrium-students heat-students-I --folder F --device cuda

Whatever is in the folder already is not made again. Without names, `run` makes all of RUNS.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from torch import Tensor

from mlipbook import bookkit
from mlipbook.ann import MemberPerReplica, load
from mlipbook.archive import replacing
from mlipbook.dynamics import NVE, State, thermalize
from mlipbook.dynamics.forces import CommitteeMean
from mlipbook.heat import Booked, Response, Shifted, hnemd, without_enthalpy
from mlipbook.heat.green_kubo import conductivities, correlation, jackknife, prefactor
from mlipbook.heat.hnemd import current_of, flux_of
from mlipbook.potentials import AgSe
from mlipbook.recording import compiled
from mlipbook.structures import Structures
from mlipbook.studies import cost_weights
from mlipbook.studies.silver_selenide import TEMPERATURE, crystal, equilibrated, labeled, split
from mlipbook.units import bohr, fs, ps

MEMBERS, COSTS = 5, [(1.0, 1.0, 0.0), (1.0, 1.0, 1.0)]  # p_U, p_F, p_W of EF and EFP
MODELS = [f"{kind} {m}" for kind in ("EF", "EFP") for m in range(MEMBERS)]
DEFINITIONS = {"I": (1.0, 0.0), "II": (0.0, 1.0), "III": (0.5, 0.5)}  # shares of J_I and J_II
SILVER = (0.0, 0.0, 1.0)  # of J_I, J_II, V_Ag
TIMESTEP, SAMPLE = 5 * fs, 3  # steps between samples
SETTLE, LAG, GAUGE_LAG = 3 * ps, 5 * ps, 2 * ps  # left out; longest lag of Green-Kubo; where h is read
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
FRAMES, INTERVAL = 50, 0.2 * ps  # labeled ones of each of six trajectories


# ---- potentials and starts -----------------------------------------------------------------------------


def prepare(folder: Path, replicas: int, epochs: int, device: str = "cpu") -> None:
    """Labeled frames (*.xyz), a committee of all MODELS (potentials.npz), melted crystals (starts.npz)."""
    parts = [folder / f"{name}.xyz" for name in ("train", "valid", "test")]
    if not parts[-1].exists():
        for path, frames in zip(parts, split(labeled(equilibrated(6), FRAMES, INTERVAL)), strict=True):
            ase.io.write(path, frames)
    if not (folder / "potentials.npz").exists():
        learn, valid = (list(ase.io.iread(path)) for path in parts[:2])
        options: dict[str, Any] = {"members": MEMBERS, "epochs": epochs, "device": device}
        committee, _ = cost_weights.fit_map(COSTS, learn, valid, **options)
        committee.cpu().save(folder / "potentials.npz")
    if not (folder / "starts.npz").exists():
        melted = equilibrated(replicas, seed=100, device=device)
        keep(folder / "starts.npz", {"positions": melted.structures.positions})


def start(folder: Path, copies: int, seed: int, device: str) -> State:
    """All starts, as often as there are models, with new velocities."""
    positions = torch.as_tensor(np.load(folder / "starts.npz")["positions"]).repeat(copies, 1, 1)
    one = Structures.from_ase(crystal())
    cells = one.cells.expand(len(positions), 3, 3).contiguous()
    structures = replace(one, positions=positions, cells=cells).to(device)
    return thermalize(structures, TEMPERATURE, seed)


@cache
def potential_of(model: str, folder: Path, device: str) -> Any:
    """The "reference", or all "students" in single precision, each with replicas of its own."""
    if model == "reference":
        found: Any = AgSe().to(device)
    else:
        committee = load(folder / "potentials.npz").float().to(device)
        committee.shortest = None  # nanoseconds meet pairs a little closer than any of the training set
        found = MemberPerReplica(committee)
    return compiled(found) if device != "cpu" else found


# ---- in equilibrium ------------------------------------------------------------------------------------


def equilibrium(potential: Any, state: State, steps: int, folder: Path) -> dict[str, Any]:
    """Constant energy: correlations (B, lags + 1, 3, 3) of J_I, J_II and V_Ag of each replica, and the series
    of J_I and V_Ag (T, B, 3); temperature (B,) K; interval, length (internal time); volume (A^3).
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
    rest: dict[str, Any] = {"temperature": seen["temperature"].mean(0), "volume": state.volume[0]}
    rest |= {"interval": interval, "length": interval * len(together)}
    return {"correlations": C, "flux": seen["I"], "current": seen["Ag"], **rest}


def correlations(potential: Any, state: State, steps: int, folder: Path) -> dict[str, Any]:
    """`equilibrium` of many models, without the series, which would be large."""
    found = equilibrium(potential, state, steps, folder)
    return {name: value for name, value in found.items() if name not in ("flux", "current")}


def samples(found: Any, replicas: slice, shares: Sequence[Sequence[float]]) -> Tensor:
    """L_ab(t) of each of a model's replicas, (R, lags, q, q); fluxes are shares of J_I, J_II, V_Ag."""
    mix = torch.tensor(shares, dtype=torch.float64)
    C = mix @ torch.as_tensor(found["correlations"][replicas]).double() @ mix.T
    scale = prefactor(float(found["volume"]), float(found["temperature"][replicas].mean()))
    return torch.cumulative_trapezoid(C, dx=float(found["interval"]), dim=1) * scale


def integrals(found: Any, replicas: slice, definition: str, gauge: float = 0.0) -> tuple[Tensor, ...]:
    """`green_kubo.conductivities` of a model's replicas: kappa, corrected, h, each with its error.

    gauge: eV, times V_Ag it is added to the flux.
    """
    return conductivities(samples(found, replicas, [(*DEFINITIONS[definition], gauge), SILVER]))


def less_I(found: Any, replicas: slice, definition: str) -> tuple[Tensor, Tensor]:
    """Corrected conductivity by a definition less that by I, from the same trajectories, and its error."""

    def difference(L: Tensor) -> Tensor:
        by, one = (L[..., k, k] - L[..., k, 2] ** 2 / L[..., 2, 2] for k in (0, 1))
        return by - one

    fluxes = [(*DEFINITIONS[X], 0.0) for X in (definition, "I")]
    return jackknife(samples(found, replicas, [*fluxes, SILVER]), difference)


def coefficients(found: Any, replicas: slice, definition: str) -> tuple[Tensor, Tensor]:
    """L (lags, 2, 2) of heat and silver in the gauge as trained, W/m/K per powers of eV, and its errors."""
    return jackknife(samples(found, replicas, [(*DEFINITIONS[definition], 0.0), SILVER]), lambda L: L)


def shares(replicas: int, models: int) -> list[slice]:
    """Which of all replicas are each model's."""
    R = replicas // models
    return [slice(m * R, (m + 1) * R) for m in range(models)]


def enthalpies(found: Any, models: int, definition: str) -> tuple[Tensor, Tensor]:
    """h of silver and its standard error, (models,) eV, from equilibrium runs."""
    at = round(GAUGE_LAG / float(found["interval"])) - 1
    each = [integrals(found, s, definition) for s in shares(len(found["correlations"]), models)]
    return torch.stack([x[4][at] for x in each]), torch.stack([x[5][at] for x in each])


# ---- under a field -------------------------------------------------------------------------------------


def heat(potential: Any, state: State, steps: int, folder: Path, definition: str) -> dict[str, Any]:
    """HNEMD of the students, each in the gauge in which its silver carries no heat."""
    h, _ = enthalpies(np.load(folder / "equilibrium-students.npz"), len(MODELS), definition)
    shifted = gauged(potential, state, h.repeat_interleave(len(state) // len(MODELS)))
    return {**driven(shifted, state, along_x(FIELD, state), steps, definition=definition), "h": h}


def fields(potential: Any, state: State, steps: int, folder: Path) -> dict[str, Any]:
    """HNEMD of the reference under all REFERENCE_FIELDS."""
    h, _ = enthalpies(np.load(folder / "equilibrium-reference.npz"), 1, "I")
    R = len(state) // len(REFERENCE_FIELDS)
    strength, share = (
        torch.tensor(x, dtype=torch.float64).repeat_interleave(R)
        for x in zip(*REFERENCE_FIELDS.values(), strict=True)
    )
    field = along_x(FIELD, state) * strength[:, None]
    return {**driven(gauged(potential, state, h * share), state, field, steps), "h": h}


def color(potential: Any, state: State, steps: int, folder: Path) -> dict[str, Any]:
    """A field on silver alone."""
    return driven(potential, state, along_x(COLOR, state), steps, color="Ag")


def gauged(potential: Any, state: State, h: Tensor) -> Shifted:
    """The potential with h (eV), one for each replica, taken off the current of silver."""
    return Shifted(potential, without_enthalpy(state.structures, "Ag", h)).to(state.momenta.device)


def along_x(strength: float, state: State) -> Tensor:
    return torch.tensor([strength, 0.0, 0.0], dtype=torch.float64).repeat(len(state), 1)


def driven(potential: Any, state: State, field: Tensor, steps: int, **options: Any) -> dict[str, Any]:
    """Block means of an HNEMD run: flux and V_Ag (blocks, B, 3), temperature (blocks, B)."""
    settings: dict[str, Any] = {"settle": SETTLE, "every": SAMPLE, **options}
    found = hnemd(potential, state, field, TEMPERATURE, steps, TIMESTEP, **settings)
    kept = {"flux": found.flux, "current": found.current["Ag"], "temperature": found.temperature}
    means = {name: block_means(series) for name, series in kept.items()}
    return {**means, "field": found.field, "volume": found.volume, "interval": BLOCK * found.interval}


def block_means(series: Tensor) -> Tensor:
    """(T // BLOCK, ...) from (T, ...)."""
    return series[: len(series) // BLOCK * BLOCK].unflatten(0, (-1, BLOCK)).mean(1)


def response(found: Any, replicas: slice) -> Response:
    """A model's share of a stored driven run."""
    flux, current, temperature = (
        torch.as_tensor(found[name][:, replicas]).double() for name in ("flux", "current", "temperature")
    )
    field = torch.as_tensor(found["field"][replicas])
    rest = float(found["volume"]), float(found["interval"]), TEMPERATURE
    return Response(flux, {"Ag": current}, temperature, field, *rest)


# ---- the whole -----------------------------------------------------------------------------------------


RUNS: dict[str, tuple[str, int, Callable[..., dict[str, Any]]]] = {  # model, copies of all starts, what
    "equilibrium-reference": ("reference", 1, equilibrium),
    "equilibrium-students": ("students", len(MODELS), correlations),
    "heat-reference": ("reference", len(REFERENCE_FIELDS), fields),
    **{f"heat-students-{X}": ("students", len(MODELS), partial(heat, definition=X)) for X in DEFINITIONS},
    "color-reference": ("reference", 1, color),
    "color-students": ("students", len(MODELS), color),
}


def run(name: str, folder: Path, steps: int, device: str = "cpu") -> None:
    """Do one of the RUNS and keep what it returns, unless its file is there."""
    path, (model, copies, job) = folder / f"{name}.npz", RUNS[name]
    if path.exists():
        return
    began, seed = time.perf_counter(), 1000 * (1 + list(RUNS).index(name))
    result = job(potential_of(model, folder, device), start(folder, copies, seed, device), steps, folder)
    used = "cpu" if device == "cpu" else torch.cuda.get_device_name()
    made = {"seconds": time.perf_counter() - began, "device": used, "commit": bookkit.results.COMMIT}
    keep(path, {**result, **made})


def keep(path: Path, arrays: dict[str, Any]) -> None:
    """Write an npz, complete or not at all; series in single precision."""
    plain = {k: v.numpy(force=True) if isinstance(v, Tensor) else np.asarray(v) for k, v in arrays.items()}
    small: dict[str, Any] = {
        k: np.float32(v) if v.ndim > 1 and k != "positions" else v for k, v in plain.items()
    }
    with replacing(path) as file:
        np.savez_compressed(file, **small)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    first, then = commands.add_parser("prepare"), commands.add_parser("run")
    first.add_argument("--epochs", type=int, default=200)
    first.add_argument("--replicas", type=int, default=24, help="of each model")
    then.add_argument("names", nargs="*", choices=[[], *RUNS], default=[])
    then.add_argument("--steps", type=int, default=16_800, help="of each replica, 5 fs")
    for command in (first, then):
        command.add_argument("--folder", type=Path, required=True)
        command.add_argument("--device", default="cpu")
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True, parents=True)
    if given.command == "prepare":
        prepare(given.folder, given.replicas, given.epochs, given.device)
        return
    for name in given.names or RUNS:
        run(name, given.folder, given.steps, given.device)


if __name__ == "__main__":
    main()
