"""Running molecular dynamics: ensembles, schedules, observation, and chunks of steps that survive a kill."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from mlipbook import archive
from mlipbook.checks import of_type, positive, refusal, whole
from mlipbook.dynamics.forces import CommitteeMean
from mlipbook.dynamics.host import Number, Numbers, on_host, per_replica
from mlipbook.dynamics.limits import Limits, Target, Unstable, Watch, advice
from mlipbook.dynamics.methods import BAOAB, Forces, MartynaTobiasKlein, NoseHoover, VelocityVerlet
from mlipbook.dynamics.state import State
from mlipbook.dynamics.store import Store
from mlipbook.dynamics.trajectory import Every, Recorder, Trajectory, joined
from mlipbook.potentials import Potential
from mlipbook.units import fs, kB, ps

Observables = Mapping[str, Callable[[State], Tensor] | Every]
TIME = "a time in internal units, such as 100 * units.fs"
FOREVER = 2**62  # a step after the end of any ramp


class Method(Protocol):
    """What a simulation knows of an integrator (module methods)."""

    def begin(self, state: State, kT: Number) -> State: ...
    def step(self, state: State, forces: Forces, timestep: float, kT: Number, P: Number) -> State: ...
    def invariant(self, state: State, kT: Number, P: Number) -> Tensor: ...


@dataclass(frozen=True)
class Ramp:
    """A value that goes linearly from start to stop in so many steps of a run, and stays; numbers or (B,), in
    the unit of what is ramped. ValueError unless both are finite and steps a whole number.
    """

    start: Numbers
    stop: Numbers
    steps: int

    def __post_init__(self) -> None:
        whole(self.steps, "steps")
        for name, end in (("start", self.start), ("stop", self.stop)):
            if not bool(torch.isfinite(torch.as_tensor(end, dtype=torch.float64)).all()):
                raise refusal(end, name, "finite values")

    def __call__(self, step: int) -> Tensor:
        start, stop = (torch.as_tensor(x, dtype=torch.float64) for x in (self.start, self.stop))
        return start + (stop - start) * min(step / self.steps, 1.0)


@dataclass(frozen=True)
class Simulation:
    """A potential, an integrator with its time step, and the surroundings; made by NVE, NVT, Langevin, NPT.

    temperature (K) and outer_pressure (eV/A^3), which a barostat works against: a number, one per replica,
    or a Ramp.
    """

    potential: Potential
    method: Method
    timestep: float
    temperature: Numbers | Ramp = 0.0
    outer_pressure: Numbers | Ramp = 0.0

    def __post_init__(self) -> None:
        positive(self.timestep, "timestep", "a time in internal units, such as 2.9 * units.fs")

    def run(
        self,
        state: State,
        steps: int,
        observe: Observables | None = None,
        every: int = 10,
        frames: int | None = None,
        store: str | os.PathLike[str] | None = None,
        chunk: int = 1000,
        limits: Limits | None = None,
        progress: bool = True,
    ) -> Trajectory:
        """Go `steps` steps from this state, all replicas at once.

        observe: functions of the State, each giving a tensor (B, ...), called after every `every` steps, or
        in intervals of its own, as an `Every`; the invariant (eV) is always there. frames: steps between
        frames that are kept. store: folder of the trajectory's parts, written every `chunk` steps; the same
        call goes on after the last one, on a CPU bit for bit as if not interrupted; limits may be others
        then, and hold for the steps to come. A committee drives by its mean.
        Raises Unstable beyond the limits, ValueError for arguments that do not fit and a store of another
        run, OSError for a store that cannot be written, InUse for one that another process uses.
        """
        steps, every, chunk = whole(steps, "steps"), whole(every, "every"), whole(chunk, "chunk")
        frames = None if frames is None else whole(frames, "frames")
        kT, P = self.targets(state)
        start = self.method.begin(replace(state, result=None), kT(state.step))
        end = start.step + steps
        own = {"intervals": {"every": every, "frames": frames, "chunk": chunk}, "observed": observe or {}}
        folder = Store(store, self.identity(start, kT, P, own) if store is not None else {})
        forces = CommitteeMean(self.potential)
        watch = Watch(limits or Limits(), start, forces, self.method.invariant, kT, P, self.timestep)
        observables = {**named(observe, every, steps), "invariant": lambda s: watch.invariant(s, s.step)}
        with archive.locked(folder.lock), tqdm(total=steps, disable=not progress, desc="steps") as bar:
            parts = folder.parts(start, end)
            state = afresh(parts[-1].state if parts else start, forces)
            bar.n = bar.initial = state.step - start.step
            while state.step < end:
                recorder = Recorder(state, observables, start.step, every, frames, self.timestep)
                until = min(end, state.step + chunk)
                try:
                    state = followed(self.advance(state, until, forces, kT, P), until, recorder, watch, bar)
                except Unstable as stop:
                    stop.trajectory = joined([*parts, recorder.part(recorder.good)])
                    folder.save_frames(recorder.good)
                    raise
                parts.append(recorder.part(state))
                folder.save(parts)
        return replace(joined(parts), state=state)

    def advance(
        self, state: State, until: int, forces: CommitteeMean, kT: Target, P: Target
    ) -> Iterator[State]:
        """The states after each step, the last one as a store gives it back. Raises Unstable."""
        while state.step < until:
            try:
                state = self.method.step(state, forces, self.timestep, kT(state.step), P(state.step))
                if state.step == until:
                    state = afresh(state, forces)
            except (ValueError, OverflowError) as error:  # not finite, atoms on top of each other
                raise Unstable(f"step {state.step + 1}: {error}; {advice(self.timestep)}") from error
            yield state

    def targets(self, state: State) -> tuple[Target, Target]:
        """kT (eV) and the outer pressure P (eV/A^3) as functions of the step; ramps begin at this state.
        ValueError for a temperature that is not positive."""
        of_type(state, "state", State, "a State, as thermalize or State.from_ase make it")

        def target(schedule: Numbers | Ramp, name: str, unit: float = 1.0) -> Target:
            def numbers(values: Numbers) -> Number:
                return on_host(unit * per_replica(values, state.structures, name))

            if isinstance(schedule, Ramp):
                return lambda step: numbers(schedule(step - state.step))
            constant = numbers(schedule)
            return lambda step: constant

        kT = target(self.temperature, "temperature", kB)
        ends = np.ravel([kT(state.step), kT(FOREVER)]) / kB
        if not isinstance(self.method, VelocityVerlet) and not bool((ends > 0).all()):
            raise ValueError(f"temperature {np.unique(ends).tolist()} K: thermostats need positive ones")
        return kT, target(self.outer_pressure, "pressure")

    def identity(self, start: State, kT: Target, P: Target, own: Mapping[str, Any]) -> dict[str, str]:
        """What tells this run from others, described; own: more of it."""
        steps = (start.step, start.step + 1, FOREVER)  # a straight line and where it ends
        T, outer = ([np.ravel(target(step)) for step in steps] for target in (kT, P))
        integrator = [self.method, self.timestep]
        parts = {"integrator": integrator, "pressure": outer, "potential": self.potential, **own}
        return {name: archive.described(part) for name, part in parts.items()} | {
            "temperature": archive.described(T, f"{[(x / kB).tolist() for x in T]} K"),
            "start": archive.described(start, f"{len(start)} of {start.structures.n_atoms} atoms"),
        }


def named(observe: Observables | None, every: int, steps: int) -> Observables:
    """The observables; TypeError for a list, ValueError for what is always there, or would never be seen."""
    found = of_type(observe or {}, "observe", Mapping, 'functions by name, {"density": observables.density}')
    if "invariant" in found:
        raise refusal("invariant", "the observable", "another name: this one is always there")
    if every > steps and not all(isinstance(x, Every) for x in found.values()):
        raise refusal(every, "every", f"at most the {steps} steps of the run: nothing would be observed")
    return found


def afresh(state: State, forces: CommitteeMean) -> State:
    """All that is derived made again from bare values, the result with new lists."""
    forces.renew()
    structures = replace(state.structures)
    return replace(state, structures=structures, result=forces(structures))


def followed(states: Iterator[State], until: int, recorder: Recorder, watch: Watch, bar: tqdm) -> State:
    """The last of these states, at step `until`, after all were looked at."""
    for state in states:
        if recorder.due(state, recorder.every) or state.step == until:
            watch.look(state, recorder.good)
        recorder.look(state)
        bar.update()
        if not bar.disable and bar.n % 100 == 0:
            per_second = (bar.n - bar.initial) / bar.format_dict["elapsed"]
            ns = 86400 * per_second * len(state) * recorder.timestep / (1e3 * ps)
            bar.set_postfix_str(f"{ns:.3g} ns/day, all replicas together")
    return state


# ---- ensembles


def NVE(potential: Potential, timestep: float) -> Simulation:
    """Constant energy: velocity Verlet. timestep: internal units (2.9 * units.fs)."""
    return Simulation(potential, VelocityVerlet(), timestep)


def NVT(
    potential: Potential,
    timestep: float,
    temperature: Numbers | Ramp,
    thermostat_time: float = 100 * fs,
    chain: int = 3,
) -> Simulation:
    """Constant temperature (K): Nose-Hoover chain; chain=1 is the single thermostat. Internal time units."""
    method = NoseHoover(positive(thermostat_time, "thermostat_time", TIME), whole(chain, "chain"))
    return Simulation(potential, method, timestep, temperature)


def Langevin(
    potential: Potential,
    timestep: float,
    temperature: Numbers | Ramp,
    friction_time: float = 100 * fs,
    fix_center: bool = True,
) -> Simulation:
    """Constant temperature (K) by friction and noise (BAOAB). Times: internal units."""
    method = BAOAB(positive(friction_time, "friction_time", TIME), fix_center)
    return Simulation(potential, method, timestep, temperature)


def NPT(
    potential: Potential,
    timestep: float,
    temperature: Numbers | Ramp,
    pressure: Numbers | Ramp = 0.0,
    thermostat_time: float = 100 * fs,
    barostat_time: float = 500 * fs,
    chain: int = 3,
) -> Simulation:
    """Constant temperature (K) and pressure (eV/A^3): Martyna, Tobias, Klein, isotropic."""
    method = MartynaTobiasKlein(
        positive(thermostat_time, "thermostat_time", TIME),
        positive(barostat_time, "barostat_time", TIME),
        whole(chain, "chain"),
    )
    return Simulation(potential, method, timestep, temperature, pressure)
