"""Integrators: each is a symmetric product of exact flows, and each has a quantity that it conserves.

Every step is a palindrome of short solvable flows (Trotter), hence reversible, and conserves its invariant
up to oscillations of order timestep^2; chapter 6 derives them and shows what conservation does not prove.

    symbol         here              meaning
    r, p, m        structures, momenta, masses
    F, W           result.forces, result.virial = sum of r (x) F
    N_f            degrees_of_freedom
    kT, P          target temperature (eV) and outer pressure (eV/A^3), numbers on the host
    xi, v_xi       extended["xi"], ["v_xi"]           Nose-Hoover chains (module chains), of particles and box
    v_eps, W_eps   extended["v_eps"] (B,)             rate and mass of the logarithm of the box length

A method has begin(state, kT) -> state with its variables, step(state, forces, timestep, kT, P) -> state,
invariant(state, kT, P) -> (B,) eV.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import e, exp
from typing import Any

import torch
from torch import Tensor

from mlipbook.dynamics.chains import Chain, at_rest
from mlipbook.dynamics.host import Extended, Number, from_host, on_host
from mlipbook.dynamics.momenta import noise, projected
from mlipbook.dynamics.state import State, degrees_of_freedom
from mlipbook.potentials import Evaluation
from mlipbook.structures import Structures

Forces = Callable[[Structures], Evaluation]


@dataclass(frozen=True)
class VelocityVerlet:
    """NVE. exp(iL dt) = kick(dt/2) drift(dt) kick(dt/2) (Swope et al., J. Chem. Phys. 76, 637 (1982))."""

    def begin(self, state: State, kT: Number) -> State:
        return state

    def step(self, state: State, forces: Forces, timestep: float, kT: Number, P: Number) -> State:
        state = drifted(kicked(state, timestep / 2), timestep)
        state = kicked(state.updated(result=forces(state.structures)), timestep / 2)
        return state.updated(step=state.step + 1)

    def invariant(self, state: State, kT: Number, P: Number) -> Tensor:
        """Kinetic plus potential energy."""
        return state.two_K / 2 + state.potential_energy


@dataclass(frozen=True)
class NoseHoover:
    """NVT with a chain of thermostats (Martyna, Klein, Tuckerman, J. Chem. Phys. 97, 2635 (1992))."""

    time: float  # of relaxation (internal units), Q_1 = N_f kT time^2, other Q = kT time^2
    chain: int  # its length; 1 is the single Nose-Hoover thermostat

    def begin(self, state: State, kT: Number) -> State:
        return at_rest(state, 1, self.chain)

    def step(self, state: State, forces: Forces, timestep: float, kT: Number, P: Number) -> State:
        state = self.thermostat(state, timestep / 2, kT)
        state = VelocityVerlet().step(state, forces, timestep, kT, P)
        return self.thermostat(state, timestep / 2, kT)

    def thermostat(self, state: State, dt: float, kT: Number) -> State:
        box = state.numbers
        (xi,), (v_xi,) = box["xi"], box["v_xi"]
        chain = Chain(state.degrees_of_freedom, self.time)
        factor, xi, v_xi = chain.flow(xi, v_xi, state.heat(kT), dt)
        return state.scaled(factor, extended=Extended({**box, "xi": [xi], "v_xi": [v_xi]}, state))

    def invariant(self, state: State, kT: Number, P: Number) -> Tensor:
        """H' = K + U + sum Q v_xi^2/2 + N_f kT xi_1 + kT (xi_2 + ...)."""
        (xi,), (v_xi,) = state.numbers["xi"], state.numbers["v_xi"]
        heat = Chain(state.degrees_of_freedom, self.time).energy(xi, v_xi, kT)
        return state.two_K / 2 + state.potential_energy + from_host(heat, state.momenta)


@dataclass(frozen=True)
class BAOAB:
    """NVT by Langevin's equation (Leimkuhler, Matthews, Appl. Math. Res. Express 2013, 34): kick, drift,
    friction and noise, drift, kick. The harmonic oscillator's positions are exact at any stable time step.

    fix_center: noise and forces are projected, so that center of mass and total momentum stay where they are
    (N_f = 3N - 3); where atoms are fixed, it is they that hold the center, and nothing else does.
    """

    time: float  # inverse of the friction (internal units)
    fix_center: bool

    def begin(self, state: State, kT: Number) -> State:
        momenta = projected(state.momenta, state.structures, self.fix_center)
        free = degrees_of_freedom(state.structures, self.fix_center)
        heat = state.extended.get("heat", state.momenta.new_zeros(len(state)))
        return replace(state, momenta=momenta, degrees_of_freedom=free, extended={"heat": heat})

    def step(self, state: State, forces: Forces, timestep: float, kT: Number, P: Number) -> State:
        state = kicked(state, timestep / 2, self.fix_center)
        before = state.velocities
        state = self.friction_and_noise(state, timestep, kT)
        state = drifted(state, timestep / 2, before + state.velocities)  # both drifts at once
        state = kicked(state.updated(result=forces(state.structures)), timestep / 2, self.fix_center)
        return state.updated(step=state.step + 1)

    def friction_and_noise(self, state: State, dt: float, kT: Number) -> State:
        """p <- c p + sqrt((1 - c^2) m kT) noise, c = exp(-dt/time)."""
        c, [target] = exp(-dt / self.time), state.for_atoms(kT)
        width = ((1 - c**2) * target * state.mass_column).sqrt()  # (N, 1), or (B, N, 1)
        momenta = c * state.momenta + width * noise(state.seeds, state.step, state.structures)  # (B, N, 3)
        after = state.updated(momenta=projected(momenta, state.structures, self.fix_center))
        heat = state.extended["heat"] + (after.two_K - state.two_K) / 2
        return after.updated(extended={**state.extended, "heat": heat})

    def invariant(self, state: State, kT: Number, P: Number) -> Tensor:
        """Energy minus the heat that came in through friction and noise."""
        return state.two_K / 2 + state.potential_energy - state.extended["heat"]


@dataclass(frozen=True)
class MartynaTobiasKlein:
    """NPT with an isotropic box and chains on particles and box, in the explicit reversible factorization of
    Martyna, Tuckerman, Tobias, Klein, Mol. Phys. 87, 1117 (1996).

        dr/dt = p/m + v r,    dp/dt = F - alpha v p,    dV/dt = 3 V v,    v = v_eps
        W_eps dv/dt = alpha sum p^2/m + Tr W - 3 P V    (p and v are also damped by their chains)

    alpha = 3(N + 1)/N_f. For N_f = 3N this is the textbook's 1 + 3/N_f. It makes the flow conserve
    exp(-H'/kT) dr dp dV, as its divergence 3N - alpha N_f + 3 vanishes; with a total momentum of zero
    (N_f = 3N - 3) the textbook's value would lose a factor V: an ideal gas would take the volume N kT/P.

    times: relaxation times of particles and box (internal units), W_eps = (N_f + 3) kT barostat_time^2.
    """

    thermostat_time: float
    barostat_time: float
    chain: int

    def begin(self, state: State, kT: Number) -> State:
        if not all(state.structures.pbc):
            raise ValueError(f"pbc {state.structures.pbc}: NPT needs structures periodic in all directions")
        state.structures.refuse_fixed("they cannot stay in a box that swells; take NVT")
        v_eps = state.extended.get("v_eps", state.momenta.new_zeros(len(state)))
        state = at_rest(state, 2, self.chain)
        return replace(state, extended={**state.extended, "v_eps": v_eps})

    def step(self, state: State, forces: Forces, timestep: float, kT: Number, P: Number) -> State:
        """Thermostats, box, momenta; positions; then back. Between the box's kicks v stays as it is."""
        half, kick = timestep / 2, timestep / 2 / self.box_mass(state) / kT
        factor, box = self.thermostats(state, state.numbers, half, kT)  # (B,), on the host
        v = box["v_eps"] + kick * self.box_force(state, state.two_K_host * factor**2, P)  # (B,)
        damping, growing = growth(-self.alpha(state) * v, half), growth(v, timestep)  # twice (B,) each
        factors = factor * damping[0], *damping, *growing
        first, scale, push, stretch, drift = state.for_atoms(*factors)  # (B, 1, 1) each

        old = state.structures
        momenta = first * state.momenta + push * state.evaluated.forces  # (B, N, 3)
        positions = stretch * old.positions + drift * (momenta / state.mass_column)  # (B, N, 3) / (N, 1)
        structures = old.swollen(positions, stretch)  # cells (B, 3, 3)
        result = forces(structures)
        momenta = scale * momenta + push * result.forces  # (B, N, 3)
        state = state.updated(structures=structures, momenta=momenta, result=result, step=state.step + 1)

        box["v_eps"] = v + kick * self.box_force(state, state.two_K_host, P)
        factor, box = self.thermostats(state, box, half, kT)
        return state.scaled(factor, extended=Extended(box, state))

    def thermostats(
        self, state: State, box: dict[str, Any], dt: float, kT: Number
    ) -> tuple[Number, dict[str, Any]]:
        """The flow of both chains: the factor on the atoms' momenta, and the extended variables after it."""
        of_atoms, of_box = self.chains(state)
        v_eps, (xi, eta), (v_xi, v_eta) = box["v_eps"], box["xi"], box["v_xi"]
        heat = self.box_mass(state) / of_box.n * v_eps * v_eps
        factor, xi, v_xi = of_atoms.flow(xi, v_xi, state.heat(kT), dt)
        brake, eta, v_eta = of_box.flow(eta, v_eta, heat, dt)
        return factor, {"xi": [xi, eta], "v_xi": [v_xi, v_eta], "v_eps": brake * v_eps}

    def chains(self, state: State) -> tuple[Chain, Chain]:  # of the atoms and of the box
        return Chain(state.degrees_of_freedom, self.thermostat_time), Chain(1, self.barostat_time)

    def box_force(self, state: State, two_K: Number, P: Number) -> Number:
        """alpha sum p^2/m + Tr W - 3 P V."""
        trace, V = state.trace_and_volume
        return self.alpha(state) * two_K + trace - 3 * P * V

    def alpha(self, state: State) -> float:
        return 3 * (state.structures.n_atoms + 1) / state.degrees_of_freedom

    def box_mass(self, state: State) -> float:
        """W_eps/kT."""
        return (state.degrees_of_freedom + 3) * self.barostat_time**2

    def invariant(self, state: State, kT: Number, P: Number) -> Tensor:
        """H' = K + U + P V + W_eps v_eps^2/2 + both chains."""
        box = state.numbers
        energy = P * on_host(state.volume) + self.box_mass(state) * kT * box["v_eps"] ** 2 / 2
        for chain, xi, v_xi in zip(self.chains(state), box["xi"], box["v_xi"], strict=True):
            energy = energy + chain.energy(xi, v_xi, kT)
        return state.two_K / 2 + state.potential_energy + from_host(energy, state.momenta)


# ---- flows -------------------------------------------------------------------------------------------


def kicked(state: State, dt: float, fix_center: bool = False) -> State:
    """p <- p + F dt, of atoms that can move."""
    forces = projected(state.evaluated.forces, state.structures, fix_center)
    return state.updated(momenta=torch.add(state.momenta, forces, alpha=dt))


def drifted(state: State, dt: float, velocities: Tensor | None = None) -> State:
    """r <- r + v dt, with v = p/m, or these velocities."""
    structures, v = state.structures, state.velocities if velocities is None else velocities
    return state.updated(structures=structures.moved(torch.add(structures.positions, v, alpha=dt)))


def growth(rate: Number, dt: float) -> tuple[Number, Number]:
    """Factors of y and f in the flow of dy/dt = rate y + f: exp(x) and dt (exp(x) - 1)/x, x = rate dt, the
    latter exp(x/2) sinh(x/2)/(x/2), of which the series takes three terms: x is about 0.001."""
    y = dt / 2 * rate
    root, q = e**y, y * y
    return root * root, dt * root * (1 + q / 6 * (1 + q / 20))
