"""Finite sizes: force constants from dynamics, and the terms that fall as ln(N)/N."""

from math import log

import numpy as np
import pytest
from ase.build import bulk

from mlipbook.studies.free_energies import finite_size
from mlipbook.units import GPa, hbar, kB, meV

T, EDGE = 350.0, 4.29


def springs(k: float = 0.2, second: float = 0.15) -> finite_size.Crystal:
    """Axial springs to eight first and six second neighbors: stable, and all lattice sums are known."""
    offsets, constants = [], []
    for R, strength in [(R, k) for R in EDGE / 2 * np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T] + [
        (sign * EDGE * axis, second) for axis in np.eye(3) for sign in (-1, 1)
    ]:
        unit = R / np.linalg.norm(R)
        offsets.append(R)
        constants.append(-strength * np.outer(unit, unit))
    own = -np.sum(constants, 0, keepdims=True)
    return finite_size.Crystal(EDGE, np.array([np.zeros(3), *offsets]), np.concatenate([own, constants]))


def test_three_modes_are_translations_and_the_trace_is_that_of_one_atom():
    model = springs()
    w = model.frequencies(4)
    assert w.shape == (128, 3) and (np.sort(w.ravel())[:4] < 1e-6).sum() == 3
    assert (w**2).sum() == pytest.approx(128 * np.trace(model.constants[0]) / finite_size.MASS, rel=1e-12)


def test_force_constants_are_found_from_displacements_and_forces():
    model, rng = springs(), np.random.default_rng(0)
    sites = (bulk("Na", "bcc", EDGE, cubic=True) * 5).positions
    u = 0.1 * rng.standard_normal((3, len(sites), 3))
    cell = 5 * EDGE
    vectors = sites[None] - sites[:, None]
    vectors -= cell * np.round(vectors / cell)
    F = np.zeros_like(u)
    for R, phi in zip(model.offsets, model.constants, strict=True):
        j = (np.abs(vectors - R).max(-1) < 0.1).argmax(1)
        F -= u[:, j] @ phi
    found = finite_size.fitted(EDGE, sites, u, F)
    np.testing.assert_allclose(found.frequencies(4), model.frequencies(4), atol=1e-7)


def test_the_size_terms_of_a_crystal_fall_as_half_a_logarithm():
    """-kT ln(N)/2 + c: three modes less (+ ln N + c') and Lambda_M^3 (- 3/2 ln N)."""
    model, kT = springs(), kB * T
    total = {n: 2 * n**3 * finite_size.of_crystal(model, n, T) for n in (8, 16, 24)}
    infinite = finite_size.of_crystal(model, 48, T) + kT / (4 * 48**3) * log(2 * 48**3)
    rest = {n: F / kT - 2 * n**3 * infinite / kT + log(2 * n**3) / 2 for n, F in total.items()}
    assert rest[16] == pytest.approx(rest[8], abs=0.3)  # else it would have moved by ln 8 / 2 = 1.04
    shared = finite_size.terms(model, T, 40.7, 5.17 * GPa)
    assert shared["128"]["crystal"] < 3 * shared["1024"]["crystal"] < 0


def test_independent_oscillators_have_the_closed_form():
    lone = finite_size.Crystal(EDGE, np.zeros((1, 3)), 0.3 * np.eye(3)[None])
    w = (0.3 / finite_size.MASS) ** 0.5
    np.testing.assert_allclose(lone.frequencies(3), w)
    N, kT = 54, kB * T
    share = EDGE**3 / 2 / finite_size.thermal_wavelength(N * finite_size.MASS, T) ** 3
    exact = kT * ((3 * N - 3) * log(hbar * w / kT) - log(share)) / N
    assert finite_size.of_crystal(lone, 3, T) == pytest.approx(exact, rel=1e-12)


def test_the_melts_term_is_that_of_the_fixed_number_of_an_ideal_gas():
    """S(0) = 1: ln(2 pi N)/2N, Stirling's half logarithm."""
    volume = 40.0
    ideal = finite_size.of_melt(128, volume, T, kB * T / volume)
    assert ideal == pytest.approx(kB * T * log(2 * np.pi * 128) / 256)
    assert finite_size.of_melt(128, volume, T, 5.17 * GPa) / meV == pytest.approx(0.34, abs=0.02)


def test_an_unstable_crystal_is_refused():
    model = springs(k=-0.1)
    with pytest.raises(ValueError, match="an unstable mode"):
        model.frequencies(3)
