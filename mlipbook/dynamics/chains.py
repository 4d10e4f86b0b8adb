"""Nose-Hoover chains: thermostats that are thermostatted (Martyna, Klein, Tuckerman, JCP 97, 2635 (1992)).

With masses Q_1 = n kT time^2 of the first and kT time^2 of the others, and v_k = p_xik/Q_k, the rate of xi_k:

    dp/dt = ... - v_1 p        dv_1/dt = (sum p^2/m / (n kT) - 1)/time^2 - v_1 v_2
    dxi_k/dt = v_k             dv_2/dt = n v_1^2 - 1/time^2 - v_2 v_3
                               dv_k/dt = v_(k-1)^2 - 1/time^2 - v_k v_(k+1)

A few numbers per replica and many short operations: outside of PyTorch they take a fraction of the time, and
no kernel launch for each on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import e  # e**x is right for arrays, and leaves floats what they are
from typing import NamedTuple

from mlipbook.dynamics.host import Number
from mlipbook.dynamics.state import State


class Chain(NamedTuple):
    """Thermostats of n momenta with a relaxation time (internal units); xi and v: one number for each."""

    n: float
    time: float

    def flow(
        self, xi: Sequence[Number], v: Sequence[Number], heat: Number, dt: float
    ) -> tuple[Number, list[Number], list[Number]]:
        """The chain's own step dt: the factor on the n momenta with heat sum p^2/m / (n kT), new xi and v.

        Kicks of dt/2 run from the chain's end to its head and, after the scaling in the middle, back; each is
        damped by the next thermostat, at rest meanwhile, for dt/4 before and after.
        """
        v, last, half = list(v), len(v) - 1, dt / 2
        damping: list[Number] = [1.0] * last
        for k in range(last, -1, -1):
            if k < last:
                damping[k] = e ** (-half / 2 * v[k + 1])
            self.kick(v, k, damping, heat, half)
        factor = e ** (-dt * v[0])
        xi = [x + dt * rate for x, rate in zip(xi, v, strict=True)]
        heat = heat * factor * factor
        for k in range(last + 1):
            self.kick(v, k, damping, heat, half)
        return factor, xi, v

    def kick(self, v: list[Number], k: int, damping: list[Number], heat: Number, dt: float) -> None:
        """v_k, damped for dt/2 before and after (the last one is not), by what it sees less what it wants."""
        base = self.time**-2
        drive = base * heat if k == 0 else self.n * v[0] * v[0] if k == 1 else v[k - 1] * v[k - 1]
        if k == len(damping):
            v[k] = v[k] + dt * (drive - base)
        else:
            v[k] = (v[k] * damping[k] + dt * (drive - base)) * damping[k]

    def energy(self, xi: Sequence[Number], v: Sequence[Number], kT: Number) -> Number:
        """sum Q v^2/2 + kT (n xi_1 + xi_2 + ...), eV."""
        each = [kT * (self.time**2 * rate * rate / 2 + x) for x, rate in zip(xi, v, strict=True)]
        return self.n * each[0] + sum(each[1:])


def at_rest(state: State, chains: int, length: int) -> State:
    """The state with its own xi and v_xi, (B, chains, length), if they are of this shape, or with zeros."""
    new = state.momenta.new_zeros(len(state), chains, length)
    kept = {k: v for k, v in state.extended.items() if k not in ("xi", "v_xi") or v.shape == new.shape}
    return replace(state, extended={"xi": new, "v_xi": new, **kept})
