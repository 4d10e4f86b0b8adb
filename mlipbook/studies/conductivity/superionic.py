"""Is the reference potential of alpha-Ag2Se superionic? Selenium must keep its lattice while silver flows.

At 500 K and the experimental lattice constant: pressure, g(r) of each pair of elements, mean square
displacements, diffusion. At zero pressure and several temperatures: lattice constant, diffusion, and the
order of selenium, up to melting. And what the damped and shifted Coulomb interaction of the potential leaves
out of the full sum of Ewald.

    python -m mlipbook study conductivity.superionic --folder FOLDER

Trajectories are kept in the folder: the same command goes on where it stopped.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from ase.data import atomic_numbers
from torch import Tensor

from mlipbook import observables
from mlipbook.averages import Value, mean
from mlipbook.dft.ewald import ewald
from mlipbook.dynamics import NPT, NVT, State, Trajectory, thermalize
from mlipbook.potentials import AgSe
from mlipbook.potentials.ionic import Ionic, read
from mlipbook.structures import Structures
from mlipbook.studies.command import Result, Sized, command
from mlipbook.studies.conductivity.silver_selenide import TEMPERATURE, crystal, rms
from mlipbook.units import GPa, bohr, fs, hartree, meV, ps

TEMPERATURES = (350.0, 500.0, 700.0, 1000.0, 1200.0)  # K, at zero pressure
TIMESTEP, EVERY = 5 * fs, 10  # steps between samples and frames
BINS = torch.linspace(1.8, 9.8, 161, dtype=torch.float64)  # A, of g(r)
A2_PER_PS = 10.0  # in 1e-5 cm^2/s


@dataclass(frozen=True)
class Sizes:
    """Cells along an edge; replicas at constant volume, and of each run at zero pressure; ps left out at the
    start, ps kept, ps of its pieces that count as independent, lags (ps) from which diffusion is read.
    """

    cells: int = 4
    replicas: int = 4
    replicas_at_pressure: int = 2
    settle: float = 5.0
    length: float = 16.0
    piece: float = 8.0
    window: tuple[float, float] = (1.5, 5.0)


SIZES = {"smoke": Sizes(4, 2, 2, settle=0.05, length=0.4, piece=0.2, window=(0.04, 0.15)), "full": Sizes()}


def selenium_order(state: State) -> Tensor:
    """Global Q6 of selenium, (B,): 0.3-0.5 in its crystal, below 0.1 in the melt."""
    return observables.steinhardt(species(state.structures, "Se"), 6)


OBSERVED = {
    "temperature": observables.temperature,
    "pressure": observables.pressure,
    "potential energy": observables.potential_energy,
    "volume": observables.volume,
    "Q6 of Se": selenium_order,
}


def run(
    temperature: float, sizes: Sizes, pressure: float | None = None, folder: Path | None = None
) -> Trajectory:
    """Settled dynamics at the experimental volume or a pressure, eV/A^3; folder: to go on after a stop."""
    replicas, simulation, name = sizes.replicas, NVT(AgSe(), TIMESTEP, temperature), "volume"
    if pressure is not None:
        replicas, name = sizes.replicas_at_pressure, "pressure"
        simulation = NPT(AgSe(), TIMESTEP, temperature, pressure)
    state = thermalize(crystal(sizes.cells), [2 * temperature] * replicas)  # half becomes vibrations
    settle, steps = (round(time * ps / TIMESTEP) for time in (sizes.settle, sizes.length))
    stores = [folder / f"{temperature:.0f}K-{name}-{part}" if folder else None for part in ("settle", "run")]
    state = simulation.run(state, settle, every=EVERY, store=stores[0]).state
    return simulation.run(state, steps, OBSERVED, EVERY, frames=EVERY, store=stores[1])


# ---- what is seen ----------------------------------------------------------------------------------------


def species(structures: Structures, symbol: str) -> Structures:
    """The atoms of one element."""
    chosen = structures.species == atomic_numbers[symbol]
    positions = structures.positions[:, chosen]
    return Structures(positions, structures.cells, structures.species[chosen], structures.pbc)


def partial_distributions(structures: Structures, edges: Tensor = BINS) -> dict[str, Tensor]:
    """g(r) of "Ag-Ag", "Ag-Se", "Se-Se" pairs, (B, bins) each: unlike pairs are all less the like ones."""
    n = {symbol: structures.symbols.count(symbol) for symbol in ("Ag", "Se")}
    like = {symbol: observables.pair_distribution(species(structures, symbol), edges) for symbol in n}
    pairs = {symbol: k * (k - 1) / 2 for symbol, k in n.items()}
    N = structures.n_atoms
    all_pairs = N * (N - 1) / 2 * observables.pair_distribution(structures, edges)
    unlike = (all_pairs - sum(pairs[s] * like[s] for s in n)) / (n["Ag"] * n["Se"])
    return {"Ag-Ag": like["Ag"], "Ag-Se": unlike, "Se-Se": like["Se"]}


def frames_of(trajectory: Trajectory, chosen: Any, replicas: slice = slice(None)) -> Structures:
    """The structures of chosen frames, one after the other, all replicas of each or some."""
    positions, cells = (x[chosen][:, replicas] for x in (trajectory.positions, trajectory.cells))
    like = trajectory.state.structures.to("cpu")
    return replace(like, positions=positions.flatten(0, 1), cells=cells.flatten(0, 1))


def distributions(trajectory: Trajectory) -> dict[str, Tensor]:
    """`partial_distributions` of every replica, mean over every fifth frame, (B, bins)."""
    found = partial_distributions(frames_of(trajectory, slice(None, None, 5)))
    return {pair: g.unflatten(0, (-1, len(trajectory.state))).mean(0) for pair, g in found.items()}


def first_peak(g: Tensor) -> Tensor:
    """Distance of the highest bin of each g(r) (B, bins), A, the vertex of a parabola through three bins."""
    top = g.argmax(-1, keepdim=True).clamp(1, g.shape[-1] - 2)
    left, middle, right = (g.gather(-1, top + k)[:, 0] for k in (-1, 0, 1))
    width = BINS[1] - BINS[0]
    return BINS[top[:, 0]] + width * (0.5 + 0.5 * (left - right) / (left - 2 * middle + right))


def displacements(trajectory: Trajectory, symbol: str, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Lags (T,) in ps and mean square displacements (T, pieces) of an element in A^2."""
    inside = observables.in_mean_cell(trajectory.positions, trajectory.cells)
    pieces = observables.blocks(inside, round(sizes.length / sizes.piece))
    state = trajectory.state
    atoms = state.structures.species == atomic_numbers[symbol]
    msd = observables.mean_square_displacement(pieces, state.masses, atoms)
    return EVERY * TIMESTEP / ps * torch.arange(len(msd)).double(), msd


def diffusion(trajectory: Trajectory, symbol: str, sizes: Sizes) -> dict[str, Any]:
    """D as a record."""
    lags, msd = displacements(trajectory, symbol, sizes)
    D, sem = observables.diffusion(lags, msd, sizes.window)
    return (A2_PER_PS * Value(D, sem, msd.shape[1])).record("1e-5 cm^2/s")


def pieces(series: Tensor, unit: str) -> dict[str, Any]:
    """A record of series (T, B) from means over four blocks of each replica."""
    return mean(observables.blocks(series, 4).mean(0)).record(unit)


def at_constant_volume(trajectory: Trajectory, sizes: Sizes) -> tuple[dict[str, dict], dict[str, Any]]:
    """Records at the experimental volume; and lags (ps), displacements, g(r) for figures, as lists."""
    seen, n_atoms = trajectory.observed, trajectory.state.structures.n_atoms
    found = {
        "temperature": pieces(seen["temperature"], "K"),
        "pressure": pieces(seen["pressure"] / GPa, "GPa"),
        "potential energy": pieces(seen["potential energy"] / n_atoms, "eV/atom"),
        "Q6 of Se": pieces(seen["Q6 of Se"], ""),
    }
    curves: dict[str, Any] = {"r": ((BINS[1:] + BINS[:-1]) / 2).tolist(), "g": {}, "msd": {}}
    for symbol in ("Ag", "Se"):
        lags, msd = displacements(trajectory, symbol, sizes)
        shown = msd[lags <= sizes.window[1]]
        found[f"D of {symbol}"] = diffusion(trajectory, symbol, sizes)
        found[f"MSD of {symbol} after {sizes.window[1]:g} ps"] = mean(shown[-1]).record("A^2")
        curves["lags"] = lags[: len(shown)].tolist()
        curves["msd"][symbol] = shown.mean(1).tolist()
        curves["msd"][f"{symbol}, sem"] = (shown.std(1) / msd.shape[1] ** 0.5).tolist()
    for pair, g in distributions(trajectory).items():
        found[f"first peak of {pair}"] = mean(first_peak(g)).record("A")
        curves["g"][pair] = g.mean(0).tolist()
    return {f"{TEMPERATURE:.0f} K: {name}": record for name, record in found.items()}, curves


def at_zero_pressure(trajectory: Trajectory, temperature: float, sizes: Sizes) -> dict[str, dict]:
    """Records of a run at zero pressure: edge of the cubic cell, D of both elements, order of selenium."""
    cells = trajectory.state.structures.n_atoms / 6
    found = {
        "lattice constant": pieces((trajectory.observed["volume"] / cells) ** (1 / 3), "A"),
        "D of Ag": diffusion(trajectory, "Ag", sizes),
        "D of Se": diffusion(trajectory, "Se", sizes),
        "Q6 of Se": pieces(trajectory.observed["Q6 of Se"], ""),
    }
    return {f"{name}, {temperature:.0f} K": record for name, record in found.items()}


# ---- what the damped and shifted Coulomb interaction leaves out ----------------------------------------


def full_coulomb(structures: Structures, charge: dict[str, float]) -> tuple[Tensor, ...]:
    """Energies (B,) eV, forces (B, N, 3) eV/A, virials (B, 3, 3) eV of point charges by Ewald's sum."""
    charges = torch.tensor([charge[symbol] for symbol in structures.symbols], dtype=torch.float64)
    found = []
    for positions, cell in zip(structures.positions / bohr, structures.cells / bohr, strict=True):
        x, strain = positions.clone().requires_grad_(), torch.zeros(3, 3).double().requires_grad_()
        deform = torch.eye(3) + strain
        energy = ewald(x @ deform, cell @ deform, charges)
        dx, dstrain = torch.autograd.grad(energy, (x, strain))
        found.append((energy.detach() * hartree, -dx * hartree / bohr, -dstrain * hartree))
    return tuple(torch.stack(parts) for parts in zip(*found, strict=True))


def truncation(structures: Structures) -> dict[str, dict]:
    """The model's Coulomb interaction alone minus the full sum. It lacks a self-energy: only the scatter of
    the energy counts.
    """
    model = read("ag2se-project-B.toml")
    repulsion = {pair: values | {"H": 0.0} for pair, values in model["repulsion"].items()}
    bare = Ionic(model | {"repulsion": repulsion, "polarizability": {"Ag": 0.0, "Se": 0.0}})
    damped, (energy, forces, virial) = bare.evaluate(structures), full_coulomb(structures, model["charge"])
    pressure = (damped.virial - virial).diagonal(dim1=1, dim2=2).mean(-1) / structures.volumes / GPa
    scatter = float(((damped.energy - energy) / structures.n_atoms / meV).std())
    n = len(structures)
    of_energy = Value(scatter, scatter / (2 * (n - 1)) ** 0.5, n)
    return {
        "Coulomb: rms of forces": mean(rms(forces)).record("eV/A"),
        "Coulomb: rms difference of forces": mean(rms(damped.forces - forces)).record("eV/A"),
        "Coulomb: difference of pressure": mean(pressure).record("GPa"),
        "Coulomb: scatter of the difference of energy": of_energy.record("meV/atom"),
    }


@command(saves="silver-selenide")
def study(folder: Path, profile: Sized = "full") -> Result:
    """All runs and what they say. folder: for trajectories."""
    sizes = SIZES[profile]
    trajectory = run(TEMPERATURE, sizes, folder=folder)
    records, curves = at_constant_volume(trajectory, sizes)
    some = torch.linspace(0, len(trajectory.positions) - 1, 8).long()
    records |= truncation(frames_of(trajectory, some, slice(1)))
    for temperature in TEMPERATURES:
        held = run(temperature, sizes, pressure=0.0, folder=folder)
        records |= at_zero_pressure(held, temperature, sizes)
    return Result(records, {"curves": curves})
