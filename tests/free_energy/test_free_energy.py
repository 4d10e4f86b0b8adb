"""Free energies in closed form, quadrature along the path, and the table of soft spheres."""

import math

import numpy as np
import pytest
from scipy import integrate, special

from mlipbook import free_energy
from mlipbook.free_energy import closed_forms, soft_core
from mlipbook.units import hbar, kB

NA, T = 22.98976928, 350.0
kT = kB * T


# ---- closed forms --------------------------------------------------------------------------------------


def test_thermal_wavelength_of_sodium():
    """h/sqrt(2 pi m kT) in SI."""
    SI = 6.62607015e-34 / math.sqrt(2 * math.pi * NA * 1.66053906660e-27 * 1.380649e-23 * T)
    assert free_energy.thermal_wavelength(NA, T) == pytest.approx(SI * 1e10, rel=1e-9)


@pytest.mark.parametrize("N", [1, 2, 7, 128])
def test_ideal_gas_adds_one_atom_at_a_time(N):
    """F(N + 1) - F(N) = -kT ln[V/((N + 1) Lambda^3)], and F(1) is that of one atom in a box."""
    V, wavelength = 1234.5, free_energy.thermal_wavelength(NA, T)

    def total(n):
        return n * free_energy.ideal_gas(n, V, NA, T)

    assert total(1) == pytest.approx(-kT * math.log(V / wavelength**3), rel=1e-12)
    added = -kT * math.log(V / ((N + 1) * wavelength**3))
    assert total(N + 1) - total(N) == pytest.approx(added, rel=1e-9)


def test_ideal_gas_of_sodium():
    """-290.4 meV per atom at the melting point's density; the part that is not extensive is ln(2 pi N)/2N."""
    large, small = (free_energy.ideal_gas(N, N / 0.024283, NA, T) for N in (10**9, 128))
    assert large == pytest.approx(-0.2904, abs=1e-4)
    assert small - large == pytest.approx(kT * math.log(2 * math.pi * 128) / 256, rel=1e-3)
    assert 1e3 * (small - large) == pytest.approx(0.79, abs=0.005)


def without_permutations(n_atoms, volume, mass, temperature):
    """The mistake: F of atoms that can be told apart."""
    return free_energy.ideal_gas(n_atoms, volume, mass, temperature) - kB * temperature * (
        math.lgamma(n_atoms + 1) / n_atoms
    )


def test_gibbs_paradox_refuses_atoms_that_can_be_told_apart():
    """Twice the atoms in twice the volume have the same F per atom, up to O(ln N/N)."""
    for gas, extensive in ((free_energy.ideal_gas, True), (without_permutations, False)):
        change = gas(2000, 80000, NA, T) - gas(1000, 40000, NA, T)
        assert (abs(change) < kT * 3e-3) == extensive


def test_one_einstein_atom_is_a_free_atom():
    """With its center fixed nothing is left of the spring: F = -kT ln(V/Lambda^3), whatever K."""
    for spring in (0.1, 5.0):
        F = sum(free_energy.einstein_crystal(1, 500.0, NA, spring, T).values())
        assert free_energy.ideal_gas(1, 500.0, NA, T) == pytest.approx(F, rel=1e-12)


@pytest.mark.parametrize("N", [2, 54, 1024])
def test_einstein_crystal_with_a_free_center(N):
    """3N - 3 oscillators, and one particle of mass N m in the volume V/N."""
    spring, V = 0.15, 39.9 * N
    quantum = hbar * math.sqrt(spring / NA)
    heavy = free_energy.thermal_wavelength(N * NA, T)
    exact = kT * ((3 * N - 3) * math.log(quantum / kT) - math.log(V / N / heavy**3))
    F = sum(free_energy.einstein_crystal(N, V, NA, spring, T).values())
    assert pytest.approx(exact, rel=1e-9) == N * F


def test_center_of_mass_is_worth_meV():
    """-2.42 to -2.57 meV per atom at N = 128, -0.39 to -0.41 at 1024, for K of sodium."""
    for N, low, high in ((128, -2.57, -2.42), (1024, -0.41, -0.39)):
        for spring, bound in ((0.12, high), (0.18, low)):
            term = free_energy.einstein_crystal(N, 39.92 * N, NA, spring, T)["center of mass"]
            assert 1e3 * term == pytest.approx(bound, abs=0.006)


# ---- quadrature ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0.0, 0.75, 0.85])
def test_path_is_equations_8_and_9(k):
    """Gauss-Legendre in x: exact for polynomials in u = lambda^(1 - k) up to degree 2n - 1."""
    path = free_energy.path(4, k)
    u = path.lam ** (1 - k)
    for degree in range(8):
        # int f dlambda with f = u^degree lambda^-k is int u^degree du/(1 - k).
        found = (path.weights * path.lam**-k * u**degree).sum()
        assert found == pytest.approx(1 / ((degree + 1) * (1 - k)), rel=1e-12)
    assert (np.diff(path.lam) > 0).all() and path.lam[0] > 0 and path.lam[-1] < 1


def slope_of_soft_spheres(lam, y=0.7201):
    """d(beta F/N)/dlambda of the virial series."""
    h = 1e-6
    series = closed_forms.soft_core_virial
    return y * lam**-0.75 / 4 * (series(y * lam**0.25 + h) - series(y * lam**0.25 - h)) / (2 * h)


def test_divergence_is_cured_by_k_of_three_quarters():
    """Five points are exact to 1e-8 with k = 3/4, miss 1e-3 kT with 0.85, and 0.9 kT without."""
    exact = closed_forms.soft_core_virial(0.7201)
    errors = {}
    for k in (0.0, 0.5, 0.75, 0.85):
        path = free_energy.path(5, k)
        errors[k] = abs((path.weights * slope_of_soft_spheres(path.lam)).sum() - exact)
    assert errors[0.75] < 1e-7 and 3e-4 < errors[0.85] < 3e-3
    assert errors[0.5] > 0.1 and errors[0.0] > 0.8


def test_path_refuses_k_of_one():
    with pytest.raises(ValueError, match="k 1.0: give a number from 0"):
        free_energy.path(5, 1.0)


def test_end_of_path_has_no_weight():
    path = free_energy.path(3, 0.0).with_end()
    assert path.lam[-1] == 1 and path.weights[-1] == 0 and path.weights.sum() == pytest.approx(1)


# ---- soft spheres --------------------------------------------------------------------------------------


def mayer_bond(r):
    return np.expm1(-(r**-12.0))


def test_second_and_third_virial_coefficient():
    """By quadrature: B_2 = -1/2 int f, B_3 = -1/3 int f^3(k) d^3k/(2 pi)^3 (sigma = beta mu = 1)."""
    B_2 = -2 * math.pi * integrate.quad(lambda r: r * r * mayer_bond(r), 0, np.inf, limit=200)[0]
    assert closed_forms.VIRIALS[0] == pytest.approx(B_2, rel=1e-7)
    assert special.gamma(0.75) * 2 * math.pi / 3 == pytest.approx(B_2, rel=1e-7)
    r = np.linspace(1e-4, 12, 12_000)
    k = np.linspace(0.02, 40, 2000)
    f = mayer_bond(r)
    transform = np.array([4 * math.pi / q * np.trapezoid(r * f * np.sin(q * r), r) for q in k])
    B_3 = -1 / 3 / (2 * math.pi**2) * np.trapezoid(k**2 * transform**3, k)
    assert closed_forms.VIRIALS[1] == pytest.approx(B_3, rel=1e-4)


def test_one_variable_rules_soft_spheres():
    """y = rho sigma^3 (beta lambda mu)^(1/4)/sqrt(2) = 0.7201 for sodium at its melting point."""
    mu, sigma = 0.02155142, 3.573005
    y = free_energy.soft_core_y(0.024283, T, mu, sigma)
    assert y == pytest.approx(0.7201, abs=1e-4)
    assert free_energy.soft_core_y(0.024283, T / 16, mu, sigma) == pytest.approx(2 * y)
    assert free_energy.soft_core_y(0.024283, T, mu, sigma, lam=1 / 16) == pytest.approx(y / 2)


def test_cutoff_of_the_soft_core():
    """Shift within and tail beyond, by quadrature of the mean field."""
    mu, sigma, cutoff, density = 0.0216, 3.57, 6.5, 0.024
    u = lambda r: mu * (sigma / r) ** 12  # noqa: E731
    within = integrate.quad(lambda r: 4 * math.pi * r * r * u(cutoff), 0, cutoff)[0]
    beyond = integrate.quad(lambda r: 4 * math.pi * r * r * u(r), cutoff, np.inf)[0]
    expected = -density / 2 * (within + beyond)
    assert free_energy.soft_core_cutoff(density, mu, sigma, cutoff) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("y", [0.05, 0.2, 0.4, 0.6, 0.7201, 0.76])
def test_table_of_soft_spheres_agrees_with_the_virial_series(y):
    """Seven virial coefficients describe the fluid up to freezing (Tan, Schultz, Kofke, 2011)."""
    value, error = free_energy.soft_core_excess(y)
    exact = free_energy.soft_core_virial(y)
    assert error < 2e-3 * exact
    assert abs(value - exact) < 3.5 * math.hypot(error, 2e-4 * exact)


def test_every_slope_of_the_table():
    """dg/dy = (Z - 1)/y of each window against the series, and chi^2 of all of them."""
    data, h, series = soft_core.table(), 1e-5, closed_forms.soft_core_virial
    z = [
        (slope - (series(y + h) - series(y - h)) / (2 * h)) / error
        for y, slope, error in zip(data["y"], data["slope"], data["slope_error"], strict=True)
    ]
    assert len(z) >= 5 and max(map(abs, z)) < 3.5
    assert sum(x * x for x in z) < 3 * len(z)


def test_few_soft_spheres():
    """beta F_ex/N = (1 - 1/N) rho B_2 at low density; dense, fixed N is worth ln S(0)/2N."""
    for N in (20, 128):
        ratio = free_energy.soft_core_excess(1e-5, N).value / free_energy.soft_core_excess(1e-5).value
        assert ratio == pytest.approx(1 - 1 / N, rel=1e-4)
    y, h, series = 0.7201, 1e-4, closed_forms.soft_core_virial
    first = (series(y + h) - series(y - h)) / (2 * h)
    second = (series(y + h) - 2 * series(y) + series(y - h)) / h**2
    S0 = 1 / (1 + 2 * y * first + y**2 * second)
    few, many = free_energy.soft_core_excess(y, 128).value, free_energy.soft_core_excess(y).value
    assert few - many == pytest.approx(math.log(S0) / 256, rel=0.02)


def test_frozen_soft_spheres_are_refused():
    with pytest.raises(ValueError, match="smaller mu or sigma"):
        free_energy.soft_core_excess(0.8)
