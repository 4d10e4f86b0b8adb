"""From the ideal gas to soft spheres, once for all: g(y) = beta F_ex/N on the one variable that it has.

Spheres mu (sigma/r)^12 at any density and temperature are those of one y. Windows lie on the path of Eq. 8-9
with k = 3/4, where lambda^(1/4) is proportional to y, and each measures the slope of the table,

    dg/dy = 4 lambda beta <U_SC>_lambda/(N y) = (Z - 1)/y,

whose expansion in y is the virial series. `free_energy.soft_core_excess` integrates it.

    python -m mlipbook study free_energies.soft_sphere --device cuda --copies 16 --steps 20000
"""

from functools import partial
from typing import Any

import numpy as np
from ase.build import bulk

from mlipbook import free_energy
from mlipbook.free_energy import Path, Sampling, Windows
from mlipbook.free_energy.phases import MU, SIGMA
from mlipbook.free_energy.soft_core import excess_from, half_log_fluctuation
from mlipbook.potentials import IdealGas, SoftCore
from mlipbook.structures import Structures
from mlipbook.studies.command import Result, command
from mlipbook.units import fs, kB

LARGEST = 0.76  # of y; soft spheres freeze at 0.813
DENSITY = 0.0243  # atoms per A^3; only y counts
CUTOFF = 8.0  # A, 2.24 sigma
TIMESTEP, FRICTION_TIME = 3 * fs, 500 * fs  # friction is weak: dilute atoms have far to go
EQUILIBRATION = 2000  # steps
DILUTE = 0.5  # y up to which random places are found


def temperature_of(y: float) -> float:
    """The temperature (K) at which soft spheres of this DENSITY have this y."""
    return (free_energy.soft_core_y(DENSITY, 1.0, MU, SIGMA) / y) ** 4


def fluids(cells: int, path: Path, device: str = "cpu") -> Structures:
    """A start for each lambda: 4 cells^3 atoms of sodium, dilute ones at random places, dense ones far off
    the sites of an fcc lattice.

    Long waves of the density take long to appear in a dilute gas that starts without them: random places
    have them, where pairs closer than u(r) = 3 kT are left out.
    """
    kT = kB * temperature_of(LARGEST)
    lattice = bulk("Na", "fcc", (4 / DENSITY) ** (1 / 3), cubic=True) * (cells, cells, cells)
    frames = []
    for lam in path.lam:
        atoms = lattice.copy()
        atoms.rattle(0.5, seed=0)
        if LARGEST * lam**0.25 < DILUTE:
            closest = SIGMA * (lam * MU / (3 * kT)) ** (1 / 12)
            atoms.positions = random_places(len(atoms), atoms.cell.lengths()[0], closest)
        frames.append(atoms)
    return Structures.from_ase(frames, device)


def random_places(n: int, edge: float, closest: float) -> np.ndarray:
    """n points (n, 3) of a periodic cube, one after the other, none closer to another than `closest`."""
    rng, places = np.random.default_rng(0), np.empty((0, 3))
    while len(places) < n:
        trial = edge * rng.random(3)
        vectors = places - trial
        vectors -= edge * np.round(vectors / edge)
        if (np.square(vectors).sum(1) > closest**2).all():
            places = np.vstack([places, trial])
    return places


def leg(
    cells: int, points: int, sampling: Sampling, seed: int, device: str = "cpu", store: str | None = None
) -> Windows:
    """Windows from the ideal gas to soft spheres of y = LARGEST."""
    path = free_energy.path(points, k=0.75)
    start, core = fluids(cells, path, device), SoftCore(MU, SIGMA, cutoff=CUTOFF)
    run = partial(free_energy.windows, core, IdealGas(), start, path, temperature_of(LARGEST))
    options: dict[str, Any] = {"timestep": TIMESTEP, "phase": "liquid", "progress": store is not None}
    return run(sampling=sampling, seed=seed, store=store, **options)


def slopes(windows: Windows) -> dict[str, Any]:
    """The table of infinitely many atoms: y, dg/dy and its error for each window. What the cutoff takes off,
    and the term ln S(0)/(2N) of fixed N, are put back to first order."""
    N, kT, h = windows.n_atoms, kB * windows.temperature, 1e-4
    missing = -free_energy.soft_core_cutoff(DENSITY, MU, SIGMA, CUTOFF)  # eV per atom at lambda = 1
    lam = np.array([window.lam for window in windows])
    U = np.array([tuple(window.mean) for window in windows]).T / N  # mean and error
    y = LARGEST * lam**0.25
    scale = 4 * lam / (kT * y)  # from eV per atom to dg/dy
    fixed_N = np.array([half_log_fluctuation(x + h) - half_log_fluctuation(x - h) for x in y]) / (2 * h) / N
    found = {"y": y, "slope": scale * (U[0] + missing) - fixed_N, "slope_error": scale * U[1]}
    return {"largest_y": LARGEST, "n_atoms": N, **{name: x.tolist() for name, x in found.items()}}


@command(saves="soft-core")
def study(
    device: str = "cpu",
    cells: int = 5,
    points: int = 7,
    copies: int = 2,
    steps: int = 2000,
    seed: int = 0,
    store: str | None = None,
) -> Result:
    """The table. cells: fcc cells along an edge, 4 cells^3 atoms; copies: replicas in a batch, per point;
    steps: of production; store: folder, to go on after an interruption."""
    sampling = Sampling(0.0, steps, copies * points, EQUILIBRATION, friction_time=FRICTION_TIME)
    found = leg(cells, points, sampling, seed, device, store)
    table = slopes(found)
    return Result(records(table), {**table, "windows": found.table()})


def records(table: dict[str, Any]) -> dict[str, dict]:
    """g(y) of infinitely many atoms, with the virial series for comparison."""
    found = {y: excess_from(table, y) for y in (0.1, 0.3, 0.5, 0.7201)}
    for y, g in found.items():
        series = free_energy.soft_core_virial(y)
        print(f"g({y}) = {g.value:.5f} ± {g.error:.5f}    virial series {series:.5f}")
    return {f"g({y})": g.record("kT") for y, g in found.items()}
