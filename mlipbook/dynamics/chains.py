"""Nose-Hoover chains: thermostats that are thermostatted (Martyna, Klein, Tuckerman, JCP 97, 2635 (1992)).

dp/dt = ... - p p_xi1/Q_1          dp_xi1/dt = sum p^2/m - n kT - p_xi1 p_xi2/Q_2
dxi_k/dt = p_xik/Q_k               dp_xik/dt = p_xi(k-1)^2/Q_(k-1) - kT - p_xik p_xi(k+1)/Q_(k+1)

A few numbers per replica and many short operations: outside of PyTorch they take a fraction of the time, and
no kernel launch for each on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlipbook.dynamics.state import Number, State


@dataclass(frozen=True)
class Chain:
    """Thermostats of n momenta with a relaxation time (internal units): Q_1 = n kT time^2, others kT time^2.

    xi and p_xi of a replica or of all: one number for each thermostat.
    """

    n: float
    time: float

    def masses(self, kT: Number, length: int) -> list[Number]:
        """Q of each thermostat."""
        other = kT * self.time**2
        return [self.n * other] + [other] * (length - 1)

    def flow(
        self, xi: Sequence[Number], p_xi: Sequence[Number], twice_kinetic: Number, kT: Number, dt: float
    ) -> tuple[Number, list[Number], list[Number]]:
        """The chain's own step dt: the factor on the n momenta, and the new xi and p_xi.

        twice_kinetic: sum p^2/m of these momenta. Kicks of dt/2 run from the chain's end to its head and,
        after the scaling in the middle, back; each kick is damped by the next thermostat, at rest meanwhile,
        for dt/4 before and after.
        """
        p, last = list(p_xi), len(p_xi) - 1
        Q = self.masses(kT, last + 1)
        damping: list[Number] = [1.0] * (last + 1)

        def kick(k: int, twice_kinetic: Number) -> None:
            force = p[k - 1] * p[k - 1] / Q[k - 1] - kT if k else twice_kinetic - self.n * kT
            p[k] = (p[k] * damping[k] + dt / 2 * force) * damping[k]

        for k in range(last, -1, -1):
            if k < last:
                damping[k] = np.exp(-dt / 4 * p[k + 1] / Q[k + 1])
            kick(k, twice_kinetic)
        moves = [dt * momentum / mass for momentum, mass in zip(p, Q, strict=True)]
        factor = np.exp(-moves[0])
        scaled = twice_kinetic * factor**2
        for k in range(last + 1):
            kick(k, scaled)
        return factor, [x + move for x, move in zip(xi, moves, strict=True)], p

    def energy(self, xi: Sequence[Number], p_xi: Sequence[Number], kT: Number) -> Number:
        """sum p_xi^2/2Q + kT (n xi_1 + xi_2 + ...), eV."""
        kinetic = sum(p * p / (2 * Q) for p, Q in zip(p_xi, self.masses(kT, len(p_xi)), strict=True))
        return kinetic + kT * (self.n * xi[0] + sum(xi[1:]))


def at_rest(state: State, chains: int, length: int) -> State:
    """The state with its own xi and p_xi, (B, chains, length), if they are of this shape, or with zeros."""
    new = state.momenta.new_zeros(len(state), chains, length)
    kept = {k: v for k, v in state.extended.items() if k not in ("xi", "p_xi") or v.shape == new.shape}
    return replace(state, extended={"xi": new, "p_xi": new, **kept})
