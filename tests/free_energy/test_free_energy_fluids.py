"""Fluids: soft spheres against their table and themselves, Lennard-Jones against a published free energy."""

import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

import mlipbook as mb
from mlipbook import free_energy
from mlipbook.free_energy import Sampling, series, soft_core
from mlipbook.potentials import LennardJones, SoftCore
from mlipbook.studies.free_energies import soft_sphere
from mlipbook.units import fs, kB


def fcc(symbol: str, density: float, cells: int = 3) -> mb.Structures:
    atoms = bulk(symbol, "fcc", (4 / density) ** (1 / 3), cubic=True) * (cells, cells, cells)
    atoms.rattle(0.4, seed=1)
    return mb.Structures.from_ase(atoms)


def test_slopes_are_derivatives():
    """Windows whose means are dF/dlambda of N soft spheres with a cutoff give the table back."""
    N, T, h = 500, soft_sphere.temperature_of(soft_sphere.LARGEST), 1e-5
    kT, state = kB * T, (soft_sphere.DENSITY, T, soft_sphere.MU, soft_sphere.SIGMA)
    cut = free_energy.soft_core_cutoff(state[0], *state[2:], soft_sphere.CUTOFF)

    def F(lam):
        return N * (
            kT * free_energy.soft_core_excess(free_energy.soft_core_y(*state, lam), N).value + lam * cut
        )

    found = []
    for lam in (0.01, 0.2, 0.9):
        series = torch.full(
            (50, 1), (F(lam * (1 + h)) - F(lam * (1 - h))) / (2 * lam * h), dtype=torch.float64
        )
        found.append(free_energy.Window(lam, 1.0, series, series, series, series[:0], 1.0))
    table = soft_sphere.slopes(free_energy.Windows(tuple(found), T, N))
    for y, slope in zip(table["y"], table["slope"], strict=True):
        up, down = (free_energy.soft_core_excess(y + s * h).value for s in (1, -1))
        assert slope == pytest.approx((up - down) / (2 * h), rel=1e-4)
    assert table["slope_error"] == [0.0] * 3


def test_random_places():
    """None too close, also across the faces, and everywhere in the cube."""
    places = soft_sphere.random_places(200, 20.0, 2.0)
    atoms = Atoms("Na200", places, cell=[20.0] * 3, pbc=True)
    distances = atoms.get_all_distances(mic=True)[np.triu_indices(200, 1)]
    assert distances.min() > 2.0
    assert (abs(places.mean(0) - 10) < 4 * 20 / math.sqrt(12 * 200)).all()


# Series this short leave their standard errors uncertain by a third.
SHORT = pytest.mark.filterwarnings("ignore:the series at lambda:RuntimeWarning")


@pytest.mark.slow
@SHORT
def test_leg_from_the_ideal_gas():
    """108 soft spheres in three windows give the table's value for 108 atoms."""
    sampling = Sampling(0.0, 2000, 3, 800, friction_time=soft_sphere.FRICTION_TIME)
    sampled = soft_sphere.leg(3, 3, sampling, seed=7)
    kT = kB * sampled.temperature
    cut = free_energy.soft_core_cutoff(
        soft_sphere.DENSITY, soft_sphere.MU, soft_sphere.SIGMA, soft_sphere.CUTOFF
    )
    g, error = (sampled.integral.value - cut) / kT, sampled.integral.error / kT
    table = free_energy.soft_core_excess(soft_sphere.LARGEST, 108)
    assert error < 0.015 * g
    assert abs(g - table.value) < 3.5 * math.hypot(error, table.error)


@pytest.mark.slow
@SHORT
def test_two_soft_cores_have_the_free_energies_of_the_table():
    """F_b - F_a by integration and by the table: other mu, sigma, cutoff are another path to the same F."""
    T, density = 350.0, 0.0243
    kT, structures = kB * T, fcc("Na", density)
    cores = {"a": (0.016, 3.45, 6.5), "b": (0.018, 3.573, 7.5)}
    a, b = (SoftCore(mu, sigma, cutoff=cutoff) for mu, sigma, cutoff in cores.values())
    sampling = Sampling(0.0, 1500, replicas=3, equilibration=400, friction_time=200 * fs)
    options = {"sampling": sampling, "phase": "liquid", "progress": False}
    path = free_energy.path(3, 0.0)
    found = free_energy.windows(b, a, structures, path, T, timestep=5 * fs, **options).integral
    F, errors = [], []
    for mu, sigma, cutoff in cores.values():
        excess = free_energy.soft_core_excess(free_energy.soft_core_y(density, T, mu, sigma), 108)
        F.append(kT * excess.value + free_energy.soft_core_cutoff(density, mu, sigma, cutoff))
        errors.append(kT * excess.error)
    assert found.error < 5e-4 and F[1] - F[0] > 0.03
    assert abs(found.value - (F[1] - F[0])) < 3.5 * math.hypot(found.error, errors[1] - errors[0], 1e-5)


def lennard_jones_fluid(T: float, density: float) -> float:
    """F_ex/N in epsilon: Kolafa, Nezbeda, Fluid Phase Equilibria 100, 1 (1994), Eqs. 30-32; good to 0.01."""
    s = math.sqrt(T)
    diameter = -0.063920968 * math.log(T) + 0.011117524 / T - 0.076383859 / s + 1.080142248 + 0.000693129 * s
    eta = math.pi / 6 * density * diameter**3
    spheres = math.log(1 - eta) / 0.6 + eta * (34 / 6 - 33 / 6 * eta + 4 / 6 * eta**2) / (1 - eta) ** 2
    powers = {0: 0.02459877, 2: -7.02181962, 3: 2.90616279, 4: -4.13749995, 5: 0.87361369, 6: 0.43102052}
    B = sum(c / s**k for k, c in powers.items()) - 0.58544978 / s**7
    C = {
        0: (2.01546797, -28.17881636, 28.28313847, -10.42402873),
        1: (-19.58371655, 75.62340289, -120.70586598, 93.92740328, -27.37737354),
        2: (29.34470520, -112.35356937, 170.64908980, -123.06669187, 34.42288969),
        4: (-13.37031968, 65.38059570, -115.09233113, 88.91973082, -25.62099890),
    }
    rest = sum(c * density ** (j + 2) / s**k for k, row in C.items() for j, c in enumerate(row))
    return T * (spheres + density * B * math.exp(-1.92907278 * density**2)) + rest


@pytest.mark.slow
@SHORT
def test_lennard_jones_fluid():
    """F of 108 atoms at kT = 2 epsilon, 0.7 per sigma^3, cutoff 2.5 sigma, agrees with the published equation
    of state; without N! it does not.

    The cutoff and shift are put back to first order with g(r) = 1 beyond the cutoff, fixed N by ln S(0)/(2N).
    """
    epsilon, sigma, kT, density, cutoff, N = 0.0104, 3.4, 2.0, 0.7, 2.5, 108
    T, rho = kT * epsilon / kB, density / sigma**3
    mu = kT * epsilon * (0.6 * math.sqrt(2) / density) ** 4  # y = 0.6 for spheres of the same sigma
    found = free_energy.liquid(
        LennardJones(epsilon, sigma, cutoff * sigma),
        fcc("Ar", rho),
        T,
        mu=mu,
        sigma=sigma,
        points=4,
        sampling=Sampling(0.0, 1200, replicas=5, equilibration=400, friction_time=300 * fs),
        timestep=10 * fs,
        progress=False,
    )
    ideal = free_energy.ideal_gas(N, N / rho, 39.948, T)
    tail = 8 * math.pi / 3 * density * (1 / (3 * cutoff**9) - 1 / cutoff**3)

    def pressure(x):
        slope = (lennard_jones_fluid(kT, x + 1e-3) - lennard_jones_fluid(kT, x - 1e-3)) / 2e-3
        return x * kT + x**2 * slope

    S0 = kT * 2e-3 / (pressure(density + 1e-3) - pressure(density - 1e-3))
    neighbors = 4 * math.pi / 3 * cutoff**3 * density - 1 + S0
    shift = 4 * (cutoff**-12 - cutoff**-6) * neighbors / 2
    excess = (found.F - ideal) / epsilon + tail + shift - kT * math.log(S0) / (2 * N)
    error, published = found.error / epsilon, lennard_jones_fluid(kT, density)
    assert error < 0.02
    assert abs(excess - published) < 3 * math.hypot(error, 0.01)
    without_permutations = excess - kT * math.lgamma(N + 1) / N
    assert abs(without_permutations - published) > 100 * error


def test_error_of_the_last_coefficient_grows_with_the_scatter_about_the_fit():
    """By the root of chi^2 per degree of freedom; never below what the table's errors give."""
    y = np.linspace(0.2, 0.6, 9)
    powers = y[:, None] ** np.arange(len(soft_core.SERIES) + 1)
    truth = powers @ np.append(soft_core.SERIES, 0.3)
    error = np.full(9, 1e-3)
    quiet = soft_core.rest({"y": y, "slope": truth, "slope_error": error})
    assert quiet.value == pytest.approx(0.3)
    scatter = 5e-3 * (-1.0) ** np.arange(9)
    loud = soft_core.rest({"y": y, "slope": truth + scatter, "slope_error": error})
    left = scatter - (loud.value - 0.3) * powers[:, -1]
    assert loud.error == pytest.approx(quiet.error * ((left / error) ** 2).sum() ** 0.5 / 8**0.5)


def test_q6_of_blocks_is_their_mean():
    q6 = torch.arange(40.0)[:, None]
    assert series.block_means(q6)[:, 0].tolist() == [1.5 + 4 * k for k in range(10)]


@pytest.mark.parametrize("interval", [1.0, 7.0])
def test_a_window_lasts_its_length_in_autocorrelation_times(interval):
    """Two for each independent sample, whatever the interval between samples."""
    x = torch.randn(400, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    one = series.Window(0.5, 1.0, x, x, x, x, interval)
    assert one.lasts == pytest.approx(2 * float(one.averages.n))
