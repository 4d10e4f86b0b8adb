"""Thermal conductivity of the Lennard-Jones liquid near its triple point, driven by a fictitious field.

One kind of atom, hence no mass current and no gauge: the response to a field must agree with Green-Kubo
(`liquid_argon`, the same liquid in equilibrium) and with the literature. And a thermostat that misses its
temperature: a chain, built for equilibrium, under the dissipation of the field.

    python -m mlipbook study heat_flux.lennard_jones --folder FOLDER

Trajectories are kept in the folder: the same command goes on where it stopped. Fields are in 1/sigma,
results in the units of Lennard-Jones.
"""

from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import torch

from mlipbook import bookkit
from mlipbook.averages import Value, average
from mlipbook.dynamics import Simulation, State
from mlipbook.heat import Booked, DrivenNoseHoover, HeatField, Response, hnemd
from mlipbook.heat.hnemd import observables, predicted_error
from mlipbook.studies.command import Result, Sized, command, kept_records
from mlipbook.studies.heat_flux.liquid_argon import EPSILON, SIGMA, TAU, TEMPERATURE, UNIT, argon, liquid
from mlipbook.units import kB

TIMESTEP, EVERY, THERMOSTAT_TIME = 0.004 * TAU, 5, 0.5 * TAU
EQUILIBRIUM = ("kappa*, Green-Kubo", "kappa*, cepstral")  # of liquid-argon.json


@dataclass(frozen=True)
class Sizes:
    """fcc cells along an edge, replicas, steps: of equilibration, under each field (1/sigma), under that of
    the chain, and how many of these are left out.
    """

    cells: int = 4
    replicas: int = 8
    equilibration: int = 2000
    driven: tuple[tuple[float, int], ...] = ((0.05, 9000), (0.1, 9000), (0.2, 5000))
    chain: tuple[float, int] = (0.2, 4000)
    relax: int = 1000


SIZES = {
    "smoke": Sizes(3, 2, equilibration=100, driven=((0.1, 300), (0.2, 300)), chain=(0.2, 300), relax=50),
    "full": Sizes(),
}


class Chained(DrivenNoseHoover):
    """The thermostat that `DrivenNoseHoover` refuses to be: a chain under a field, to see what goes wrong."""

    def __post_init__(self) -> None:
        """No check."""


def driven(start: State, field: float, steps: int, sizes: Sizes, folder: Path | None = None) -> Response:
    """The response to a field, with the single thermostat."""
    settle, store = sizes.relax * TIMESTEP, folder / f"field-{field:g}" if folder else None
    drive = argon(), start, field / SIGMA, TEMPERATURE, steps, TIMESTEP
    return hnemd(*drive, thermostat_time=THERMOSTAT_TIME, settle=settle, every=EVERY, store=store)


def with_chain(start: State, sizes: Sizes, folder: Path | None = None) -> Response:
    """As `driven`, with a chain of three thermostats."""
    field, steps = sizes.chain
    fields = torch.tensor([field / SIGMA, 0.0, 0.0], dtype=torch.float64).expand(len(start), 3)
    method = Chained(THERMOSTAT_TIME, 3, HeatField(fields))
    run = Simulation(Booked(argon(), "I"), method, TIMESTEP, TEMPERATURE)  # type: ignore[arg-type]
    store = folder / "chain" if folder else None
    seen = run.run(start, steps, observables([]), EVERY, store=store).observed
    flux, temperature = (seen[name][sizes.relax // EVERY :] for name in ("flux", "temperature"))
    return Response(flux, {}, temperature, fields, float(start.volume[0]), EVERY * TIMESTEP, TEMPERATURE)


# ---- the study -------------------------------------------------------------------------------------------


def of_field(response: Response, title: str) -> dict[str, dict]:
    """Records of a driven run, with the error that was predicted for it."""
    field, time = float(response.field[0, 0]), response.interval * response.temperature.numel()
    predicted = predicted_error(field, response.kappa.value, response.volume, time)
    items = {
        f"kappa*, {title}": response.kappa / UNIT,
        f"kappa*, {title}: across the field": response.across / UNIT,
        f"kappa*, {title}: predicted error": Value(predicted / UNIT),
        f"T*, {title}": average(response.temperature) / (EPSILON / kB),
    }
    return {name: replace(x, n=response.temperature.shape[1]).record() for name, x in items.items()}


def z_scores(records: dict[str, dict]) -> dict[str, float]:
    """Differences over their standard errors, of all pairs: equilibrium, fields up to 0.1. Green-Kubo and
    cepstral analysis are of one series, and no pair.
    """
    names = [*EQUILIBRIUM, "kappa*, F* = 0.05", "kappa*, F* = 0.1"]
    known = {name: Value.from_record(records[name]) for name in names if name in records}
    return {
        f"{a.removeprefix('kappa*, ')}, {b.removeprefix('kappa*, ')}": known[a].z(known[b])
        for a, b in combinations(known, 2)
        if (a, b) != EQUILIBRIUM
    }


def running(response: Response, points: int = 200) -> dict[str, list]:
    """The running average of kappa* over all replicas; time in tau, of one replica."""
    clock, kappa = response.running()
    shown = torch.linspace(9, len(clock) - 1, points).long()
    return {"time": (clock[shown] / TAU).tolist(), "kappa": (kappa.mean(1)[shown] / UNIT).tolist()}


@command(saves="lennard-jones-heat")
def study(folder: Path, profile: Sized = "full") -> Result:
    """All fields, the chain, and z-scores with equilibrium. folder: for trajectories."""
    sizes = SIZES[profile]
    start = liquid(sizes.cells, sizes.replicas, sizes.equilibration)
    responses = {
        f"F* = {field:g}": driven(start, field, steps, sizes, folder) for field, steps in sizes.driven
    }
    responses[f"F* = {sizes.chain[0]:g}, chain of 3"] = with_chain(start, sizes, folder)
    in_equilibrium = kept_records(bookkit.full_file("liquid-argon.json"))
    records = {name: in_equilibrium[name] for name in EQUILIBRIUM}
    for title, response in responses.items():
        records |= of_field(response, title)
    curves = {title: running(x) for title, x in responses.items()}
    return Result(records, {"running": curves, "z_scores": z_scores(records)})
