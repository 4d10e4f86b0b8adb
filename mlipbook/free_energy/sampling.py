"""Windows of thermodynamic integration (Eq. 4-6): all lambdas are replicas of one Langevin run.

    F(1) - F(0) = int <U_a - U_b>_lambda dlambda,    U(lambda) = lambda U_a + (1 - lambda) U_b

The center of mass is fixed, 3N - 3 momenta move. A pilot run, which also equilibrates, measures the variance
and the correlation time of every window; the replicas are then shared out so that the variance of the
integral, sum w^2 variance 2 tau/(copies T), is least, and run until it is small enough.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, hypot, inf, nan
from pathlib import Path as Folder
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mlipbook import observables
from mlipbook.dynamics import Langevin, Limits, State, Trajectory, thermalize
from mlipbook.dynamics.state import repeated
from mlipbook.free_energy.path import Path
from mlipbook.observables import Average, block_average
from mlipbook.potentials import Mixture, Potential
from mlipbook.structures import Structures
from mlipbook.units import fs

SOLID = 0.25  # of the global Q6: crystals of 128 atoms have 0.35-0.5, liquids up to 0.2
ATTEMPTS = 2  # of a replica that changed its phase, with other noise
SEEDS = 100_000  # seeds of one call
LONG = 50  # correlation times that a replica should last
FEWEST = 40  # samples of a round
SELDOM = 10  # samples from one Q6 to the next


class PhaseChange(RuntimeError):
    """A window melted, crystallized or drifted: it belongs to another phase, and is not averaged in."""


class Value(NamedTuple):
    """A number and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class Window:
    """Series of one lambda, (T, copies) each: difference U_a - U_b and energy U(lambda), eV of all atoms;
    pressure, eV/A^3; q6 (nan in between; empty if there is no phase to watch). interval: between samples, in
    internal units of time. weight: of the quadrature.
    """

    lam: float
    weight: float
    difference: Tensor
    energy: Tensor
    pressure: Tensor
    q6: Tensor
    interval: float

    @cached_property
    def averages(self) -> Average:
        """Of the difference, copy by copy, eV; the autocorrelation time is in samples."""
        return quiet_average(self.difference)

    @property
    def mean(self) -> Value:
        """<U_a - U_b>, eV, with the error from the series' autocorrelation, pooled over the copies."""
        return pooled(self.averages)

    @property
    def variance(self) -> float:
        """Of the difference, eV^2."""
        return float((self.difference - self.difference.mean()).square().mean())

    @property
    def autocorrelation_time(self) -> float:
        """Integrated, of the difference, in internal units of time; mean of the copies."""
        return float(self.averages.autocorrelation_time.mean()) * self.interval

    @property
    def independent(self) -> float:
        """Number of independent samples in all copies."""
        return float(self.averages.independent.sum())


@dataclass(frozen=True)
class Windows:
    """What was sampled along a path: a Window for each lambda."""

    windows: tuple[Window, ...]
    temperature: float
    n_atoms: int

    def __iter__(self) -> Iterator[Window]:
        return iter(self.windows)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Window:
        return self.windows[index]

    @property
    def integral(self) -> Value:
        """int <U_a - U_b> dlambda (Eq. 6), eV per atom."""
        terms = [(w.weight * w.mean.value, w.weight * w.mean.error) for w in self if w.weight]
        value, error = sum(v for v, _ in terms), hypot(*(e for _, e in terms))
        return Value(value / self.n_atoms, error / self.n_atoms)

    def table(self) -> list[dict[str, float]]:
        """A line for each window, for files: eV per atom (variance: eV^2 of all atoms), fs, ps, eV/A^3."""
        return [
            {
                "lambda": w.lam,
                "weight": w.weight,
                "difference": w.mean.value / self.n_atoms,
                "difference_error": w.mean.error / self.n_atoms,
                "variance": w.variance,
                "autocorrelation_time_fs": w.autocorrelation_time / fs,
                "independent_samples": w.independent,
                "copies": w.difference.shape[1],
                "time_per_copy_ps": len(w.difference) * w.interval / (1000 * fs),
                "energy": float(w.energy.mean()) / self.n_atoms,
                "pressure": float(w.pressure.mean()),
                **range_of_q6(w.q6),
            }
            for w in self
        ]


def range_of_q6(q6: Tensor) -> dict[str, float]:
    """Lowest and highest block mean; nothing if Q6 was not watched."""
    if not q6.numel():
        return {}
    means = block_means(q6)
    return {"lowest_q6": float(means.min()), "highest_q6": float(means.max())}


# ---- averages ------------------------------------------------------------------------------------------


def quiet_average(series: Tensor) -> Average:
    """`block_average`; `windows` itself looks whether series are long enough."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return block_average(series)


def pooled(averages: Average) -> Value:
    """Mean over independent copies of equal length; their squared errors add."""
    n = averages.mean.numel()
    return Value(float(averages.mean.mean()), float(averages.error.square().sum().sqrt()) / n)


def average(series: Tensor) -> Value:
    """Of a series (T, copies)."""
    return pooled(quiet_average(series))


# ---- runs ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sampler:
    """How every replica is run: U(lambda) of two potentials by Langevin dynamics with a fixed center."""

    potential: Potential
    reference: Potential
    temperature: float
    timestep: float
    friction_time: float
    every: int
    phase: str | None
    store: Folder | None
    progress: bool

    def run(self, state: State, lam: Tensor, steps: int, name: str) -> Trajectory:
        """All replicas, one lambda each; name: of the folder within the store."""
        mixture = Mixture(self.potential, self.reference, lam.to(state.momenta.device))
        simulation = Langevin(mixture, self.timestep, self.temperature, self.friction_time)
        watched = {"q6": seldom(observables.q6, SELDOM * self.every)} if self.phase else {}
        folder = self.store / name if self.store else None
        return simulation.run(
            state,
            steps,
            observe={"difference": difference, "energy": energy, "pressure": pressure} | watched,
            every=self.every,
            store=folder,
            chunk=max(1000, 100 * self.every),
            limits=Limits(closest=0.0),
            progress=self.progress,
        )

    def sample(self, state: State, lam: Tensor, steps: int, name: str) -> tuple[State, dict[str, Tensor]]:
        """The state at the end and the series, (T, B) each; replicas that leave their phase are redone.

        Raises PhaseChange if they leave it again and again.
        """
        trajectory = self.run(state, lam, steps, name)
        end, series = trajectory.state, dict(trajectory.observed)
        bad = torch.tensor(list(found := self.changed(series)), dtype=torch.int64)
        for attempt in range(1, ATTEMPTS + 1):
            if not len(bad):
                break
            seeds = [state.seeds[b] + attempt * SEEDS // (ATTEMPTS + 2) for b in bad.tolist()]
            again = self.run(picked(state, bad, seeds), lam[bad], steps, f"{name}-again-{attempt}")
            found = {int(bad[b]): why for b, why in self.changed(again.observed).items()}
            for key, values in again.observed.items():
                series[key] = series[key].index_copy(1, bad, values)
            end = merged(end, again.state, bad)
            bad = torch.tensor(list(found), dtype=torch.int64)
        for b, why in found.items():
            raise PhaseChange(
                f"lambda = {float(lam[b]):.4f}, in the {steps * self.timestep / (1000 * fs):.1f} ps before "
                f"{end.step * self.timestep / (1000 * fs):.1f} ps: {why}, also with other noise; the phase "
                "does not live long enough here: take more atoms, or another temperature or volume"
            )
        return end, series

    def changed(self, series: Mapping[str, Tensor]) -> dict[int, str]:
        """Replica -> what happened, for those that left their phase."""
        if self.phase is None:
            return {}
        found = {}
        q6 = block_means(series["q6"])
        wrong = q6 < SOLID if self.phase == "solid" else q6 > SOLID
        for b in torch.nonzero(wrong.any(0))[:, 0].tolist():
            k = int(wrong[:, b].nonzero()[0, 0])
            found[b] = f"Q6 = {float(q6[k, b]):.2f} is not that of a {self.phase}"
        for b in torch.nonzero(drift(series["difference"]) > 4)[:, 0].tolist():
            found.setdefault(b, "the second half differs from the first by more than 4 standard errors")
        return found


def difference(state: State) -> Tensor:
    """dU/dlambda, (B,) eV."""
    return state.evaluated.difference  # type: ignore[attr-defined]


def energy(state: State) -> Tensor:
    """U(lambda), (B,) eV."""
    return state.potential_energy


def pressure(state: State) -> Tensor:
    """Of U(lambda), (B,) eV/A^3, with the share kT/V that the fixed center of mass takes off."""
    ideal = state.structures.n_atoms / (state.degrees_of_freedom / 3)
    kinetic = state.twice_kinetic / (3 * state.volume)
    return state.pressure + (ideal - 1) * kinetic


def seldom(observable: Callable[[State], Tensor], interval: int) -> Callable[[State], Tensor]:
    """The observable every so many steps, nan in between."""

    def watched(state: State) -> Tensor:
        if state.step % interval:
            return state.momenta.new_full((len(state),), nan)
        return observable(state)

    return watched


def block_means(q6: Tensor) -> Tensor:
    """Means of up to ten consecutive blocks of what is not nan, (blocks, B)."""
    seen = q6[torch.isfinite(q6).all(1)]
    return torch.stack([block.mean(0) for block in seen.tensor_split(min(10, len(seen)))])


def drift(series: Tensor) -> Tensor:
    """|second half - first half| over its standard error, (B,); 0 where halves are shorter than LONG."""
    first, second = (quiet_average(half) for half in series.tensor_split(2))
    z = (second.mean - first.mean).abs() / torch.hypot(first.error, second.error)
    tau = quiet_average(series).autocorrelation_time
    return torch.where(len(series) > 2 * LONG * tau, z, 0.0)


def picked(state: State, rows: Tensor, seeds: Sequence[int]) -> State:
    """These replicas, some perhaps several times, with seeds of their own."""
    rows = rows.to(state.momenta.device)
    old = state.structures
    structures = replace(old, positions=old.positions[rows], cells=old.cells[rows])
    extended = {name: values[rows] for name, values in state.extended.items()}
    return replace(
        state,
        structures=structures,
        momenta=state.momenta[rows],
        seeds=tuple(seeds),
        extended=extended,
        result=None,
    )


def merged(state: State, new: State, rows: Tensor) -> State:
    """The state with these replicas taken from another one."""
    rows = rows.to(state.momenta.device)
    positions = state.structures.positions.index_copy(0, rows, new.structures.positions)
    seeds = list(state.seeds)
    for row, seed in zip(rows.tolist(), new.seeds, strict=True):
        seeds[row] = seed
    return replace(
        state,
        structures=replace(state.structures, positions=positions),
        momenta=state.momenta.index_copy(0, rows, new.momenta),
        seeds=tuple(seeds),
        extended={k: v.index_copy(0, rows, new.extended[k]) for k, v in state.extended.items()},
        result=None,
    )


# ---- windows -------------------------------------------------------------------------------------------


def windows(
    potential: Potential,
    reference: Potential,
    structures: Structures,
    path: Path,
    temperature: float,
    *,
    timestep: float,
    error: float = 1e-4,
    max_steps: int = 100_000,
    replicas: int = 16,
    equilibration: int = 1000,
    every: int = 10,
    friction_time: float = 100 * fs,
    phase: str | None = None,
    seed: int = 0,
    store: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Windows:
    """<U_a - U_b> at every lambda of the path, potential a at lambda = 1 and its reference b at 0.

    structures: one, or one for each lambda, on the device where all is to run; windows start from there.
    temperature: K. timestep, friction_time: internal units. error: standard error to reach for the integral,
    eV per atom (0: run all of max_steps). max_steps: most steps of production, up to the rounding to whole
    blocks of samples. replicas: in the batch; every window has one or more, those that need most have most.
    equilibration: steps of the pilot. every: steps between samples.
    phase: "solid" or "liquid", watched by Q6 and drift, or None. seed: calls with other seeds are
    independent. store: folder; the same call goes on where it was interrupted.

    Raises ValueError for arguments that do not fit, PhaseChange if a window changes its phase three times.
    Warns (RuntimeWarning) if series are so short that their errors are uncertain.
    """
    refuse(potential, structures, phase, replicas, path)
    device = structures.positions.device
    potential, reference = potential.to(device), reference.to(device)
    folder = Folder(store) if store is not None else None
    sampler = Sampler(
        potential, reference, temperature, timestep, friction_time, every, phase, folder, progress
    )
    lam, block, first_seed = torch.as_tensor(path.lam), SELDOM * every, SEEDS * seed
    starts = structures if len(structures) == len(lam) else repeated(structures, len(lam))
    state = thermalize(starts, temperature, first_seed)
    equilibration = block * ceil(max(equilibration, FEWEST * every) / block)
    pilot = sampler.run(state, lam, equilibration, "pilot")
    late = pilot.observed["difference"][equilibration // every // 2 :]
    rates = path.weights**2 * rate_of_variance(late)
    rows = torch.as_tensor(np.repeat(np.arange(len(lam)), shared_out(rates, replicas)))
    seeds = [first_seed + len(lam) + b for b in range(len(rows))]
    state = picked(pilot.state, rows, seeds)
    tau = float(quiet_average(late).autocorrelation_time.max())
    wanted = max(LONG * tau * every, estimate(rates, rows, error * structures.n_atoms, every))
    parts: list[dict[str, Tensor]] = []
    done = 0
    while True:
        steps = block * ceil(max(min(wanted, max_steps) - done, FEWEST * every) / block)
        state, series = sampler.sample(state, lam[rows], steps, f"round-{len(parts) + 1}")
        parts.append(series)
        done += steps
        found = gathered(parts, rows, path, sampler, structures.n_atoms)
        if found.integral.error <= error or done >= max_steps:
            warn_if_short(found)
            return found
        wanted = 1.05 * done * (found.integral.error / error) ** 2 if error else max_steps


def refuse(
    potential: Potential, structures: Structures, phase: str | None, replicas: int, path: Path
) -> None:
    """Raise ValueError for what cannot be sampled."""
    if len(structures) not in (1, len(path.lam)) or not all(structures.pbc) or structures.n_atoms < 2:
        raise ValueError(
            f"{len(structures)} structures of {structures.n_atoms} atoms, pbc {structures.pbc}: give one, or "
            "one for each lambda, periodic, of two atoms or more"
        )
    if getattr(potential, "members", 1) > 1:
        raise ValueError("a committee has one free energy for each member: give potential.member(m)")
    if phase not in (None, "solid", "liquid") or replicas < len(path.lam):
        raise ValueError(
            f"phase {phase!r}, {replicas} replicas for {len(path.lam)} windows: give 'solid', 'liquid' or "
            "None, and a replica or more for each window"
        )


def rate_of_variance(series: Tensor) -> np.ndarray:
    """Squared error of the mean times the number of samples, variance 2 tau, of each column, eV^2."""
    return (quiet_average(series).error.square() * len(series)).numpy()


def shared_out(rates: np.ndarray, replicas: int) -> np.ndarray:
    """Copies of each window, one or more, that minimize sum rates/copies."""
    copies = np.ones(len(rates), dtype=int)
    for _ in range(replicas - len(rates)):
        copies[np.argmax(rates / (copies * (copies + 1)))] += 1
    return copies


def estimate(rates: np.ndarray, rows: Tensor, error: float, every: int) -> float:
    """Steps to the wanted error (eV of all atoms), from the variances of a pilot run."""
    copies = np.bincount(rows.numpy(), minlength=len(rates))
    return every * float((rates / copies).sum()) / error**2 if error else inf


def gathered(
    parts: Sequence[Mapping[str, Tensor]], rows: Tensor, path: Path, sampler: Sampler, n_atoms: int
) -> Windows:
    """Series of all rounds, by window."""
    series = {name: torch.cat([part[name] for part in parts]).double() for name in parts[0]}
    series.setdefault("q6", series["difference"][:0])
    found = []
    for i, (lam, weight) in enumerate(zip(path.lam.tolist(), path.weights.tolist(), strict=True)):
        mine = {name: series[name][:, rows == i] for name in ("difference", "energy", "pressure", "q6")}
        found.append(Window(lam, weight, **mine, interval=sampler.every * sampler.timestep))
    return Windows(tuple(found), sampler.temperature, n_atoms)


def warn_if_short(found: Windows) -> None:
    ratios = [len(w.difference) / float(w.averages.autocorrelation_time.max()) for w in found if w.weight]
    if min(ratios) < LONG:
        warnings.warn(
            f"the series at lambda = {found[int(np.argmin(ratios))].lam:.3f} lasts {min(ratios):.0f} "
            f"autocorrelation times: standard errors are uncertain; allow more steps, {LONG} times and more",
            RuntimeWarning,
            stacklevel=3,
        )
