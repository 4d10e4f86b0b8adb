"""Replicas of Langevin dynamics, one lambda each, that stay in their phase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as Folder
from typing import Any

import torch
from torch import Tensor

from mlipbook import observables
from mlipbook.checks import not_negative, positive, whole
from mlipbook.dynamics import Every, Langevin, Limits, State, Trajectory
from mlipbook.free_energy.series import block_means, drift
from mlipbook.potentials import Mixture, Potential
from mlipbook.structures import Structures
from mlipbook.units import fs

SOLID = 0.25  # of the global Q6: crystals have 0.35-0.5
LIQUID = 2.0  # of Q6 sqrt(N): means over a tenth of a run reach 1.6 in liquids, 3 to 6 where a crystal grows
ATTEMPTS = 2  # of a replica that changed its phase, with other noise
SEEDS = 100_000  # seeds of one call
SELDOM = 10  # samples to one Q6
LONGEST = 5 * fs  # time step times sqrt(amu/m): a seventh of the period of an atom held by 3 eV/A^2
SLOW = 30 * fs  # no atoms are so heavy that a longer step is meant


class PhaseChange(RuntimeError):
    """A window melted, crystallized or drifted: it belongs to another phase, and is not averaged in."""


@dataclass(frozen=True)
class Sampling:
    """How long and how often the windows of an integration are sampled.

    error: standard error to reach for the integral, eV per atom (0: run all of max_steps). max_steps: most
    steps of production, up to the rounding to whole blocks of samples. replicas: in the batch; every window
    has one or more, those that need most have most. equilibration: steps of the pilot. every: steps between
    samples. friction_time: of Langevin's thermostat, internal units of time.
    """

    error: float = 1e-4
    max_steps: int = 100_000
    replicas: int = 16
    equilibration: int = 1000
    every: int = 10
    friction_time: float = 100 * fs

    def __post_init__(self) -> None:
        not_negative(self.error, "error", "in eV per atom")
        for name in ("max_steps", "replicas", "every"):
            whole(getattr(self, name), name)
        whole(self.equilibration, "equilibration", least=0)
        positive(self.friction_time, "friction_time", "in internal units, such as 100 * units.fs")


DEFAULT = Sampling()


@dataclass(frozen=True)
class Sampler:
    """How every replica is run: U(lambda) of two potentials by Langevin dynamics with a fixed center."""

    potential: Potential
    reference: Potential
    temperature: float
    timestep: float
    sampling: Sampling
    phase: str | None
    store: Folder | None
    progress: bool

    def run(self, state: State, lam: Tensor, steps: int, name: str) -> Trajectory:
        """All replicas, one lambda each; name: of the folder within the store."""
        mixture = Mixture(self.potential, self.reference, lam.to(state.momenta.device))
        simulation = Langevin(mixture, self.timestep, self.temperature, self.sampling.friction_time)
        observe: dict[str, Any] = {
            "difference": difference,
            "energy": observables.potential_energy,
            "pressure": bulk_pressure,
        }
        if self.phase:
            observe["q6"] = Every(SELDOM * self.sampling.every, observables.q6)
        every = self.sampling.every
        own = {"chunk": max(1000, 100 * every), "limits": Limits(closest=0.0), "progress": self.progress}
        folder = self.store and self.store / name
        return simulation.run(state, steps, observe, every, store=folder, **own)  # type: ignore[arg-type]

    def sample(
        self, state: State, lam: Tensor, steps: int, name: str, settling: int = 0
    ) -> tuple[State, dict[str, Tensor], Tensor]:
        """The state at the end, the series, (T, B) each, and how often each replica was redone, (B,), as it
        left its phase after so many samples of settling. Raises PhaseChange if one leaves it again and again.
        """
        trajectory = self.run(state, lam, steps, name)
        end, series = trajectory.state, dict(trajectory.observed)
        n_atoms, redone = state.structures.n_atoms, torch.zeros(len(state), dtype=torch.int64)
        found, attempt = self.changed(series, n_atoms, settling), 0
        while found and attempt < ATTEMPTS:
            bad, attempt = torch.tensor(list(found)), attempt + 1
            seeds = [state.seeds[b] + attempt * SEEDS // (ATTEMPTS + 2) for b in found]
            again = self.run(state.take(bad, seeds), lam[bad], steps, f"{name}-again-{attempt}")
            redone[bad] += 1
            series = {key: x.index_copy(1, bad, again.observed[key]) for key, x in series.items()}
            end = end.put(bad, again.state)
            found = {int(bad[b]): why for b, why in self.changed(again.observed, n_atoms, settling).items()}
        for b, why in found.items():
            raise PhaseChange(
                f"lambda = {float(lam[b]):.4f}, in the {steps * self.timestep / (1000 * fs):.1f} ps before "
                f"{end.step * self.timestep / (1000 * fs):.1f} ps: {why}, also with other noise; the phase "
                "does not live long enough here: take more atoms, or another temperature or volume"
            )
        return end, series, redone

    def changed(self, series: Mapping[str, Tensor], n_atoms: int, settling: int = 0) -> dict[int, str]:
        """Replica -> what happened, for those that left their phase after so many samples."""
        if self.phase is None:
            return {}
        q6 = block_means(series["q6"][settling // SELDOM :])
        wrong = q6 < SOLID if self.phase == "solid" else q6 > LIQUID / n_atoms**0.5
        first = wrong.int().argmax(0)  # of the blocks that are wrong
        left = {b: float(q6[first[b], b]) for b in torch.nonzero(wrong.any(0))[:, 0].tolist()}
        found = {b: f"Q6 = {value:.2f} is not that of a {self.phase}" for b, value in left.items()}
        for b in torch.nonzero(drift(series["difference"][settling:]) > 4)[:, 0].tolist():
            found.setdefault(b, "the second half differs from the first by more than 4 standard errors")
        return found


def refuse_fixed(structures: Structures) -> None:
    """Raise ValueError for constraints: what is counted has 3N - 3 momenta and all places of the atoms."""
    structures.refuse_fixed("free energies are of atoms that all move; take the constraint away")


def refuse_time_step(timestep: float, masses: Tensor) -> None:
    """Raise ValueError for a step too long for any crystal or liquid of such atoms (amu): fs are meant."""
    lightest = float(masses.min())
    longest = min(LONGEST * lightest**0.5, SLOW)
    if positive(timestep, "timestep", "in internal units, such as 4 * units.fs") > longest:
        raise ValueError(
            f"time step {timestep:g} in internal units, {timestep / fs:.1f} fs: atoms of {lightest:.0f} amu "
            f"allow up to {longest / fs:.0f} fs; 4 fs, for example, are 4 * units.fs"
        )


def difference(state: State) -> Tensor:
    """dU/dlambda, (B,) eV."""
    return state.evaluated.difference  # type: ignore[attr-defined]


def bulk_pressure(state: State) -> Tensor:
    """Of U(lambda), (B,) eV/A^3, with the share kT/V that the fixed center of mass takes off."""
    ideal = state.structures.n_atoms / (state.degrees_of_freedom / 3)
    return state.instantaneous_pressure + (ideal - 1) * (state.two_K / (3 * state.volume))
