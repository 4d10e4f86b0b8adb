"""Molecular dynamics against what is known exactly: ensembles, invariants, time reversal, another code.

A conserved quantity proves that equations of motion were integrated; only the ensemble proves that they were
the right ones, as the barostats of broken_integrators show. Averages are compared with their exact values in
units of their standard error, taken over independent replicas, and that error is bounded: noise cannot pass
for agreement.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.md.nose_hoover_chain import IsotropicMTKNPT, NoseHooverChainNVT
from broken_integrators import ColdBox, ForcesTwice, HalfKinetic, NoFactor, broken
from scipy import optimize, stats

import mlipbook as mb
from mlipbook import dynamics
from mlipbook.dynamics import methods
from mlipbook.potentials import Base, Evaluation, LennardJones, PairPotential
from mlipbook.units import fs, kB

ANYWHERE = dynamics.Limits(0.0, (0.0, math.inf), temperature=math.inf, drift=math.inf)
T = 300.0  # K


class Tethered(Base):
    """Atoms that do not meet: U = stiffness/2 sum |r - site|^2 (eV, A); an ideal gas for stiffness 0."""

    cutoff = 0.5

    def __init__(self, stiffness: float = 0.0, sites: torch.Tensor | float = 0.0):
        super().__init__()
        self.stiffness, self.sites = stiffness, sites

    def evaluate(self, structures, definition="I", edges=None):
        displacements = structures.positions - self.sites
        energies = self.stiffness / 2 * displacements.square().sum(-1)
        no_virials = displacements.new_zeros(*displacements.shape, 3)
        return Evaluation(energies, -self.stiffness * displacements, no_virials, structures.volumes)


def soft(r, *species):
    """Soft spheres, 4 kT high, that end at 4 A with two derivatives."""
    return 0.1 * (1 - (r / 4) ** 2) ** 3


SOFT = PairPotential(soft, 4.0)
NEAREST = LennardJones(0.0104, 3.4, 4.6)  # argon; the cutoff lies between the first two shells of the crystal
CRYSTAL = bulk("Ar", "fcc", a=5.4, cubic=True) * (2, 2, 2)


def gas(formula: str, edge: float) -> Atoms:
    """Atoms at random places in a cube (angstrom)."""
    atoms = Atoms(formula, cell=[edge] * 3, pbc=True)
    atoms.set_scaled_positions(np.random.default_rng(0).random((len(atoms), 3)))
    return atoms


def volume(state):
    return state.volume


def pressure(state):
    return state.instantaneous_pressure


def kinetic(state):
    """Sum of p^2/m in kT."""
    return state.two_K / (kB * T)


def run(simulation, state, steps, *observables, settle=0, every=5):
    """Trajectory of so many steps after `settle` steps that are left out."""
    if settle:
        state = simulation.run(state, settle, limits=ANYWHERE, progress=False).state
    named = {function.__name__: function for function in observables}
    return simulation.run(state, steps, named, every, limits=ANYWHERE, progress=False)


def deviation(samples: torch.Tensor, exact: float, largest_error: float) -> float:
    """Standard errors between the mean of samples (T, B) of B independent replicas and the exact value."""
    means = samples.mean(0)
    error = float(means.std()) / math.sqrt(len(means))
    assert 0 < error < largest_error, f"standard error {error}: too noisy to decide"
    return abs(float(means.mean()) - exact) / error


# ---- constant pressure -------------------------------------------------------------------------------


def ideal_gas(N: int, center_at_rest: bool, kind=None) -> tuple[dynamics.Trajectory, torch.Tensor]:
    """128 replicas that begin too small; also their volumes (T, B) in units of kT/P.

    Where ideal atoms are does not matter, so the thermostats are so fast that atoms hardly move.
    """
    P = 1e-6 * kB * T
    edge = (0.6 * (N + 1) * kB * T / P) ** (1 / 3)
    start = dynamics.thermalize(gas(f"Na{N}", edge), [T] * 128, seed=3, center_at_rest=center_at_rest)
    simulation = dynamics.NPT(Tethered(), 0.01, T, P, thermostat_time=0.1, barostat_time=0.2)
    if kind:
        simulation = broken(simulation, kind)
    trajectory = run(simulation, start, 600, volume, kinetic, settle=300)
    return trajectory, trajectory.observed["volume"] * P / (kB * T)


@pytest.mark.parametrize("N, center_at_rest", [(4, True), (4, False), (16, True)])
def test_ideal_gas_has_the_exact_mean_and_variance_of_the_volume(N, center_at_rest):
    """p(V) ~ V^N exp(-PV/kT): <V> = (N+1) kT/P and var V = (N+1) (kT/P)^2, whatever the total momentum."""
    trajectory, V = ideal_gas(N, center_at_rest)
    N_f = trajectory.state.degrees_of_freedom
    assert N_f == 3 * N - 3 * center_at_rest
    assert deviation(V, N + 1, 0.06) < 3
    assert deviation((V - N - 1) ** 2, N + 1, 0.5) < 3
    assert deviation(trajectory.observed["kinetic"] / N_f, 1, 0.005) < 3


def wandering(trajectory) -> float:
    """Standard deviation of the invariant in time, mean over the replicas, kT."""
    return float(trajectory.observed["invariant"].std(0).mean()) / (kB * T)


@pytest.mark.parametrize("kind", [NoFactor, ColdBox])
def test_ideal_gas_refuses_barostats_that_conserve_their_invariant(kind):
    trajectory, V = ideal_gas(4, True, kind)
    assert wandering(trajectory) < 0.1
    if kind is NoFactor:  # it samples V^(N-2), the gamma distribution of N - 1
        assert deviation(V, 5, 0.06) > 20 and deviation(V, 3, 0.06) < 3
    else:  # the volume is right, its fluctuations are too small
        assert deviation(V, 5, 0.06) < 4 and deviation((V - 5) ** 2, 5, 0.5) > 20


def test_ideal_gas_and_conservation_refuse_half_the_kinetic_energy():
    trajectory, V = ideal_gas(4, True, HalfKinetic)
    assert wandering(trajectory) > 1
    assert deviation(V, 5, 0.06) > 20


PRESSURES = torch.tensor([0.8e-4, 1.2e-4], dtype=torch.float64).repeat(32)  # eV/A^3; even and odd replicas


def fluid(kind=None) -> dynamics.Trajectory:
    """64 replicas of 8 soft spheres."""
    start = dynamics.thermalize(gas("Na8", 14.0), [T] * 64, seed=5)
    simulation = dynamics.NPT(SOFT, 10 * fs, T, PRESSURES, thermostat_time=100 * fs, barostat_time=200 * fs)
    if kind:
        simulation = broken(simulation, kind)
    return run(simulation, start, 600, volume, pressure, settle=300)


def work(trajectory) -> torch.Tensor:
    """(P_int - P) V in kT; its mean is -1 - (3N - N_f)/3, here -2."""
    observed = trajectory.observed
    return (observed["pressure"] - PRESSURES) * observed["volume"] / (kB * T)


def slope_of_pressure_ratio(volumes: torch.Tensor) -> float:
    """Slope of ln p1(V)/p2(V) in volumes (T, B), even replicas at P1, odd ones at P2: the straight line that
    tells with maximum likelihood from a volume which pressure it is of (logistic regression)."""
    V, first = volumes.flatten().numpy(), np.arange(volumes.numel()) % 2 == 0
    x = (V - V.mean()) / V.std()

    def surprise(line):
        odds = line[0] + line[1] * x
        return np.logaddexp(0, np.where(first, -odds, odds)).mean()

    return optimize.minimize(surprise, [0.0, 0.0]).x[1] / V.std()


@pytest.mark.slow
def test_interacting_fluid_obeys_the_virial_identity_and_the_pressure_ratio():
    """<P_int V> = P <V> - kT (1 + (3N - N_f)/3); ln p1(V)/p2(V) is a straight line of slope -(P1 - P2)/kT."""
    trajectory = fluid()
    assert deviation(work(trajectory), -2, 0.06) < 4
    slopes = [slope_of_pressure_ratio(part) for part in trajectory.observed["volume"].tensor_split(8, dim=1)]
    expected = float(PRESSURES[1] - PRESSURES[0]) / (kB * T)
    assert deviation(torch.tensor([slopes]) / expected, 1, 0.1) < 4


@pytest.mark.slow
def test_interacting_fluid_refuses_forces_that_count_twice_where_the_ideal_gas_does_not():
    _, V = ideal_gas(4, True, ForcesTwice)
    assert deviation(V, 5, 0.06) < 3 and deviation((V - 5) ** 2, 5, 0.5) < 3
    assert deviation(work(fluid(ForcesTwice)), -2, 0.3) > 10


# ---- invariants and reversal -------------------------------------------------------------------------

METHODS = {
    "NVE": lambda timestep: dynamics.NVE(NEAREST, timestep),
    "NVT": lambda timestep: dynamics.NVT(NEAREST, timestep, 40.0, 100 * fs),
    "NVT, single": lambda timestep: dynamics.NVT(NEAREST, timestep, 40.0, 100 * fs, chain=1),
    "NPT": lambda timestep: dynamics.NPT(NEAREST, timestep, 40.0, 7e-4, 100 * fs, 300 * fs),
    "Langevin": lambda timestep: dynamics.Langevin(NEAREST, timestep, 40.0, 200 * fs),
}


@pytest.fixture(scope="module")
def crystal() -> dynamics.State:
    """Eight replicas of a Lennard-Jones crystal at about 40 K."""
    start = dynamics.thermalize(CRYSTAL, [80.0] * 8, seed=11)
    return run(dynamics.NVE(NEAREST, 10 * fs), start, 100).state


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_invariant_fluctuates_as_the_square_of_the_time_step_and_does_not_drift(name, crystal):
    """Half the step, a quarter of the standard deviation; from the first to the last third of a run, the mean
    over all replicas moves by less than that."""
    state, spread = run(METHODS[name](8 * fs), crystal, 150).state, {}
    for timestep in (8, 4):
        trajectory = run(METHODS[name](timestep * fs), state, 1200 // timestep, every=8 // timestep)
        invariant = trajectory.observed["invariant"]
        spread[timestep] = float(invariant.std(0).mean())
        first, _, last = invariant.tensor_split(3)
        assert abs(float(last.mean() - first.mean())) < spread[timestep]
    assert 3.5 < spread[8] / spread[4] < 4.5


@pytest.mark.parametrize("name", ["NVE", "NVT", "NVT, single", "NPT"])
def test_reversed_momenta_lead_back_to_the_start(name, crystal):
    simulation = METHODS[name](10 * fs)
    start = run(simulation, crystal, 30).state  # with thermostats in motion
    there = run(simulation, start, 100).state
    assert float((there.structures.positions - start.structures.positions).abs().max()) > 0.1
    back = reversed_momenta(run(simulation, reversed_momenta(there), 100).state)
    close = {"rtol": 0, "atol": 1e-10}
    torch.testing.assert_close(back.structures.positions, start.structures.positions, **close)
    torch.testing.assert_close(back.structures.cells, start.structures.cells, **close)
    torch.testing.assert_close(back.momenta, start.momenta, **close)
    for key, x in start.extended.items():
        torch.testing.assert_close(back.extended[key], x, **close)


def reversed_momenta(state):
    extended = {key: x if key == "xi" else -x for key, x in state.extended.items()}
    return replace(state, momenta=-state.momenta, extended=extended)


# ---- constant temperature ----------------------------------------------------------------------------


def refused(trajectory, N_f: int) -> bool:
    """Whether sum p^2/m in kT is not chi-squared with N_f degrees of freedom, by its mean and variance or by
    the test of Kolmogorov and Smirnov on the last sample of each replica."""
    x = trajectory.observed["kinetic"]
    mean, variance = deviation(x, N_f, 0.005 * N_f), deviation((x - N_f) ** 2, 2 * N_f, 0.05 * N_f)
    return mean > 4 or variance > 4 or stats.kstest(x[-1].numpy(), stats.chi2(N_f).cdf).pvalue < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chains", "Langevin, fixed center", "Langevin, free center"])
def test_kinetic_energy_has_the_canonical_distribution(name):
    """From twice the temperature; an ideal gas by Langevin's equation is exact at any time step."""
    free = name.endswith("free center")
    N_f = 24 - 3 * (not free)
    start = dynamics.thermalize(gas("Na4Li4", 14.0), [2 * T] * 256, seed=7, center_at_rest=not free)
    if name == "chains":
        trajectory = run(dynamics.NVT(SOFT, 10 * fs, T, 50 * fs), start, 300, kinetic, settle=200)
    else:
        langevin = dynamics.Langevin(Tethered(), 50 * fs, T, 50 * fs, fix_center=not free)
        trajectory = run(langevin, start, 60, kinetic, settle=20, every=1)
    assert trajectory.state.degrees_of_freedom == N_f
    assert not refused(trajectory, N_f)


@pytest.mark.slow
def test_thermostat_that_counts_the_momenta_of_a_fixed_center_is_refused_though_it_conserves():
    """As OpenMM's until pull request 4128: 3N where 3N - 3 move, hence too hot."""
    start = dynamics.thermalize(gas("Na4Li4", 14.0), [T] * 256, seed=7)
    miscounted = replace(start, degrees_of_freedom=24)
    trajectory = run(dynamics.NVT(SOFT, 10 * fs, T, 50 * fs), miscounted, 300, kinetic, settle=200)
    assert wandering(trajectory) < 0.1
    assert refused(trajectory, 21)


@pytest.mark.parametrize("frequency", [0.3, 1.2])
def test_langevin_positions_of_oscillators_are_exact_at_any_time_step(frequency):
    """frequency: omega dt, stable below 2. <x^2> = kT/k at any of them; of the momenta, <p^2> = m kT (1 -
    (omega dt)^2/4) (Leimkuhler, Matthews, J. Chem. Phys. 138, 174102 (2013))."""
    start = dynamics.thermalize(gas("Na64", 20.0), [T] * 16, seed=7, center_at_rest=False)
    sites, stiffness = start.structures.positions, 2.0
    timestep = frequency * math.sqrt(float(start.structures.masses[0]) / stiffness)
    simulation = dynamics.Langevin(Tethered(stiffness, sites), timestep, T, 2 * timestep, fix_center=False)

    def displacement(state):
        return (state.structures.positions - sites).square().mean((1, 2)) * stiffness / (kB * T)

    trajectory = run(simulation, start, 500, displacement, kinetic, settle=100)
    assert deviation(trajectory.observed["displacement"], 1, 0.01) < 4
    assert deviation(trajectory.observed["kinetic"] / 192, 1 - frequency**2 / 4, 0.005) < 4


def test_langevin_with_fixed_center_gives_unequal_masses_their_temperature():
    """<p_i^2>/m_i = 3 kT (1 - m_i/M): a heavy atom has a larger share in the sum that is zero."""
    start = dynamics.thermalize(gas("H3Ag", 14.0), [T] * 128, seed=9)
    m = start.structures.masses

    def light_and_heavy(state):
        x = state.momenta.square().sum(-1) / m / (3 * kB * T)
        return torch.stack([x[:, :3].mean(1), x[:, 3]])

    trajectory = run(dynamics.Langevin(Tethered(), 50 * fs, T, 50 * fs), start, 200, light_and_heavy, every=1)
    light, heavy = trajectory.observed["light_and_heavy"].unbind(1)
    assert deviation(light, 1 - float(m[0] / m.sum()), 0.01) < 4
    assert deviation(heavy, 1 - float(m[3] / m.sum()), 0.001) < 4


def test_langevin_keeps_the_center_of_mass_fixed():
    start = dynamics.thermalize(gas("H4Ag4", 9.0), [T] * 4, seed=9)
    shares = start.structures.masses / start.structures.masses.sum()

    def center(state):
        return (shares[:, None] * state.structures.positions).sum(1)

    trajectory = run(dynamics.Langevin(SOFT, 1 * fs, T, 20 * fs), start, 100, center, every=1)
    assert float((trajectory.observed["center"] - center(start)).abs().max()) < 1e-10
    assert float(trajectory.state.momenta.sum(1).abs().max()) < 1e-10
    free = run(dynamics.Langevin(SOFT, 1 * fs, T, 20 * fs, fix_center=False), start, 100, center)
    assert float((free.observed["center"] - center(start)).abs().max()) > 0.01


# ---- another code ------------------------------------------------------------------------------------


def positions_by_ase(method, start, steps, timestep, **settings) -> torch.Tensor:
    """Positions and cell vectors (N + 3, 3) at the end of ASE's dynamics."""
    atoms = start.structures.to_ase()[0]
    atoms.set_momenta(start.momenta[0].numpy())
    atoms.calc = mb.Calculator(NEAREST)
    motion = method(atoms, timestep, temperature_K=40.0, tdamp=100 * fs, **settings)
    if method is IsotropicMTKNPT:
        motion._barostat._R[0] /= 9  # ASE gives the head of the box's chain nine times the mass that we do
    motion.run(steps)
    return torch.as_tensor(np.concatenate([atoms.positions, atoms.cell.array]))


@pytest.mark.parametrize(
    "name, method, settings",
    [("NVT", NoseHooverChainNVT, {}), ("NPT", IsotropicMTKNPT, {"pressure_au": 7e-4, "pdamp": 300 * fs})],
)
def test_trajectories_are_those_of_ase(name, method, settings):
    """To O(timestep^2), as chains are split otherwise. ASE counts 3N degrees of freedom: a thermal center."""
    start = dynamics.thermalize(CRYSTAL, [60.0], seed=13, center_at_rest=False)
    first = torch.cat([start.structures.positions[0], start.structures.cells[0]])
    difference = {}
    for timestep in (10, 5):
        steps = 800 // timestep
        end = run(METHODS[name](timestep * fs), start, steps).state.structures
        ours = torch.cat([end.positions[0], end.cells[0]])
        theirs = positions_by_ase(method, start, steps, timestep * fs, **settings)
        difference[timestep] = float((ours - theirs).abs().max())
    assert float((ours - first)[:-3].abs().max()) > 0.4
    assert name == "NVT" or float((ours - first)[-3:].abs().max()) > 0.02
    assert difference[10] < 1e-3 and 3.5 < difference[10] / difference[5] < 4.5


@pytest.mark.parametrize("x", [1e-9, 0.3, -0.3])
def test_growth_is_that_of_the_exponential(x):
    """Factors exp(x) and dt (exp(x) - 1)/x; the series is good to (x/2)^6/5040."""
    own, driven = methods.growth(x / 2.5, 2.5)
    assert own == pytest.approx(math.exp(x), rel=1e-14)
    assert driven == pytest.approx(2.5 * math.expm1(x) / x, rel=1e-8)
