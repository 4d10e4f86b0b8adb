"""Crystals that are heated, liquids that are cooled, and both held: the dynamics of the melting study.

128 atoms of sodium, an even number of replicas in one batch of isotropic NPT, the first half crystals, the
second half liquids. `melting.runs` says which potentials run what.
"""

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
from mlipbook.structures import Structures
from mlipbook.studies.sodium import LATTICE, in_single_precision, liquids
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


@dataclass(frozen=True)
class Plateaus:
    """Crystals and liquids at constant temperatures and zero pressure; branches solid, liquid. temperature:
    (2, replicas) K. observed: name -> (2, replicas, samples). g: (2, replicas, bins), averages."""

    temperature: np.ndarray
    observed: Mapping[str, np.ndarray]
    g: np.ndarray
    stopped: str = ""


# ---- runs ------------------------------------------------------------------------------------------------


def starts(replicas: int) -> list[Atoms]:
    """`replicas` perfect bcc crystals of 128 atoms; as many labeled liquids, the nearest to COOLING in T."""
    crystal = bulk("Na", "bcc", a=LATTICE, cubic=True) * (4, 4, 4)
    return [crystal] * replicas + liquids(COOLING[0], replicas)


def run_batch(
    potential: ANNPotential,
    temperature: np.ndarray | Ramp,
    first: np.ndarray,
    steps: int,
    seed: int = 0,
    pressure: float = 0.0,
    **run: Any,
) -> tuple[Trajectory, str]:
    """As many crystals as liquids in one batch of isotropic NPT, with velocities of temperatures `first`.

    pressure: GPa; run: options of `Simulation.run`. The second value is "", or why the run ended early:
    nothing stops it but numbers that are none, atoms on top of each other, and volumes that halve or double;
    close pairs are observed instead.
    """
    simulation = NPT(in_single_precision(potential), TIMESTEP * fs, temperature, pressure * GPa)
    # Perfect crystals get twice the heat: half of it goes into vibrations.
    n = len(first) // 2
    start = thermalize(starts(n), np.repeat([2.0, 1.0], n) * first, seed=seed)
    run |= {"every": EVERY, "frames": FRAMES, "limits": Limits(closest=0.0)}
    try:
        return simulation.run(start, steps, OBSERVED, **run), ""
    except Unstable as stop:
        return stop.trajectory, str(stop)


def run_ramps(
    potential: ANNPotential, rate: float, *, replicas: int = 8, **options: Any
) -> tuple[Trajectory, str]:
    """Heat `replicas` crystals and cool as many liquids at this rate (K/ps); options: of `run_batch`."""
    first, last = np.repeat(np.transpose([HEATING, COOLING]), replicas, axis=1)
    steps = ramp_steps(rate)
    return run_batch(potential, Ramp(first, last, steps), first, steps, **options)


def plateaus(
    potential: ANNPotential, solid: Sequence[float], liquid: Sequence[float], length: float, **options: Any
) -> Plateaus:
    """A crystal at each temperature of `solid` (K), a liquid at each of `liquid`, as many of the one as of
    the other, `length` ps after SETTLE; options: of `run_batch`."""
    temperature = np.array([*solid, *liquid], float)
    steps, settle = (FRAMES * max(1, round(t * 1e3 / TIMESTEP / FRAMES)) for t in (length + SETTLE, SETTLE))
    trajectory, stopped = run_batch(potential, temperature, temperature, steps, **options)
    observed, g = gathered(trajectory, steps)
    late = {name: x[..., settle // EVERY :] for name, x in observed.items()}
    return Plateaus(temperature.reshape(2, -1), late, g[..., settle // FRAMES :].mean(-1), stopped)


def ramp_steps(rate: float) -> int:
    """Steps of a ramp at this rate (K/ps), a whole number of intervals between frames."""
    return FRAMES * round((HEATING[1] - HEATING[0]) / rate * 1e3 / TIMESTEP / FRAMES)


# ---- what they gave --------------------------------------------------------------------------------------


def ramps_of(trajectory: Trajectory, stopped: str, rate: float) -> Ramps:
    """What `run_ramps` at this rate gave."""
    steps = ramp_steps(rate)
    observed, g = gathered(trajectory, steps)
    early, early_frames = (int(SETTLE * 1e3 / TIMESTEP / every) for every in (EVERY, FRAMES))
    T = schedule_of(np.arange(EVERY, steps + 1, EVERY), steps)[:, early:]
    T_frames = schedule_of(np.arange(FRAMES, steps + 1, FRAMES), steps)[:, early_frames:]
    late = {name: x[..., early:] for name, x in observed.items()}
    return Ramps(T, late, T_frames, np.moveaxis(g, -1, 2)[:, :, early_frames:], stopped)


def schedule_of(step: np.ndarray, steps: int) -> np.ndarray:
    """Temperature of both branches after these steps of a ramp, (2, len(step)) K."""
    return np.array([a + (b - a) * step / steps for a, b in (HEATING, COOLING)])


def gathered(trajectory: Trajectory, steps: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Observables (2, replicas, samples) and g(r) (2, replicas, bins, frames) of a run of so many steps; nan
    where it ended before."""

    def by_branch(series: np.ndarray, every: int) -> np.ndarray:
        full = np.full((steps // every, *series.shape[1:]), np.nan)
        full[: len(series)] = series
        return np.moveaxis(full.reshape(len(full), 2, -1, *series.shape[2:]), 0, -1)

    observed = {name: by_branch(trajectory.observed[name].numpy(), EVERY) for name in OBSERVED}
    return observed, by_branch(pair_distributions(trajectory), FRAMES)


def pair_distributions(trajectory: Trajectory) -> np.ndarray:
    """g(r) of the frames, (frames, replicas, bins); nan in cells narrower than 2 EDGES[-1]."""
    species = trajectory.state.structures.species.cpu()
    g = np.full((*trajectory.positions.shape[:2], len(EDGES) - 1), np.nan)
    for k, (positions, cells) in enumerate(zip(trajectory.positions, trajectory.cells, strict=True)):
        wide = cells.det() > (2 * EDGES[-1]) ** 3
        if bool(wide.any()):
            frame = Structures(positions[wide], cells[wide], species)
            g[k, wide.numpy()] = observables.pair_distribution(frame, torch.as_tensor(EDGES)).numpy()
    return g
