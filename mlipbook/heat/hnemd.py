"""Thermal conductivity by a homogeneous fictitious field (HNEMD; Evans, Phys. Lett. A 91, 457 (1982)).

    kappa = <J_F>/(T F)                 J = flux per volume; linear response, any definition of W_i
    sigma = (1/F) sqrt(2 kappa kB/(Omega t))

Eq. 15 as printed has another factor Omega, which its own Eq. 10, 11 do not leave room for (chapter 11).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mlipbook.averages import Value, average
from mlipbook.checks import all_positive, element, not_negative, one_of, positive, whole
from mlipbook.dynamics import Simulation, State
from mlipbook.dynamics.simulation import TIME
from mlipbook.heat.drive import Booked, ColorField, Drive, DrivenNoseHoover, HeatField
from mlipbook.heat.flux import convective_flux, mass_current
from mlipbook.observables import temperature as temperature_of
from mlipbook.potentials import Definition, Potential
from mlipbook.potentials.contract import DEFINITIONS
from mlipbook.units import W_per_m_K, fs, kB, ps


@dataclass(frozen=True)
class Response:
    """Steady state under a field. All series are (T, B), of B replicas; fluxes and currents (T, B, 3).

    flux: Omega*J of Eq. 11, eV A per internal time. current: element -> V_z, A per internal time.
    temperature: K. field: (B, 3), 1/A of a heat field, eV/A of a color field. volume: A^3, interval:
    between samples, internal time. thermostat: K, the temperature that was set. color: the element that a
    color field drives; None: heat is driven.
    """

    flux: Tensor
    current: Mapping[str, Tensor]
    temperature: Tensor
    field: Tensor
    volume: float
    interval: float
    thermostat: float
    color: str | None = None

    @property
    def kappa(self) -> Value:
        """<J_F>/(T F), W/m/K: L_qq, at whatever mass current flows. ValueError for a color field."""
        if self.color:
            raise ValueError(f"this field drove {self.color}, not heat; see onsager({self.color!r}) for L_11")
        return average(self.coefficient(self.flux)) / W_per_m_K

    def coefficient(self, flux: Tensor) -> Tensor:
        """Samples (T, B) of a flux's response to the field, <flux . F>/(Omega T F^2), internal units."""
        along = (flux * self.field).sum(-1) / self.field.square().sum(-1)
        return along / (self.volume * self.thermostat)

    def onsager(self, element: str) -> Value:
        """Response of an element's current: L_1q, W/m/K per eV; of a color field on it L_11, per eV^2."""
        return average(self.coefficient(self.current[element])) / W_per_m_K

    @property
    def across(self) -> Value:
        """As kappa, along the two directions perpendicular to the field, W/m/K: zero but for noise."""
        along = torch.nn.functional.normalize(self.field, dim=-1)
        other = torch.eye(3, dtype=along.dtype)[along.abs().argmin(-1)]
        first = torch.nn.functional.normalize(torch.linalg.cross(along, other), dim=-1)
        sides = (first, torch.linalg.cross(along, first))
        scale = self.volume * self.thermostat * self.field.norm(dim=-1)
        series = torch.cat([(self.flux * side).sum(-1) / scale for side in sides], 1)
        return average(series) / W_per_m_K

    def running(self) -> tuple[Tensor, Tensor]:
        """Time (T,), internal units, and the running average of kappa of each replica, (T, B) W/m/K."""
        samples = self.coefficient(self.flux) / W_per_m_K
        count = torch.arange(1, len(samples) + 1, dtype=torch.float64)
        return self.interval * count, samples.cumsum(0) / count[:, None]


def hnemd(
    potential: Potential,
    state: State,
    field: float | Sequence[float] | Tensor,
    temperature: float,
    steps: int,
    timestep: float,
    *,
    definition: Definition = "I",
    color: str | None = None,
    thermostat_time: float = 100 * fs,
    settle: float = 5 * ps,
    every: int = 4,
    store: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Response:
    """Drive the heat flux of a definition (Eq. 11-14) by a field, and measure what flows: `Response.kappa`.

    state: B replicas at rest, at their temperature; one batch. field: 1/A, a number (along x), (3,), or
    (B, 3). color: an element whose current is driven instead, the field then in eV/A. thermostat_time of the
    single Nose-Hoover thermostat, settle (left out of the averages), timestep: internal units. The gauge is
    that of the potential (`Shifted`). store: as in Simulation.run; the same call goes on after a kill.
    Raises ValueError for a field of zero or of another shape, for a state whose total momentum is not zero or
    whose temperature is another one, and for what Simulation.run refuses.
    """
    fields = fields_of(field, state)
    refuse_other_temperature(state, positive(temperature, "temperature", "in K"))
    if color is not None:
        element(color, "color", among=state.structures.symbols)
    simulation = under_field(potential, fields, temperature, timestep, definition, color, thermostat_time)
    every, steps = whole(every, "every"), whole(steps, "steps")
    skip = settling(settle, timestep, every, steps)
    elements = sorted(set(state.structures.symbols))
    run = simulation.run(state, steps, observables(elements), every=every, store=store, progress=progress)
    seen = {name: series[skip:] for name, series in run.observed.items()}
    currents = {z: seen[f"current of {z}"] for z in elements}
    of = fields.cpu(), float(state.volume[0]), every * timestep, temperature, color
    return Response(seen["flux"], currents, seen["temperature"], *of)


def settling(settle: float, timestep: float, every: int, steps: int) -> int:
    """Samples of a time to leave out; ValueError if fewer than ten would be left."""
    skip = round(not_negative(settle, "settle", TIME) / timestep / every)
    if steps // every <= skip + 10:
        raise ValueError(f"{steps} steps, of which {skip * every} settle: nothing is left to average")
    return skip


def under_field(
    potential: Potential,
    fields: Tensor,
    temperature: float,
    timestep: float,
    definition: Definition = "I",
    color: str | None = None,
    thermostat_time: float = 100 * fs,
) -> Simulation:
    """The dynamics of `hnemd`, fields (B, 3)."""
    one_of(definition, "definition", DEFINITIONS)
    positive(temperature, "temperature", "in K")
    drive: Drive = ColorField(fields, color) if color else HeatField(fields, definition)
    method = DrivenNoseHoover(positive(thermostat_time, "thermostat_time", TIME), 1, drive)
    return Simulation(Booked(potential, definition), method, timestep, temperature)


def observables(elements: Sequence[str]) -> dict[str, Callable[[State], Tensor]]:
    """What `hnemd` looks at: flux, temperature, current of each element."""
    currents = {f"current of {z}": partial(current_of, element=z) for z in elements}
    return {"flux": flux_of, "temperature": temperature_of, **currents}


def fields_of(field: float | Sequence[float] | Tensor, state: State) -> Tensor:
    """(B, 3) from what `hnemd` takes; ValueError for those and states that it refuses."""
    if not all(pbc := state.structures.pbc):
        raise ValueError(f"pbc {pbc}: a conductivity is of a cell periodic in all directions")
    state.structures.refuse_fixed("their flux would not be that of Eq. 11; remove the constraint")
    drift = float(state.momenta.sum(1).abs().max())
    if drift > 1e-6:
        raise ValueError(
            f"the total momentum is {drift:.3g} amu A per internal time: fields do other work on a cell that "
            "moves; start from thermalize(..., center_at_rest=True)"
        )
    given = torch.as_tensor(field, dtype=torch.float64, device=state.momenta.device)
    if given.ndim == 0:
        given = torch.stack([given, 0 * given, 0 * given])
    squares = given.square().sum(-1)
    if given.shape not in ((3,), (len(state), 3)) or not bool(((squares > 0) & (squares < torch.inf)).all()):
        raise ValueError(
            f"field {tuple(given.shape)} for {len(state)} replicas: a number, (3,) or ({len(state)}, 3), "
            "not zero, is needed"
        )
    return given.expand(len(state), 3)


def refuse_other_temperature(state: State, temperature: float) -> None:
    """Raise ValueError if the replicas are, on average and within five standard deviations, less than half or
    more than twice as hot: a lattice without heat never becomes what was meant."""
    noise = 1 + 5 * (2 / (len(state) * state.degrees_of_freedom)) ** 0.5
    found = float(state.temperature.mean())
    if not 0.5 / noise <= found / temperature <= 2 * noise:
        raise ValueError(
            f"the state has {found:.1f} K, the run {temperature:g} K: start from dynamics at this temperature"
        )


def flux_of(state: State) -> Tensor:
    """Omega*J (B, 3) of a state, in the definition of its virials."""
    velocities = state.velocities
    virial = torch.einsum("biac,bic->ba", state.evaluated.virials, velocities)
    return convective_flux(state.evaluated.energies, state.masses, velocities) + virial


def current_of(state: State, element: str) -> Tensor:
    """V_z (B, 3) of a state, A per internal time."""
    return mass_current(state.velocities, state.structures, element)


def predicted_error(field: float, kappa: float, volume: float, time: float) -> float:
    """sigma of kappa (W/m/K) after a run of this length; field 1/A, kappa W/m/K, volume A^3, internal time.

    From the equilibrium fluctuations of the flux, whose integral is kappa (Eq. 10): small fields, times long
    beside the flux's memory. Raises ValueError unless all are positive.
    """
    all_positive(field=field, kappa=kappa, volume=volume, time=time)
    return (2 * kappa * W_per_m_K * kB / (volume * time)) ** 0.5 / field / W_per_m_K
