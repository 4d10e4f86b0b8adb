"""Reversible multiple time stepping, r-RESPA (Tuckerman, Berne, Martyna, J. Chem. Phys. 97, 1990 (1992)).

A costly potential is a cheap one and the rest, U = U_inner + (U - U_inner). The rest varies slowly, so that
its impulses may be n inner steps apart:

    exp(iL n dt) = impulse(n dt/2)  [inner step(dt)]^n  impulse(n dt/2)

    impulse(t):  p <- p + (F - F_inner) t,    v_eps <- v_eps + Tr(W - W_inner) t/W_eps  (in NPT)

The product is a palindrome, hence reversible, and its trajectory is that of U whatever U_inner is, up to
oscillations of the invariant of order (n dt)^2: a better U_inner allows a longer outer step. That step stays
below a third of the period of the fastest motion of the rest (resonance).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mlipbook.checks import whole
from mlipbook.dynamics.forces import CommitteeMean
from mlipbook.dynamics.host import Extended, Number, on_host
from mlipbook.dynamics.methods import Forces, MartynaTobiasKlein, NoseHoover, VelocityVerlet
from mlipbook.dynamics.momenta import projected
from mlipbook.dynamics.state import State
from mlipbook.potentials import Evaluation, Potential


@dataclass(frozen=True)
class Respa:
    """A method (see `methods`) for the inner potential, between impulses of the rest every `steps` steps.

    A step of this is `steps` inner ones; `timestep` is the inner one's. The state's result, and with it the
    invariant, is of the costly potential.
    """

    method: VelocityVerlet | NoseHoover | MartynaTobiasKlein
    inner: Potential
    steps: int

    def __post_init__(self) -> None:
        whole(self.steps, "steps")

    def begin(self, state: State, kT: Number) -> State:
        return self.method.begin(state, kT)

    def step(self, state: State, forces: Forces, timestep: float, kT: Number, P: Number) -> State:
        """From a state with a result of `forces` to the next one, `steps` inner steps later."""
        inner, half = CommitteeMean(self.inner), self.steps * timestep / 2
        # With new neighbor lists: nothing hidden passes between steps.
        whole, cheap = state.evaluated, inner(state.structures)
        state = self.impulse(state, whole, cheap, half, kT).updated(result=cheap)
        for _ in range(self.steps):
            state = self.method.step(state, inner, timestep, kT, P)
        whole, cheap = forces(state.structures), state.evaluated
        return self.impulse(state, whole, cheap, half, kT).updated(result=whole)

    def impulse(self, state: State, whole: Evaluation, cheap: Evaluation, dt: float, kT: Number) -> State:
        """Momenta, and the rate of the box, after the rest of forces and virial acted for a time dt."""
        rest = projected(whole.forces - cheap.forces, state.structures, False)
        after = state.updated(momenta=state.momenta + dt * rest)
        if isinstance(self.method, MartynaTobiasKlein):
            trace = (whole.virial - cheap.virial).diagonal(dim1=-2, dim2=-1).sum(-1)
            box = after.numbers
            box["v_eps"] = box["v_eps"] + dt * on_host(trace) / (self.method.box_mass(state) * kT)
            after = after.updated(extended=Extended(box, after))
        return after

    def invariant(self, state: State, kT: Number, P: Number) -> Tensor:
        """Of the method, with the costly potential's energy."""
        return self.method.invariant(state, kT, P)
