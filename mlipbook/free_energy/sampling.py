"""Windows of thermodynamic integration (Eq. 4-6): all lambdas are replicas of one Langevin run.

    F(1) - F(0) = int <U_a - U_b>_lambda dlambda,    U(lambda) = lambda U_a + (1 - lambda) U_b

The center of mass is fixed, 3N - 3 momenta move. A pilot run, which also equilibrates, measures the variance
and the correlation time of every window; the replicas are then shared out so that the variance of the
integral, sum w^2 variance 2 tau/(copies T), is least, and run until it is small enough.
"""

from __future__ import annotations

import os
import warnings
from math import ceil, inf
from pathlib import Path as Folder

import numpy as np
import torch
from torch import Tensor

from mlipbook.averages import quiet_average
from mlipbook.dynamics import State, thermalize
from mlipbook.dynamics.state import repeated
from mlipbook.free_energy.replicas import (
    DEFAULT,
    SEEDS,
    SELDOM,
    Sampler,
    Sampling,
    refuse_fixed,
    refuse_time_step,
)
from mlipbook.free_energy.series import LONG, Path, Window, Windows
from mlipbook.potentials import Potential
from mlipbook.potentials.contract import placed
from mlipbook.structures import Structures

Parts = list[dict[str, Tensor]]  # series of each round
FEWEST = 40  # samples of a round


def windows(
    potential: Potential,
    reference: Potential,
    structures: Structures,
    path: Path,
    temperature: float,
    *,
    timestep: float,
    sampling: Sampling = DEFAULT,
    phase: str | None = None,
    seed: int = 0,
    store: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Windows:
    """<U_a - U_b> at every lambda of the path, potential a at lambda = 1 and its reference b at 0.

    structures: one, or one for each lambda, on the device where all is to run; windows start from there.
    temperature: K. timestep: internal units; steps beyond 5 fs sqrt(m/amu) or 30 fs are refused.
    phase: "solid" or "liquid", watched by Q6 and drift from the second half of the pilot on, or None. seed:
    calls with other seeds are independent. store: folder; the same call goes on where it was interrupted.

    A replica that leaves its phase is run again with other noise, which Window.redone counts. Raises
    ValueError for arguments that do not fit, PhaseChange if a replica changes its phase three times; warns
    (RuntimeWarning) of series so short that their errors are uncertain.
    """
    refuse(potential, structures, phase, sampling.replicas, path)
    refuse_time_step(timestep, structures.masses)
    device, folder = structures.positions.device, Folder(store) if store is not None else None
    potential, reference = placed(potential, device), placed(reference, device)
    sampler = Sampler(potential, reference, temperature, timestep, sampling, phase, folder, progress)
    lam, first_seed = torch.as_tensor(path.lam), SEEDS * seed
    starts = structures if len(structures) == len(lam) else repeated(structures, len(lam))
    state = thermalize(starts, temperature, first_seed)
    length = in_blocks(sampling.equilibration, sampling.every)
    half = length // sampling.every // 2
    settled, pilot, again = sampler.sample(state, lam, length, "pilot", settling=half)
    rows, wanted = plan(pilot["difference"][half:], path, sampling, structures.n_atoms)
    state = settled.take(rows, [first_seed + len(lam) + b for b in range(len(rows))])
    found = rounds(sampler, state, path, rows, again, wanted)
    shortest = min((w for w in found if w.weight), key=lambda w: w.lasts)
    if shortest.lasts < LONG:
        warnings.warn(
            f"the series at lambda = {shortest.lam:.3f} lasts {shortest.lasts:.0f} autocorrelation times: "
            f"standard errors are uncertain; allow more steps, {LONG} times and more",
            RuntimeWarning,
            stacklevel=2,
        )
    return found


def rounds(
    sampler: Sampler, state: State, path: Path, rows: Tensor, redone: Tensor, wanted: float
) -> Windows:
    """Production until the error is reached, first for the steps `wanted`. rows: the window of each replica;
    redone: how often replicas of each window were, so far.
    """
    error, max_steps, every = sampler.sampling.error, sampler.sampling.max_steps, sampler.sampling.every
    lam, done = torch.as_tensor(path.lam)[rows], 0
    parts: Parts = []
    while True:
        steps = in_blocks(min(wanted, max_steps) - done, every)
        state, series, again = sampler.sample(state, lam, steps, f"round-{len(parts) + 1}")
        redone, done = redone.index_add(0, rows, again), done + steps
        parts.append(series)
        found = gathered(parts, rows, redone, path, sampler, state.structures.n_atoms)
        if found.integral.error <= error or done >= max_steps:
            return found
        wanted = 1.05 * done * (found.integral.error / error) ** 2 if error else max_steps


def in_blocks(steps: float, every: int) -> int:
    """So many steps, or those of the FEWEST samples, in whole intervals of Q6."""
    block = SELDOM * every
    return block * ceil(max(steps, FEWEST * every) / block)


def refuse(
    potential: Potential, structures: Structures, phase: str | None, replicas: int, path: Path
) -> None:
    """Raise ValueError for what cannot be sampled."""
    refuse_fixed(structures)
    B, N, L = len(structures), structures.n_atoms, len(path.lam)
    if B not in (1, L) or not all(structures.pbc) or N < 2:
        raise ValueError(
            f"{B} structures of {N} atoms, pbc {structures.pbc}: give one, or one for each lambda, periodic, "
            "of two atoms or more"
        )
    if potential.members > 1:
        raise ValueError("a committee has one free energy for each member: give potential.member(m)")
    if phase not in (None, "solid", "liquid") or replicas < L:
        raise ValueError(
            f"phase {phase!r}, {replicas} replicas for {L} windows: give 'solid', 'liquid' or None, and a "
            "replica or more for each window"
        )


def plan(series: Tensor, path: Path, sampling: Sampling, n_atoms: int) -> tuple[Tensor, float]:
    """The window of each replica, and the steps thought to be enough, from the differences of a pilot."""
    averages, error = quiet_average(series), sampling.error * n_atoms
    # Squared error of the integral by window times samples: weight^2 variance 2 tau, eV^2.
    rates = path.weights**2 * (averages.error.square() * len(series)).numpy()
    copies = shared_out(rates, sampling.replicas)
    needed = float((rates / copies).sum()) / error**2 if error else inf  # samples
    wanted = max(LONG * len(series) / 2 / float(averages.n.min()), needed)
    return torch.as_tensor(np.repeat(np.arange(len(rates)), copies)), sampling.every * wanted


def shared_out(rates: np.ndarray, replicas: int) -> np.ndarray:
    """Copies of each window, one or more, that minimize sum rates/copies."""
    copies = np.ones(len(rates), dtype=int)
    for _ in range(replicas - len(rates)):
        copies[np.argmax(rates / (copies * (copies + 1)))] += 1
    return copies


def gathered(
    parts: Parts, rows: Tensor, redone: Tensor, path: Path, sampler: Sampler, n_atoms: int
) -> Windows:
    """Series of all rounds, by window. rows: the window of each replica; redone: of each window."""
    series = {name: torch.cat([part[name] for part in parts]).double() for name in parts[0]}
    series.setdefault("q6", series["difference"][:0])
    found, interval = [], sampler.sampling.every * sampler.timestep
    for i, (lam, weight) in enumerate(zip(path.lam.tolist(), path.weights.tolist(), strict=True)):
        mine = {name: series[name][:, rows == i] for name in ("difference", "energy", "pressure", "q6")}
        found.append(Window(lam, weight, **mine, interval=interval, redone=int(redone[i])))
    return Windows(tuple(found), sampler.temperature, n_atoms)
