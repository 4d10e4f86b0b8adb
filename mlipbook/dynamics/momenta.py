"""Momenta: where they come from, the noise that acts on them, and which of them there are."""

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from mlipbook.checks import refusal, whole
from mlipbook.dynamics.host import Numbers, per_replica
from mlipbook.dynamics.state import State, degrees_of_freedom, repeated
from mlipbook.structures import Structures
from mlipbook.units import kB

START = 2**63  # step of the noise that draws the first velocities; no run gets there


def thermalize(
    structures: Structures | Atoms | Sequence[Atoms],
    temperature: Numbers,
    seed: int = 0,
    center_at_rest: bool = True,
) -> State:
    """A state with momenta of the Maxwell-Boltzmann distribution.

    temperature: K, a number or one per replica; one structure with several temperatures is repeated. Replica
    b draws its momenta, and later its noise, from seed + b; the structures' own are not kept (they are by
    State.from_ase). center_at_rest: the total momentum is zero (N_f = 3N - 3); otherwise it is thermal, too
    (N_f = 3N). Fixed atoms have none, and then the center is free (N_f is three times the others).
    Raises ValueError for temperatures or seeds that are negative or do not fit the structures.
    """
    if not isinstance(structures, Structures):
        structures = Structures.from_ase(structures)
    if np.ndim(temperature) == 1 and len(structures) == 1:
        structures = repeated(structures, len(temperature))  # type: ignore[arg-type]
    T, seed = per_replica(temperature, structures, "temperature"), whole(seed, "seed", least=0)
    if bool((T < 0).any()):
        raise refusal(T.tolist(), "temperature", "no negative temperature, in K")
    seeds = tuple(range(seed, seed + len(structures)))
    widths = (kB * T[:, None, None] * structures.masses[:, None]).sqrt()
    momenta = projected(widths * noise(seeds, START, structures), structures, center_at_rest)
    return State(structures, momenta, seeds, degrees_of_freedom(structures, center_at_rest))


def projected(values: Tensor, structures: Structures, center_at_rest: bool) -> Tensor:
    """Momenta, forces or noise (B, N, 3) within what can move: zero at fixed atoms, which also take up the
    total momentum; where none is fixed, without the total if the center is at rest.
    """
    if structures.n_fixed:
        return values.masked_fill(structures.fixed[:, None], 0.0)
    return without_total(values, structures.masses) if center_at_rest else values


def without_total(momenta: Tensor, masses: Tensor) -> Tensor:
    """Momenta (or forces) less each atom's share m_i/M of their sum: the projection orthogonal in the metric
    1/m, so that what is left of Gaussian momenta is Gaussian with the same temperature.
    """
    return momenta - (masses / masses.sum())[:, None] * momenta.sum(1, keepdim=True)


def noise(seeds: Sequence[int], step: int, structures: Structures) -> Tensor:
    """Standard normal numbers (B, N, 3), a function of seed and step alone.

    From the counter-based generator Philox, with the step in the highest word of its counter: a run that goes
    on after a kill, or in another batch, or on another device, meets the same noise.
    """
    generators = [np.random.Generator(np.random.Philox(key=s, counter=[0, 0, 0, step])) for s in seeds]
    draws = np.stack([generator.standard_normal((structures.n_atoms, 3)) for generator in generators])
    return torch.as_tensor(draws, device=structures.positions.device)
