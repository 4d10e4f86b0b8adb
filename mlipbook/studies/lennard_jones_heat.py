"""Thermal conductivity of the Lennard-Jones liquid near its triple point, in and out of equilibrium.

One kind of atom, hence no mass current and no gauge: Green-Kubo (Eq. 10) and a fictitious field must agree
with each other and with the literature. And a thermostat that misses its temperature: a chain, built for
equilibrium, under the dissipation of the field.

    python -m mlipbook.studies.lennard_jones_heat --folder FOLDER

Trajectories are kept in the folder: the same command goes on where it stopped. Argon sets the units; results
are in those of Lennard-Jones: kB/(sigma tau) for kappa, tau = sigma sqrt(m/epsilon).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.build import bulk
from ase.data import atomic_masses, atomic_numbers

from mlipbook import bookkit
from mlipbook.dynamics import NVE, Langevin, Simulation, State, thermalize
from mlipbook.free_energy.series import Value, average
from mlipbook.heat import Booked, DrivenNoseHoover, HeatField, Response, cepstral, green_kubo, hnemd
from mlipbook.heat.green_kubo import Transport
from mlipbook.heat.hnemd import flux_of, predicted_error
from mlipbook.potentials import LennardJones, PairPotential
from mlipbook.units import W_per_m_K, kB

EPSILON, SIGMA = 119.8 * kB, 3.405  # eV, A
TAU = SIGMA * (float(atomic_masses[atomic_numbers["Ar"]]) / EPSILON) ** 0.5
DENSITY, TEMPERATURE = 0.8442, 0.722 * EPSILON / kB  # 1/sigma^3, K
CUTOFF, TIMESTEP, EVERY = 2.5 * SIGMA, 0.004 * TAU, 5
THERMOSTAT_TIME = 0.5 * TAU
LAG, HIGHEST = 2.0 * TAU, 5.0 / TAU  # longest lag of Eq. 10, highest frequency of the cepstral analysis
REDUCED = W_per_m_K * SIGMA * TAU / kB  # kappa* of 1 W/m/K
PUBLISHED = 6.6, 7.0  # as the literature of three decades has it


@dataclass(frozen=True)
class Sizes:
    """fcc cells along an edge, replicas, steps: to melt, to settle, in equilibrium, under each field (in
    1/sigma), under the field of the chain.
    """

    cells: int = 4
    replicas: int = 8
    melt: int = 800
    settle: int = 1700
    equilibrium: int = 20_000
    driven: tuple[tuple[float, int], ...] = ((0.05, 9000), (0.1, 9000), (0.2, 5000))
    chain: tuple[float, int] = (0.2, 4000)
    relax: int = 1000  # of the driven steps, left out


class Chained(DrivenNoseHoover):
    """The thermostat that `DrivenNoseHoover` refuses to be: a chain under a field, to see what goes wrong."""

    def __post_init__(self) -> None:
        """No check."""


def potential() -> PairPotential:
    return LennardJones(EPSILON, SIGMA, CUTOFF)


def liquid(sizes: Sizes, seed: int = 0) -> State:
    """Replicas of the liquid at its temperature, each melted from fcc on its own."""
    edge = (4 / DENSITY) ** (1 / 3) * SIGMA
    atoms = bulk("Ar", "fcc", edge, cubic=True) * sizes.cells
    state = thermalize(atoms, [4 * TEMPERATURE] * sizes.replicas, seed)
    for temperature, steps in ((3 * TEMPERATURE, sizes.melt), (TEMPERATURE, sizes.settle)):
        run = Langevin(potential(), TIMESTEP, temperature, friction_time=THERMOSTAT_TIME)
        state = run.run(state, steps, every=100).state
    return state


# ---- in equilibrium --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Equilibrium:
    """Green-Kubo integrals (W/m/K, internal time), the cepstral estimate (W/m/K), mean temperature (K)."""

    transport: Transport
    cepstral: Value
    temperature: Value


def in_equilibrium(start: State, sizes: Sizes, folder: Path | None = None) -> Equilibrium:
    """At constant energy; the temperature is what it is."""
    observe = {"flux": flux_of, "temperature": lambda state: state.temperature}
    run = NVE(Booked(potential(), "I"), TIMESTEP)  # type: ignore[arg-type]
    seen = run.run(start, sizes.equilibrium, observe, EVERY, store=part(folder, "equilibrium")).observed
    T, flux = average(seen["temperature"]), seen["flux"]
    given = EVERY * TIMESTEP, float(start.volume[0]), T.value
    found = cepstral(flux, *given, cutoff=HIGHEST)
    return Equilibrium(green_kubo(flux, *given, until=LAG), Value(found.value, found.error), T)


# ---- under a field ---------------------------------------------------------------------------------------


def driven(start: State, field: float, steps: int, sizes: Sizes, folder: Path | None = None) -> Response:
    """field: in 1/sigma."""
    return hnemd(
        potential(),
        start,
        field / SIGMA,
        TEMPERATURE,
        steps,
        TIMESTEP,
        thermostat_time=THERMOSTAT_TIME,
        settle=sizes.relax * TIMESTEP,
        every=EVERY,
        store=part(folder, f"field-{field:g}"),
    )


def with_chain(start: State, sizes: Sizes, folder: Path | None = None) -> Response:
    """As `driven`, with a chain of three thermostats."""
    field, steps = sizes.chain
    fields = torch.tensor([field / SIGMA, 0.0, 0.0], dtype=torch.float64).expand(len(start), 3)
    method = Chained(THERMOSTAT_TIME, 3, HeatField(fields))
    run = Simulation(Booked(potential(), "I"), method, TIMESTEP, TEMPERATURE)  # type: ignore[arg-type]
    observe = {"flux": flux_of, "temperature": lambda state: state.temperature}
    seen = run.run(start, steps, observe, EVERY, store=part(folder, "chain")).observed
    kept = {name: series[sizes.relax // EVERY + 1 :] for name, series in seen.items()}
    volume, interval = float(start.volume[0]), EVERY * TIMESTEP
    return Response(kept["flux"], {}, kept["temperature"], fields, volume, interval, TEMPERATURE)


def part(folder: Path | None, name: str) -> Path | None:
    return folder / name if folder else None


# ---- the study -------------------------------------------------------------------------------------------


def reduced(value: Value, n: int) -> dict[str, Any]:
    """kappa* as a record, from W/m/K."""
    return {"value": value.value * REDUCED, "sem": value.error * REDUCED, "n": n, "unit": ""}


def temperature(value: Value, n: int) -> dict[str, Any]:
    """T* as a record, from K."""
    return {"value": value.value * kB / EPSILON, "sem": value.error * kB / EPSILON, "n": n, "unit": ""}


def of_equilibrium(found: Equilibrium, replicas: int, plateau: float = 1.5) -> dict[str, dict]:
    """Records; plateau: the lag, in tau, at which the integral is read."""
    k = int((found.transport.time - plateau * TAU).abs().argmin())
    integral = Value(float(found.transport.kappa[k]), float(found.transport.kappa_error[k]))
    return {
        f"kappa*, Green-Kubo to {plateau:g} tau": reduced(integral, replicas),
        "kappa*, cepstral": reduced(found.cepstral, replicas),
        "T*, constant energy": temperature(found.temperature, replicas),
    }


def of_field(response: Response, title: str) -> dict[str, dict]:
    """Records of a driven run, with the error that was predicted for it."""
    n, field = response.flux.shape[1], float(response.field[0, 0])
    time = response.interval * len(response.flux) * n
    predicted = predicted_error(field, response.kappa.value, response.volume, time)
    return {
        f"kappa*, {title}": reduced(response.kappa, n),
        f"kappa*, {title}: across the field": reduced(response.across, n),
        f"kappa*, {title}: predicted error": {"value": predicted * REDUCED, "sem": 0.0, "n": n, "unit": ""},
        f"T*, {title}": temperature(average(response.temperature), n),
    }


def z_scores(records: dict[str, dict]) -> dict[str, float]:
    """All pairs of estimates of kappa* at fields up to 0.1: difference over its standard error."""
    names = ["kappa*, cepstral", "kappa*, F* = 0.05", "kappa*, F* = 0.1"]
    names = [name for name in records if name.startswith("kappa*, Green-Kubo")] + names
    found = {}
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            x, y = records[a], records[b]
            title = f"{a.removeprefix('kappa*, ')}, {b.removeprefix('kappa*, ')}"
            found[title] = (x["value"] - y["value"]) / float(np.hypot(x["sem"], y["sem"]))
    return found


def drawn(found: Equilibrium, responses: dict[str, Response]) -> dict[str, Any]:
    """Curves in reduced units as lists: the integral, and running averages of kappa* over all replicas."""
    t = found.transport
    curves: dict[str, Any] = {
        "green_kubo": {
            "time": (t.time / TAU).tolist(),
            "kappa": (t.kappa * REDUCED).tolist(),
            "sem": (t.kappa_error * REDUCED).tolist(),
        }
    }
    for title, response in responses.items():
        clock, kappa = response.running()
        shown = torch.linspace(9, len(clock) - 1, 200).long()
        mean = kappa.mean(1)[shown] * REDUCED
        curves[title] = {"time": (clock[shown] / TAU).tolist(), "kappa": mean.tolist()}
    return curves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="for trajectories")
    parser.add_argument("--out", type=Path, default=Path("results/full/lennard-jones-heat.json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    began, sizes = time.process_time(), Sizes()
    start = replace(liquid(sizes), step=0)
    responses = {
        f"F* = {field:g}": driven(start, field, steps, sizes, given.folder) for field, steps in sizes.driven
    }
    responses[f"F* = {sizes.chain[0]:g}, chain of 3"] = with_chain(start, sizes, given.folder)
    found = in_equilibrium(start, sizes, given.folder)
    records = of_equilibrium(found, sizes.replicas)
    for title, response in responses.items():
        records |= of_field(response, title)
    for name, item in records.items():
        print(f"{name:45} {item['value']:9.4f} ± {item['sem']:.4f}")
    scores = z_scores(records)
    print(scores)
    seconds = time.process_time() - began
    curves = drawn(found, responses)
    bookkit.save_result(
        given.out, records, seconds, 0, curves=curves, z_scores=scores, published=list(PUBLISHED)
    )


if __name__ == "__main__":
    main()
