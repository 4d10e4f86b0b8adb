"""A Lennard-Jones liquid near its triple point: thermal conductivity from the heat flux in equilibrium.

Half of the atoms, drawn at random, are called blue. That changes no force, but it makes a gauge: energies may
then be divided unequally between blue and other atoms, or be shifted by their color.

    python -m mlipbook study heat_flux.liquid_argon --store argon
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import torch
from ase.build import bulk
from ase.data import atomic_masses
from torch import Tensor

from mlipbook import bookkit, heat, neighbors
from mlipbook.averages import Value
from mlipbook.dynamics import NVE, Langevin, State, thermalize
from mlipbook.heat.hnemd import flux_of
from mlipbook.potentials import Definition, EdgePotential, LennardJones, edge_gradients, scatter
from mlipbook.studies.command import Profile, Result, command
from mlipbook.units import W_per_m_K, kB, ps

EPSILON, SIGMA = 119.8 * kB, 3.405  # eV, A: argon, as usual (Rowley, Nicholson, Parsonage 1975)
TAU = SIGMA * sqrt(atomic_masses[18] / EPSILON)  # the Lennard-Jones unit of time, 2.16 ps
UNIT = kB / (SIGMA * TAU) / W_per_m_K  # of thermal conductivity, W/m/K
TEMPERATURE, DENSITY, CUTOFF = 0.722 * EPSILON / kB, 0.8442 / SIGMA**3, 2.5 * SIGMA
TIMESTEP = 0.005 * TAU
SHARE = 2.0  # of the energy of a pair of unlike colors goes to the blue atom, -1 to the other
BLUE, OTHER = 36, 18  # written as atomic numbers; masses stay argon's


def argon() -> EdgePotential:
    return LennardJones(EPSILON, SIGMA, CUTOFF)


class Split(EdgePotential):
    """Argon's pair energies, divided unequally where colors meet: `share` for the blue atom."""

    def __init__(self, share: float = SHARE):
        super().__init__()
        self.pairs, self.share, self.cutoff = LennardJones(EPSILON, SIGMA, CUTOFF), share, CUTOFF

    def atomic_energies(self, vectors: Tensor, center_species: Tensor, neighbor_species: Tensor) -> Tensor:
        r = vectors.square().sum(0).sqrt()
        u = torch.where(r < self.cutoff, self.pairs.energy(r, center_species, neighbor_species), 0.0)
        sign = torch.sign(center_species[:, None] - neighbor_species)
        return ((0.5 + (self.share - 0.5) * sign) * u).sum(-1)


def liquid(cells: int, replicas: int, steps: int, seed: int = 0, device: str = "cpu") -> State:
    """4 cells^3 atoms, melted and kept for so many steps at the temperature by friction and noise."""
    crystal = bulk("Ar", "fcc", (4 / DENSITY) ** (1 / 3), cubic=True) * (cells, cells, cells)
    state = thermalize(crystal, [4 * TEMPERATURE] * replicas, seed=seed)
    state = replace(state, structures=state.structures.to(device), momenta=state.momenta.to(device))
    for T, time in ((2 * TEMPERATURE, max(1, steps // 2)), (TEMPERATURE, steps)):
        dynamics = Langevin(argon(), TIMESTEP, T, friction_time=0.2 * TAU)
        state = dynamics.run(state, time, progress=False).state
    return state


def colors(n_atoms: int, seed: int = 0) -> Tensor:
    """Half of the atoms blue, (N,)."""
    drawn = torch.randperm(n_atoms, generator=torch.Generator().manual_seed(seed)) < n_atoms // 2
    return torch.where(drawn, BLUE, OTHER)


@dataclass(frozen=True)
class Fluxes:
    """Of a run at constant energy: interval (internal time), volume (A^3), temperature (K, its mean), and the
    series (T, B, 3): heat, the flux Omega*J with energies in halves; unequal, with energies divided by SHARE,
    by definition; blue, the sum of the velocities of blue atoms."""

    interval: float
    volume: float
    temperature: float
    heat: Tensor
    unequal: dict[str, Tensor]
    blue: Tensor

    @property
    def system(self) -> tuple[float, float, float]:
        """Interval, volume, temperature: what `heat.green_kubo` and `heat.cepstral` want after a flux."""
        return self.interval, self.volume, self.temperature

    def divided(self, share: float, definition: Definition) -> Tensor:
        """The flux where blue atoms get this share of the energy of unlike pairs: linear in the share."""
        return self.heat + (share - 0.5) / (SHARE - 0.5) * (self.unequal[definition] - self.heat)


def unequal_fluxes(state: State, potential: Split, species: Tensor) -> Tensor:
    """By definitions I and II, of atoms in two colors, from one gradient; (B, 2, 3)."""
    structures = replace(state.structures, species=species)
    edges = neighbors.build(structures, potential.cutoff)
    vectors = edges.vectors(structures).requires_grad_()
    energies = potential.atomic_energies(vectors, *edges.species(structures))
    g, vectors = edge_gradients(energies, vectors), vectors.detach()
    B, N = len(state), structures.n_atoms
    divided = replace(state.evaluated, energies=energies.detach().view(B, N))  # the forces are argon's
    virials = [scatter(g, vectors, edges, d)[1].view(B, N, 3, 3) for d in ("I", "II")]
    return torch.stack([flux_of(replace(state, result=replace(divided, virials=W))) for W in virials], 1)


def fluxes(
    state: State, steps: int, every: int, seed: int = 0, store: str | None = None, progress: bool = False
) -> Fluxes:
    """Run at constant energy, looking at the fluxes every so many steps. seed: of the colors."""
    split, species = Split(), colors(state.structures.n_atoms, seed).to(state.masses.device)
    observe: dict[str, Callable[[State], Tensor]] = {
        # dynamics has virials II at hand; with energies in halves all definitions agree
        "heat": flux_of,
        "unequal": lambda s: unequal_fluxes(s, split, species),
        "blue": lambda s: s.velocities[:, species == BLUE].sum(1),
        "temperature": lambda s: s.temperature,
    }
    seen = NVE(argon(), TIMESTEP).run(state, steps, observe, every, store=store, progress=progress).observed
    I, II = seen["unequal"].unbind(2)  # noqa: E741
    system = every * TIMESTEP, float(state.volume[0]), float(seen["temperature"].mean())
    return Fluxes(*system, seen["heat"], {"I": I, "II": II, "III": (I + II) / 2}, seen["blue"])


def records(found: Fluxes, until: float, cutoff: float) -> dict[str, dict[str, Any]]:
    """What the chapter records. until: longest lag, in TAU. cutoff: of the cepstrum, THz."""
    n = found.heat.shape[1]

    def green_kubo(flux: Tensor) -> Value:
        curves = heat.green_kubo(flux, *found.system, until=until * TAU)
        return Value(curves.kappa[-1], curves.kappa_error[-1], n)

    kappa = green_kubo(found.heat)
    cepstrum = heat.cepstral(found.heat, *found.system, cutoff=cutoff / ps)
    items = {"kappa*, Green-Kubo": kappa, "kappa*, cepstral": Value(cepstrum.value, cepstrum.error, n)}
    items |= {f"kappa*, unequal energies, {d}": green_kubo(series) for d, series in found.unequal.items()}
    reduced = {name: (x / UNIT).record("LJ units") for name, x in items.items()}
    return {"kappa, Green-Kubo": kappa.record("W/m/K")} | reduced


@command(saves="liquid-argon")
def study(
    profile: Profile = "full",
    device: str = "cpu",
    replicas: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    store: str | None = None,
) -> Result:
    """Green-Kubo and cepstral conductivity. replicas, steps: if not the profile's. store: to go on."""
    size = bookkit.profile("heat-flux", profile)
    start = liquid(size.cells, replicas or size.replicas, size.equilibration, seed, device)
    found = fluxes(start, steps or size.steps, size.every, seed, store, progress=True)
    return Result(records(found, size.until, size.cutoff))
