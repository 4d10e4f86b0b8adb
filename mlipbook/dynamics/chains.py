"""Nose-Hoover chains: thermostats that are thermostatted (Martyna, Klein, Tuckerman, JCP 97, 2635 (1992)).

dp/dt = ... - p p_xi1/Q_1          dp_xi1/dt = sum p^2/m - n kT - p_xi1 p_xi2/Q_2
dxi_k/dt = p_xik/Q_k               dp_xik/dt = p_xi(k-1)^2/Q_(k-1) - kT - p_xik p_xi(k+1)/Q_(k+1)

A few numbers per replica and many short operations: NumPy does them in a third of PyTorch's time, and without
a kernel launch for each on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mlipbook.dynamics.state import State, on_host


class Chains:
    """C chains: each with the number n of momenta that it controls and its relaxation time (internal units).

    Their variables are state.extended["xi"] and ["p_xi"], (B, C, M) for chains of M thermostats. Masses:
    Q_1 = n kT time^2, the others kT time^2.
    """

    def __init__(self, controlled: Sequence[float], times: Sequence[float]):
        self.n, self.times = np.array(controlled, dtype=float), np.array(times)

    def at_rest(self, state: State, length: int) -> State:
        """The state with its own chains, if they are of this kind, or with new ones."""
        new = state.momenta.new_zeros(len(state), len(self.n), length)
        kept = {k: v for k, v in state.extended.items() if k not in ("xi", "p_xi") or v.shape == new.shape}
        return replace(state, extended={"xi": new, "p_xi": new, **kept})

    def masses(self, kT: np.ndarray, length: int) -> list[np.ndarray]:
        """Q of each link, (B, C)."""
        other = kT[:, None] * self.times**2
        return [self.n * other] + [other] * (length - 1)

    def flow(
        self, state: State, twice_kinetic: np.ndarray, kT: np.ndarray, dt: float
    ) -> tuple[np.ndarray, dict[str, Tensor]]:
        """The chains' own step dt: factors (B, C) on the momenta that they control, and the new xi and p_xi.

        twice_kinetic: sum p^2/m of these momenta, (B, C). Kicks of dt/2 run from a chain's end to its head
        and, after the scaling in the middle, back; each kick is damped by the next thermostat for dt/4 before
        and after. In terms of the rates p_xi/Q: they are what damps.
        """
        p = on_host(state.extended["p_xi"])
        last = p.shape[-1] - 1
        Q, kT_each = self.masses(kT, last + 1), kT[:, None]
        rate = [p[..., k] / Q[k] for k in range(last + 1)]
        target = [self.n * kT_each] + [kT_each] * last
        gain = [dt / 2 / q for q in Q]

        def kick(k: int, twice_kinetic: np.ndarray) -> None:
            driving = Q[k - 1] * rate[k - 1] ** 2 if k else twice_kinetic
            push = gain[k] * (driving - target[k])
            if k == last:
                rate[k] = rate[k] + push
            else:
                damping = np.exp(-dt / 4 * rate[k + 1])
                rate[k] = (rate[k] * damping + push) * damping

        for k in range(last, -1, -1):
            kick(k, twice_kinetic)
        factor = np.exp(-dt * rate[0])
        xi = on_host(state.extended["xi"]) + dt * np.stack(rate, -1)
        scaled = twice_kinetic * factor**2
        for k in range(last + 1):
            kick(k, scaled)
        p = np.stack([r * q for r, q in zip(rate, Q, strict=True)], -1)
        device = state.momenta.device
        return factor, {"xi": torch.as_tensor(xi, device=device), "p_xi": torch.as_tensor(p, device=device)}

    def energy(self, state: State, kT: Tensor) -> Tensor:
        """sum over chains of sum p_xi^2/2Q + kT (n xi_1 + xi_2 + ...), (B,) eV."""
        xi, p = on_host(state.extended["xi"]), on_host(state.extended["p_xi"])
        Q = np.stack(self.masses(on_host(kT), p.shape[-1]), -1)
        heat = (self.n * xi[..., 0]).sum(-1) + xi[..., 1:].sum((1, 2))
        energy = (p**2 / Q).sum((1, 2)) / 2 + on_host(kT) * heat
        return torch.as_tensor(energy, device=kT.device)
