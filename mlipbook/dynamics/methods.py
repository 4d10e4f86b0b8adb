"""Integrators: each is a symmetric product of exact flows, and each has a quantity that it conserves.

Every step is a palindrome of short solvable flows (Trotter), hence reversible, and conserves its invariant
up to oscillations of order timestep^2; chapter 6 derives them and shows what conservation does not prove.

    symbol         here              meaning
    r, p, m        structures, momenta, masses
    F, W           result.forces, result.virial = sum of r (x) F
    N_f            degrees_of_freedom
    kT, P          (B,) target temperature (eV) and pressure (eV/A^3)
    xi, p_xi       extended["xi"], ["p_xi"]           Nose-Hoover chains (module chains), of particles and box
    p_eps, W_eps   extended["p_eps"] (B,)             momentum and mass of the logarithm of the box length

A method has begin(state, kT) -> state with its variables, step(state, forces, timestep, kT, pressure) ->
state, invariant(state, kT, pressure) -> (B,) eV.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import exp

import numpy as np
import torch
from scipy.special import exprel
from torch import Tensor

from mlipbook.dynamics.chains import Chains
from mlipbook.dynamics.state import State, noise, on_host, without_total
from mlipbook.potentials import Evaluation
from mlipbook.structures import Structures

Forces = Callable[[Structures], Evaluation]


@dataclass(frozen=True)
class VelocityVerlet:
    """NVE. exp(iL dt) = kick(dt/2) drift(dt) kick(dt/2) (Swope et al., J. Chem. Phys. 76, 637 (1982))."""

    def begin(self, state: State, kT: Tensor) -> State:
        return state

    def step(self, state: State, forces: Forces, timestep: float, kT: Tensor, pressure: Tensor) -> State:
        state = kicked(state, timestep / 2)
        state = drifted(state, timestep)
        state = kicked(state.updated(result=forces(state.structures)), timestep / 2)
        return state.updated(step=state.step + 1)

    def invariant(self, state: State, kT: Tensor, pressure: Tensor) -> Tensor:
        """Kinetic plus potential energy."""
        return state.twice_kinetic / 2 + state.potential_energy


@dataclass(frozen=True)
class NoseHoover:
    """NVT with a chain of thermostats (Martyna, Klein, Tuckerman, J. Chem. Phys. 97, 2635 (1992)).

    time: relaxation time (internal units), Q_1 = N_f kT time^2, other Q = kT time^2. chain: its length; 1 is
    the single Nose-Hoover thermostat.
    """

    time: float
    chain: int

    def chains(self, state: State) -> Chains:
        return Chains([state.degrees_of_freedom], [self.time])

    def begin(self, state: State, kT: Tensor) -> State:
        return self.chains(state).at_rest(state, self.chain)

    def step(self, state: State, forces: Forces, timestep: float, kT: Tensor, pressure: Tensor) -> State:
        state = self.thermostat(state, timestep / 2, kT)
        state = VelocityVerlet().step(state, forces, timestep, kT, pressure)
        return self.thermostat(state, timestep / 2, kT)

    def thermostat(self, state: State, dt: float, kT: Tensor) -> State:
        twice_kinetic = on_host(state.twice_kinetic)[:, None]
        factor, variables = self.chains(state).flow(state, twice_kinetic, on_host(kT), dt)
        return state.scaled(factor[:, 0], extended={**state.extended, **variables})

    def invariant(self, state: State, kT: Tensor, pressure: Tensor) -> Tensor:
        """H' = K + U + sum p_xi^2/2Q + N_f kT xi_1 + kT (xi_2 + ...)."""
        return state.twice_kinetic / 2 + state.potential_energy + self.chains(state).energy(state, kT)


@dataclass(frozen=True)
class BAOAB:
    """NVT by Langevin's equation (Leimkuhler, Matthews, Appl. Math. Res. Express 2013, 34): kick, drift,
    friction and noise, drift, kick. The harmonic oscillator's positions are exact at any stable time step.

    time: inverse of the friction (internal units). fix_center: noise and forces are projected, so that center
    of mass and total momentum stay where they are (N_f = 3N - 3).
    """

    time: float
    fix_center: bool

    def begin(self, state: State, kT: Tensor) -> State:
        B, N = len(state), state.structures.n_atoms
        momenta = without_total(state.momenta, state.masses) if self.fix_center else state.momenta
        free = 3 * N - 3 * self.fix_center
        heat = state.extended.get("heat", state.momenta.new_zeros(B))
        return replace(state, momenta=momenta, degrees_of_freedom=free, extended={"heat": heat})

    def step(self, state: State, forces: Forces, timestep: float, kT: Tensor, pressure: Tensor) -> State:
        state = kicked(state, timestep / 2, self.fix_center)
        first_half = timestep / 2 * state.velocities
        state = self.friction_and_noise(state, timestep, kT)
        state = moved(state, first_half + timestep / 2 * state.velocities)  # both drifts at once
        state = kicked(state.updated(result=forces(state.structures)), timestep / 2, self.fix_center)
        return state.updated(step=state.step + 1)

    def friction_and_noise(self, state: State, dt: float, kT: Tensor) -> State:
        """p <- c p + sqrt((1 - c^2) m kT) noise, c = exp(-dt/time)."""
        masses = state.masses
        c = exp(-dt / self.time)
        width = ((1 - c**2) * kT[:, None, None] * masses[:, None]).sqrt()
        momenta = c * state.momenta + width * noise(state.seeds, state.step, state.structures)
        if self.fix_center:
            momenta = without_total(momenta, masses)
        after = state.updated(momenta=momenta)
        heat = state.extended["heat"] + (after.twice_kinetic - state.twice_kinetic) / 2
        return after.updated(extended={**state.extended, "heat": heat})

    def invariant(self, state: State, kT: Tensor, pressure: Tensor) -> Tensor:
        """Energy minus the heat that came in through friction and noise."""
        return state.twice_kinetic / 2 + state.potential_energy - state.extended["heat"]


@dataclass(frozen=True)
class MartynaTobiasKlein:
    """NPT with an isotropic box and chains on particles and box, in the explicit reversible factorization of
    Martyna, Tuckerman, Tobias, Klein, Mol. Phys. 87, 1117 (1996).

        dr/dt = p/m + v r,    dp/dt = F - alpha v p,    dV/dt = 3 V v,    v = p_eps/W_eps
        dp_eps/dt = alpha sum p^2/m + Tr W - 3 P V      (both momenta also damped by their chains)

    alpha = 3(N + 1)/N_f. For N_f = 3N this is the textbook's 1 + 3/N_f. It makes the flow conserve
    exp(-H'/kT) dr dp dV, as its divergence 3N - alpha N_f + 3 vanishes; with a total momentum of zero
    (N_f = 3N - 3) the textbook's value would lose a factor V: an ideal gas would take the volume N kT/P.

    times: relaxation times of particles and box (internal units), W_eps = (N_f + 3) kT barostat_time^2.
    """

    thermostat_time: float
    barostat_time: float
    chain: int

    def chains(self, state: State) -> Chains:
        return Chains([state.degrees_of_freedom, 1], [self.thermostat_time, self.barostat_time])

    def begin(self, state: State, kT: Tensor) -> State:
        if not all(state.structures.pbc):
            raise ValueError(f"pbc {state.structures.pbc}: NPT needs structures periodic in all directions")
        state = self.chains(state).at_rest(state, self.chain)
        p_eps = state.extended.get("p_eps", state.momenta.new_zeros(len(state)))
        return replace(state, extended={**state.extended, "p_eps": p_eps})

    def step(self, state: State, forces: Forces, timestep: float, kT: Tensor, pressure: Tensor) -> State:
        half = timestep / 2
        state = self.thermostats(state, half, kT)
        state = self.kicked(self.box_kicked(state, half, pressure), half, kT)
        state = self.drifted(state, timestep, kT)
        state = state.updated(result=forces(state.structures))
        state = self.box_kicked(self.kicked(state, half, kT), half, pressure)
        state = self.thermostats(state, half, kT)
        return state.updated(step=state.step + 1)

    def thermostats(self, state: State, dt: float, kT: Tensor) -> State:
        p_eps = on_host(state.extended["p_eps"])
        twice_kinetic = np.stack([on_host(state.twice_kinetic), p_eps**2 / self.box_mass(state, kT)], -1)
        factor, variables = self.chains(state).flow(state, twice_kinetic, on_host(kT), dt)
        variables["p_eps"] = torch.as_tensor(p_eps * factor[:, 1], device=kT.device)
        return state.scaled(factor[:, 0], extended={**state.extended, **variables})

    def box_kicked(self, state: State, dt: float, pressure: Tensor) -> State:
        static = on_host(state.evaluated.virial).trace(axis1=1, axis2=2)  # Tr W
        twice_kinetic, P, V = on_host(state.twice_kinetic), on_host(pressure), on_host(state.volume)
        change = dt * (alpha(state) * twice_kinetic + static - 3 * P * V)
        p_eps = state.extended["p_eps"] + torch.as_tensor(change, device=state.momenta.device)
        return state.updated(extended={**state.extended, "p_eps": p_eps})

    def kicked(self, state: State, dt: float, kT: Tensor) -> State:
        """The flow of dp/dt = F - alpha v p: p exp(x) + F dt (exp(x) - 1)/x, x = -alpha v dt."""
        x = -alpha(state) * self.box_velocity(state, kT) * dt
        scale, push = for_atoms(np.exp(x), state), for_atoms(dt * exprel(x), state)
        return state.updated(momenta=scale * state.momenta + push * state.evaluated.forces)

    def drifted(self, state: State, dt: float, kT: Tensor) -> State:
        """The flow of dr/dt = p/m + v r and of the box: r exp(x) + p/m dt (exp(x) - 1)/x, x = v dt."""
        x, old = self.box_velocity(state, kT) * dt, state.structures
        scale, push = for_atoms(np.exp(x), state), for_atoms(dt * exprel(x), state)
        positions = scale * old.positions + push * state.velocities
        return state.updated(structures=old.moved(positions, scale * old.cells))

    def box_mass(self, state: State, kT: Tensor) -> np.ndarray:
        return (state.degrees_of_freedom + 3) * on_host(kT) * self.barostat_time**2

    def box_velocity(self, state: State, kT: Tensor) -> np.ndarray:
        return on_host(state.extended["p_eps"]) / self.box_mass(state, kT)

    def invariant(self, state: State, kT: Tensor, pressure: Tensor) -> Tensor:
        """H' = K + U + P V + p_eps^2/2W_eps + both chains."""
        box = on_host(state.extended["p_eps"]) * self.box_velocity(state, kT) / 2
        surroundings = torch.as_tensor(box, device=kT.device) + pressure * state.volume
        chains = self.chains(state).energy(state, kT)
        return state.twice_kinetic / 2 + state.potential_energy + surroundings + chains


# ---- flows -------------------------------------------------------------------------------------------


def kicked(state: State, dt: float, fix_center: bool = False) -> State:
    """p <- p + F dt."""
    forces = state.evaluated.forces
    if fix_center:
        forces = without_total(forces, state.masses)
    return state.updated(momenta=state.momenta + dt * forces)


def drifted(state: State, dt: float) -> State:
    """r <- r + p dt/m."""
    return moved(state, dt * state.velocities)


def moved(state: State, displacements: Tensor) -> State:
    structures = state.structures
    return state.updated(structures=structures.moved(structures.positions + displacements))


def alpha(state: State) -> float:
    return 3 * (state.structures.n_atoms + 1) / state.degrees_of_freedom


def for_atoms(values: np.ndarray, state: State) -> Tensor:
    """Numbers of each replica (B,) as (B, 1, 1) beside its atoms."""
    return torch.as_tensor(values, device=state.momenta.device)[:, None, None]
