"""An ideal gas under a barostat: the exact test that tells barostats apart, with three classic faults.

Without forces the equations of Martyna, Tobias and Klein close on a few numbers, because every momentum
is scaled alike: the sum of p^2/m, the volume, the momentum of the box and two thermostat chains. Hundreds
of replicas, all barostats in one batch, take seconds. Stationarity of the volume element gives

    p(V) ~ V^(alpha N_f/3 - 1) exp(-P V/kT),    <V> P/kT = var(V) (P/kT)^2 = alpha N_f/3,

and constant pressure demands V^N, hence alpha = 3(N + 1)/N_f (chapter 6). The center of mass is at rest,
N_f = 3N - 3; kT = P = 1 here.

    python -m mlipbook study barostats.ideal_gas
"""

from dataclasses import dataclass
from math import lgamma
from types import SimpleNamespace

import numpy as np

from mlipbook import bookkit
from mlipbook.averages import mean
from mlipbook.studies.command import Profile, Result, command

TIMESTEP, THERMOSTAT_TIME, BAROSTAT_TIME, CHAIN = 0.05, 1.0, 3.0, 3
SETTLE = 0.3  # part of a run that is left out


@dataclass(frozen=True)
class Barostat:
    """alpha couples box and momenta. kinetic: share of sum p^2/m in the force on the box. box_temperature:
    that of the box's own thermostat. The last two are 1 in a barostat that is right."""

    alpha: float
    kinetic: float = 1.0
    box_temperature: float = 1.0


def barostats(N: int) -> dict[str, Barostat]:
    """The right barostat for N atoms whose center of mass is at rest, and three faults."""
    N_f = 3 * N - 3
    right = 3 * (N + 1) / N_f
    return {
        "right": Barostat(right),
        "textbook factor": Barostat(1 + 3 / N_f),
        "half the kinetic energy": Barostat(right, kinetic=0.5),
        "box thermostat too cold": Barostat(right, box_temperature=1 / 3),
    }


class Gas:
    """Replicas of N atoms without forces, as many for each kind of barostat: arrays (kinds * replicas,). A
    second implementation of `mlipbook.dynamics.NPT` on purpose, with nothing in common but the equations."""

    def __init__(self, kinds: list[Barostat], N: int, replicas: int, seed: int):
        def each(name: str) -> np.ndarray:
            return np.repeat([getattr(kind, name) for kind in kinds], replicas)

        self.alpha, self.kinetic, self.box_kT = each("alpha"), each("kinetic"), each("box_temperature")
        self.N_f, self.W = 3 * N - 3, 3 * N * BAROSTAT_TIME**2
        rng, n = np.random.default_rng(seed), len(self.alpha)
        self.V = np.full(n, N + 1.0)  # a sharp start: the spread has to come from the dynamics
        self.two_K = rng.chisquare(self.N_f, n)
        self.p_eps = rng.normal(size=n) * self.W**0.5
        self.particles = Chain(n, self.N_f, 1.0, THERMOSTAT_TIME)
        self.box = Chain(n, 1, self.box_kT, BAROSTAT_TIME)

    def step(self) -> None:
        """Thermostats, box kick, kick, drift, kick, box kick, thermostats."""
        self._thermostats()
        self._kick_box()
        v = self.p_eps / self.W
        # Both half kicks at once: the drift of the box between them does not see the momenta.
        self.two_K = self.two_K * np.exp(-2 * TIMESTEP * self.alpha * v)
        self.V = self.V * np.exp(3 * TIMESTEP * v)
        self._kick_box()
        self._thermostats()

    def _kick_box(self) -> None:
        force = self.alpha * self.kinetic * self.two_K - 3 * self.V
        self.p_eps = self.p_eps + TIMESTEP / 2 * force

    def _thermostats(self) -> None:
        self.two_K = self.two_K * self.particles.flow(self.two_K, TIMESTEP / 2) ** 2
        self.p_eps = self.p_eps * self.box.flow(self.p_eps**2 / self.W, TIMESTEP / 2)

    def invariant(self) -> np.ndarray:
        """H' of each replica, in kT."""
        box = self.V + self.p_eps**2 / (2 * self.W) + self.box.energy()
        return self.two_K / 2 + box + self.particles.energy()


class Chain:
    """n Nose-Hoover chains (Eq. 6.4-6.5), each controlling `number` momenta; arrays (CHAIN, n)."""

    def __init__(self, n: int, number: int, kT: float | np.ndarray, time: float):
        self.number, self.kT = number, kT
        self.xi, self.p = np.zeros((CHAIN, n)), np.zeros((CHAIN, n))
        self.Q = np.array([number] + [1] * (CHAIN - 1))[:, None] * kT * time**2 * np.ones(n)

    def flow(self, two_K: np.ndarray, dt: float) -> np.ndarray:
        """The chains' own step; the factor on the momenta that they control."""
        for k in reversed(range(CHAIN)):
            self._kick(k, two_K, dt)
        factor = np.exp(-dt * self.p[0] / self.Q[0])
        self.xi += dt * self.p / self.Q
        for k in range(CHAIN):
            self._kick(k, two_K * factor**2, dt)
        return factor

    def _kick(self, k: int, two_K: np.ndarray, dt: float) -> None:
        push = self.p[k - 1] ** 2 / self.Q[k - 1] - self.kT if k else two_K - self.number * self.kT
        damping = np.exp(-dt / 4 * self.p[k + 1] / self.Q[k + 1]) if k + 1 < CHAIN else 1.0
        self.p[k] = (self.p[k] * damping + dt / 2 * push) * damping

    def energy(self) -> np.ndarray:
        return (self.p**2 / self.Q).sum(0) / 2 + self.kT * (self.number * self.xi[0] + self.xi[1:].sum(0))


def run(
    kinds: dict[str, Barostat], N: int, steps: int, replicas: int, seed: int = 0, every: int = 5
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Volumes and invariants by kind, (T, replicas) every so many steps, the beginning left out."""
    gas = Gas(list(kinds.values()), N, replicas, seed)
    volumes, invariants = [], []
    for number in range(1, steps + 1):
        gas.step()
        if number % every == 0:
            volumes.append(gas.V)
            invariants.append(gas.invariant())

    def by_kind(series: list[np.ndarray]) -> dict[str, np.ndarray]:
        kept = np.stack(series)[round(SETTLE * len(series)) :]
        return dict(zip(kinds, np.split(kept, len(kinds), axis=1), strict=True))

    return by_kind(volumes), by_kind(invariants)


def density(V: np.ndarray, shape: float) -> np.ndarray:
    """The exact p(V) ~ V^(shape - 1) exp(-V) with shape = alpha N_f/3, which is N + 1 if all is right."""
    return np.exp((shape - 1) * np.log(V) - V - lgamma(shape))


def moments(V: np.ndarray, name: str) -> dict[str, dict]:
    """Mean and variance of volumes (T, replicas) with their standard errors over the replicas, as records."""
    found = {"<V>": (V.mean(0), "kT/P"), "var V": (((V - V.mean()) ** 2).mean(0), "(kT/P)^2")}
    return {f"ideal gas: {moment}, {name}": mean(x).record(unit) for moment, (x, unit) in found.items()}


def records(volumes: dict[str, np.ndarray]) -> dict[str, dict]:
    """The moments of all barostats under the names of the chapter."""
    return {key: item for name, V in volumes.items() for key, item in moments(V, name).items()}


def simulate(size: SimpleNamespace, seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """`run` for all `barostats` at the sizes of a profile."""
    return run(barostats(size.gas_atoms), size.gas_atoms, size.gas_steps, size.gas_replicas, seed)


@command(saves="ideal-gas")
def study(profile: Profile = "full") -> Result:
    """Moments of the volume by all barostats. profile: sizes of chapter 6."""
    volumes, _ = simulate(bookkit.profile("dynamics", profile))
    return Result(records(volumes))
