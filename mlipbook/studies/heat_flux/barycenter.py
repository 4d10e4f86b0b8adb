"""The barycenter of energy of an isolated cluster moves with the heat flux: a test without any conductivity.

Whatever rule divides the virial among the atoms, sum_i (E_i + W_i) v_i must be d/dt sum_i r_i E_i, and that
derivative can be had without any rule: by the chain rule at an instant, or by following a trajectory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from ase.build import bulk
from torch import Tensor

from mlipbook import heat, neighbors
from mlipbook.dynamics import NVE, State, thermalize
from mlipbook.potentials import EdgePotential

RULES = {  # shares of the virials I, its transpose, II, its transpose
    "I": (1.0, 0.0, 0.0, 0.0),
    "I, six numbers": (0.5, 0.5, 0.0, 0.0),
    "I, transposed": (0.0, 1.0, 0.0, 0.0),
    "II": (0.0, 0.0, 1.0, 0.0),
    "III": (0.5, 0.0, 0.5, 0.0),
    "III, six numbers": (0.25, 0.25, 0.25, 0.25),
}


def cluster(radius: float, temperature: float, seed: int = 0, a: float = 4.24) -> State:
    """A rattled ball of bcc sodium around an interstice, its center at rest; a: lattice constant."""
    atoms = bulk("Na", "bcc", a, cubic=True) * (6, 6, 6)
    center = atoms.cell.sum(0) / 2 + [0.3 * a, 0.1 * a, 0.2 * a]
    ball = atoms[((atoms.positions - center) ** 2).sum(1) < radius**2]
    ball.positions -= ball.positions.mean(0)
    ball.pbc, ball.cell = False, None
    ball.rattle(0.3, seed=seed)
    return thermalize(ball, [temperature], seed=seed)


def rate(potential: EdgePotential, state: State) -> Tensor:
    """d/dt sum_i r_i E_i of a cluster, (3,) eV A per internal time, by one forward derivative along v:

    sum_i E_i v_i + sum_i r_i (F_i . v_i + d(eps_i)/dt).
    """
    structures, v = state.structures, state.velocities[0]
    edges = neighbors.build(structures, potential.cutoff)
    rows = torch.arange(structures.n_atoms)[:, None]
    r_dot = (v[edges.neighbor] - v[rows]).permute(2, 0, 1) * edges.real

    def energies(vectors: Tensor) -> Tensor:
        return potential.atomic_energies(vectors, *edges.species(structures))

    eps, eps_dot = (x.detach() for x in torch.func.jvp(energies, (edges.vectors(structures),), (r_dot,)))
    F = potential.evaluate(structures).forces[0]
    E = eps + 0.5 * state.masses * v.square().sum(-1)
    return E @ v + ((F * v).sum(-1) + eps_dot) @ structures.positions[0]


def errors(potential: EdgePotential, states: Sequence[State]) -> dict[str, Tensor]:
    """|flux by a rule - rate| over |virial part of the flux|, (states,), for each of RULES."""
    found, shares = [], torch.tensor(list(RULES.values()), dtype=torch.float64)
    for state in states:
        v = state.velocities
        convective, virial_part = heat.flux_parts(potential, state.structures, v)
        exact = rate(potential, state) - convective[0]
        I, II = (potential.evaluate(state.structures, d).virials[0] for d in ("I", "II"))  # noqa: E741
        parts = torch.einsum("kiab,ib->ka", torch.stack([I, I.mT, II, II.mT]), v[0])
        found.append((shares @ parts - exact).norm(dim=1) / virial_part.norm())
    return dict(zip(RULES, torch.stack(found, 1), strict=True))


@dataclass(frozen=True)
class Track:
    """time: (T,) internal units. positions: (T, N, 3) angstrom. energies: (T, N) eV, E_i of each atom, less
    their mean at the start. barycenter: sum_i r_i E_i since the start; integrals: of Omega*J over time, by
    definition; (T, 3) eV A."""

    time: Tensor
    positions: Tensor
    energies: Tensor
    barycenter: Tensor
    integrals: dict[str, Tensor]


def track(potential: EdgePotential, state: State, timestep: float, steps: int) -> Track:
    """Follow an isolated cluster at constant energy, and its heat flux by each definition."""

    observe = {
        "positions": lambda s: s.structures.positions,
        "energies": lambda s: s.evaluated.energies + 0.5 * s.masses * s.velocities.square().sum(-1),
        "I": lambda s: heat.flux(potential, s.structures, s.velocities, "I"),
        "II": lambda s: heat.flux(potential, s.structures, s.velocities, "II"),
    }
    run = NVE(potential, timestep).run(state, steps, observe, every=1, progress=False)
    positions, energies, I, II = (run.observed[name][:, 0] for name in observe)  # noqa: E741
    # A constant per atom moves sum r_i E_i with the center of mass, which is at rest.
    E = energies - energies[0].mean()
    moment, start = torch.einsum("ti,tia->ta", E, positions), torch.zeros(1, 3).to(E)
    integrals = {
        d: torch.cat([start, torch.cumulative_trapezoid(J, dx=timestep, dim=0)])
        for d, J in (("I", I), ("II", II), ("III", (I + II) / 2))
    }
    return Track(run.time, positions, E, moment - moment[0], integrals)
