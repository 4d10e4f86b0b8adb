"""The studies of chapter 8: quadrature from the ideal gas, and terms that depend on the number of atoms."""

from math import inf, lgamma, log

import numpy as np
import pytest

from mlipbook import free_energy as fe
from mlipbook.studies.free_energies import quadrature, sizes
from mlipbook.units import kB

Y = 0.72


@pytest.mark.parametrize("kind", quadrature.RULES)
@pytest.mark.parametrize("points", [2, 3, 5, 8])
def test_rules_integrate_polynomials_of_their_degree_and_no_more(kind, points):
    u, w = quadrature.rule(points, kind)
    degree = 2 * points - (1 if kind == "Gauss-Legendre" else 3)
    assert w @ u**degree == pytest.approx(1 / (degree + 1), rel=1e-12)
    assert abs(w @ u ** (degree + 1) - 1 / (degree + 2)) > 1e-10
    assert (u[0] == 0 and u[-1] == 1) == (kind == "Lobatto")


def test_unknown_rules_are_refused():
    with pytest.raises(ValueError, match="Simpson"):
        quadrature.rule(3, "Simpson")


def test_the_pade_form_has_the_coefficients_of_the_series():
    above, below = quadrature.pade()
    product = np.convolve(below.coef, quadrature.SERIES.coef)[:8]
    np.testing.assert_allclose(product, np.append(above.coef, np.zeros(3)), atol=1e-10)
    y, step = np.array([0.1, 0.5, 0.7]), 1e-6
    numeric = ((above(y + step) / below(y + step)) - (above(y - step) / below(y - step))) / (2 * step)
    np.testing.assert_allclose(quadrature.pade_slope(y), numeric, rtol=1e-7)


def test_eq_8_and_9_are_the_quadrature_in_u():
    for k in (0.5, 0.75, 0.85):
        path = fe.path(6, k)
        y = Y * path.lam**0.25
        f = quadrature.series_slope(y) * y / (4 * path.lam)  # beta dF/dlambda
        error = path.weights @ f - fe.soft_core_virial(Y)
        assert quadrature.error(6, k, Y) == pytest.approx(error, rel=1e-9)


def test_three_to_five_points_against_eight_to_ten():
    tenth = 1e-5 / (kB * 350)  # 0.01 meV per atom, in kT

    def off(points, k, **options):
        return abs(quadrature.error(points, k, Y, **options))

    for slope in (quadrature.series_slope, quadrature.pade_slope):
        assert off(3, 0.75, slope=slope) < tenth < off(6, 0.85, slope=slope)
        assert off(5, 0.75, slope=slope) < 1e-6 < 1e-4 < off(10, 0.85, slope=slope)
        assert off(8, 0.85, slope=slope) < tenth
    assert quadrature.error(8, 0.5, Y, "Lobatto") == inf
    assert off(4, 2 / 3, kind="Lobatto") == inf


def test_mistakes_are_the_terms_they_leave_out():
    N, kT = 128, kB * sizes.TEMPERATURE
    found, V = sizes.mistakes(N), N * sizes.VOLUMES["solid"]
    ideal = fe.ideal_gas(N, V, 22.99, sizes.TEMPERATURE)
    stirling = ideal - kT * (lgamma(N + 1) - N * log(N) + N) / N
    assert found["no N!"] == pytest.approx(stirling - ideal, rel=1e-9)
    true = fe.einstein_crystal(N, V, 22.99, sizes.SPRING, sizes.TEMPERATURE)["center of mass"]
    wrong = fe.einstein_crystal(N, N * V, 22.99, sizes.SPRING, sizes.TEMPERATURE)["center of mass"]
    assert found["V for V/N"] == pytest.approx(true - wrong, rel=1e-9)
    assert found["no center of mass"] == pytest.approx(true, rel=1e-12)
    assert abs(sizes.mistakes(1024)["no center of mass"]) < abs(true) / 6
