"""Nose-Hoover chains: thermostats that are thermostatted (Martyna, Klein, Tuckerman, JCP 97, 2635 (1992)).

dp/dt = ... - p p_xi1/Q_1          dp_xi1/dt = sum p^2/m - n kT - p_xi1 p_xi2/Q_2
dxi_k/dt = p_xik/Q_k               dp_xik/dt = p_xi(k-1)^2/Q_(k-1) - kT - p_xik p_xi(k+1)/Q_(k+1)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mlipbook.dynamics.state import State


class Chains:
    """C chains: each with the number n of momenta that it controls and its relaxation time (internal units).

    Their variables are state.extended["xi"] and ["p_xi"], (B, C, M) for chains of M thermostats. Masses:
    Q_1 = n kT time^2, the others kT time^2.
    """

    def __init__(self, controlled: Sequence[int], times: Sequence[float]):
        self.n = torch.tensor(controlled, dtype=torch.float64)
        self.times = torch.tensor(times, dtype=torch.float64)

    def at_rest(self, state: State, length: int) -> State:
        """The state with its own chains, if they are of this kind, or with new ones."""
        new = state.momenta.new_zeros(len(state), len(self.n), length)
        kept = {k: v for k, v in state.extended.items() if k not in ("xi", "p_xi") or v.shape == new.shape}
        return replace(state, extended={"xi": new, "p_xi": new, **kept})

    def masses(self, state: State, kT: Tensor) -> Tensor:
        numbers = torch.ones_like(state.extended["xi"][0])
        numbers[:, 0] = self.n
        return kT[:, None, None] * numbers * self.times.to(numbers)[:, None] ** 2

    def flow(
        self, state: State, twice_kinetic: Tensor, kT: Tensor, dt: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The chains' own step dt: factors (B, C) on the momenta that they control, and the new xi and p_xi.

        twice_kinetic: sum p^2/m of these momenta, (B, C). Kicks of dt/2 run from a chain's end to its head
        and, after the scaling in the middle, back; each kick is damped by the next thermostat for dt/4 before
        and after.
        """
        xi, p_xi = state.extended["xi"], state.extended["p_xi"]
        Q, kT = self.masses(state, kT).unbind(-1), kT[:, None]
        p, last = list(p_xi.unbind(-1)), p_xi.shape[-1] - 1

        def kick(k: int, twice_kinetic: Tensor) -> None:
            push = p[k - 1] ** 2 / Q[k - 1] - kT if k else twice_kinetic - self.n.to(kT) * kT
            if k == last:
                p[k] = p[k] + dt / 2 * push
            else:
                damping = torch.exp(-dt / 4 * p[k + 1] / Q[k + 1])
                p[k] = (p[k] * damping + dt / 2 * push) * damping

        for k in reversed(range(len(p))):
            kick(k, twice_kinetic)
        rates = [p_k / Q_k for p_k, Q_k in zip(p, Q, strict=True)]
        factor = torch.exp(-dt * rates[0])
        for k in range(len(p)):
            kick(k, twice_kinetic * factor**2)
        return factor, {"xi": xi + dt * torch.stack(rates, -1), "p_xi": torch.stack(p, -1)}

    def energy(self, state: State, kT: Tensor) -> Tensor:
        """sum over chains of sum p_xi^2/2Q + kT (n xi_1 + xi_2 + ...), (B,) eV."""
        xi, p_xi = state.extended["xi"], state.extended["p_xi"]
        kinetic = (p_xi**2 / self.masses(state, kT)).sum((1, 2)) / 2
        return kinetic + kT * (self.n.to(xi) * xi[..., 0]).sum(-1) + kT * xi[..., 1:].sum((1, 2))
