"""Crystals that are heated, liquids that are cooled, and both held: the dynamics of the melting study.

128 atoms of sodium, an even number of replicas in one batch of isotropic NPT, the first half crystals, the
second half liquids. `melting.runs` says which potentials run what.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk

from mlipbook import observables
from mlipbook.dynamics import NPT, Limits, Ramp, State, Trajectory, Unstable, thermalize
from mlipbook.potentials.ann import ANNPotential
from mlipbook.studies.sodium import LATTICE, liquids
from mlipbook.units import GPa, fs

TIMESTEP = 2.9  # fs
HEATING, COOLING = (280.0, 480.0), (400.0, 200.0)  # K
EVERY, FRAMES = 50, 250  # steps between observations, and between frames for g(r)
SETTLE = 2.0  # ps at the start of a ramp that are left out
EDGES = np.linspace(2.0, 8.0, 61)  # A, bins of g(r)
CLOSEST = 2.3  # A; a pair that is closer was in no label: the replica is lost


def per_atom(state: State, quantity: Any) -> torch.Tensor:
    return quantity(state) / state.structures.n_atoms


OBSERVED: dict[str, Callable[[State], torch.Tensor]] = {
    "density": observables.density,  # g/cm^3
    "enthalpy": partial(per_atom, quantity=observables.enthalpy),  # eV/atom, at zero pressure
    "potential energy": partial(per_atom, quantity=observables.potential_energy),  # eV/atom
    "pressure": observables.pressure,  # eV/A^3
    "q6": observables.q6,
    "shortest": observables.shortest_distance,  # A
}


@dataclass(frozen=True)
class Ramps:
    """Heated and cooled replicas of one potential; axes (branch, replica, sample), branches heating, cooling.

    temperature: (2, samples) K, of the thermostat. observed: name -> (2, replicas, samples), see OBSERVED.
    frame_temperature: (2, frames) K. g: (2, replicas, frames, bins) in the bins EDGES. stopped: "", or why
    the run ended early (samples it lacks are nan). Samples of the first SETTLE ps are left out.
    """

    temperature: np.ndarray
    observed: Mapping[str, np.ndarray]
    frame_temperature: np.ndarray
    g: np.ndarray
    stopped: str = ""

    @property
    def lost(self) -> np.ndarray:
        """Replicas that came to have a pair closer than CLOSEST, or no number, (2, replicas)."""
        return np.logical_not((self.observed["shortest"] > CLOSEST).all(axis=-1))


# ---- ramps -----------------------------------------------------------------------------------------------


def starts(replicas: int) -> list[Atoms]:
    """`replicas` perfect bcc crystals of 128 atoms; as many labeled liquids, the nearest to COOLING in T."""
    nearest = liquids(COOLING[0])
    crystal = bulk("Na", "bcc", a=LATTICE, cubic=True) * (4, 4, 4)
    return [crystal] * replicas + [nearest[b % len(nearest)] for b in range(replicas)]


def moving(replicas: int, temperature: np.ndarray, seed: int) -> State:
    """The starts with velocities. Perfect crystals get twice the heat: half of it goes into vibrations."""
    twice = np.repeat([2.0, 1.0], replicas)
    return thermalize(starts(replicas), twice * temperature, seed=seed)


def run_ramps(
    potential: ANNPotential,
    rate: float,
    *,
    replicas: int = 8,
    seed: int = 0,
    pressure: float = 0.0,
    store: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> tuple[Trajectory, str]:
    """Heat `replicas` crystals and cool as many liquids at this rate (K/ps) in one batch of isotropic NPT.

    pressure: GPa. The second value is "", or why the run ended early: nothing stops it but numbers that are
    none, atoms on top of each other, and volumes that halve or double; close pairs are observed instead.
    """
    first, last = np.repeat(np.transpose([HEATING, COOLING]), replicas, axis=1)
    steps = ramp_steps(rate)
    schedule = Ramp(first, last, steps)
    simulation = NPT(in_single_precision(potential), TIMESTEP * fs, schedule, pressure * GPa)
    options: dict[str, Any] = {"every": EVERY, "frames": FRAMES, "store": store, "progress": progress}
    try:
        start = moving(replicas, first, seed)
        return simulation.run(start, steps, OBSERVED, limits=Limits(closest=0.0), **options), ""
    except Unstable as stop:
        return stop.trajectory, str(stop)


def ramp_steps(rate: float) -> int:
    """Steps of a ramp at this rate (K/ps), a whole number of intervals between frames."""
    return FRAMES * round((HEATING[1] - HEATING[0]) / rate * 1e3 / TIMESTEP / FRAMES)


def in_single_precision(potential: ANNPotential) -> ANNPotential:
    """A copy with a float32 network, silent about close pairs: the ramps observe the shortest distance."""
    copy = potential.member(0).float()
    copy.shortest = {}
    return copy


def ramps_of(trajectory: Trajectory, stopped: str, rate: float) -> Ramps:
    """What `run_ramps` at this rate gave."""
    steps, skip = ramp_steps(rate), SETTLE * 1e3 / TIMESTEP
    T = schedule_of(np.arange(EVERY, steps + 1, EVERY), steps)
    kept = np.arange(EVERY, steps + 1, EVERY) > skip
    T_frames = schedule_of(np.arange(FRAMES, steps + 1, FRAMES), steps)
    kept_frames = np.arange(FRAMES, steps + 1, FRAMES) > skip
    observed = {name: by_branch(trajectory.observed[name].numpy(), len(kept))[..., kept] for name in OBSERVED}
    g = by_branch(pair_distributions(trajectory), len(kept_frames))
    g = np.moveaxis(g, -1, 2)[:, :, kept_frames]
    return Ramps(T[:, kept], observed, T_frames[:, kept_frames], g, stopped)


def schedule_of(step: np.ndarray, steps: int) -> np.ndarray:
    """Temperature of both branches after these steps of a ramp, (2, len(step)) K."""
    return np.array([a + (b - a) * step / steps for a, b in (HEATING, COOLING)])


def by_branch(series: np.ndarray, samples: int) -> np.ndarray:
    """(T, 2 replicas, ...) to (2, replicas, ..., samples); nan where the run ended before."""
    full = np.full((samples, *series.shape[1:]), np.nan)
    full[: len(series)] = series
    return np.moveaxis(full.reshape(samples, 2, -1, *series.shape[2:]), 0, -1)


def pair_distributions(trajectory: Trajectory) -> np.ndarray:
    """g(r) of the frames, (frames, replicas, bins); nan in cells narrower than 2 EDGES[-1]."""
    structures = trajectory.state.structures
    g = np.full((*trajectory.positions.shape[:2], len(EDGES) - 1), np.nan)
    for k, (positions, cells) in enumerate(zip(trajectory.positions, trajectory.cells, strict=True)):
        wide = cells.det() > (2 * EDGES[-1]) ** 3
        if bool(wide.any()):
            frame = type(structures)(positions[wide], cells[wide], structures.species.cpu())
            g[k, wide.numpy()] = observables.pair_distribution(frame, torch.as_tensor(EDGES)).numpy()
    return g


# ---- plateaus -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plateaus:
    """Crystals and liquids at constant temperatures and zero pressure; branches solid, liquid.

    temperature: (2, replicas) K. observed: name -> (2, replicas, samples). g: (2, replicas, bins), averages.
    """

    temperature: np.ndarray
    observed: Mapping[str, np.ndarray]
    g: np.ndarray
    stopped: str = ""


def plateaus(
    potential: ANNPotential,
    solid: Sequence[float],
    liquid: Sequence[float],
    length: float,
    *,
    seed: int = 0,
    store: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Plateaus:
    """A crystal at each temperature of `solid` (K), a liquid at each of `liquid`, `length` ps after SETTLE.

    As many of the one as of the other.
    """
    n, temperature = len(solid), np.array([*solid, *liquid], float)
    steps, settle = (FRAMES * max(1, round(t * 1e3 / TIMESTEP / FRAMES)) for t in (length + SETTLE, SETTLE))
    simulation = NPT(in_single_precision(potential), TIMESTEP * fs, temperature)
    options: dict[str, Any] = {"every": EVERY, "frames": FRAMES, "store": store, "progress": progress}
    stopped = ""
    try:
        start = moving(n, temperature, seed)
        trajectory = simulation.run(start, steps, OBSERVED, limits=Limits(closest=0.0), **options)
    except Unstable as stop:
        trajectory, stopped = stop.trajectory, str(stop)
    observed = {
        name: by_branch(trajectory.observed[name].numpy(), steps // EVERY)[..., settle // EVERY :]
        for name in OBSERVED
    }
    g = by_branch(pair_distributions(trajectory), steps // FRAMES)[..., settle // FRAMES :].mean(-1)
    return Plateaus(temperature.reshape(2, n), observed, g, stopped)
