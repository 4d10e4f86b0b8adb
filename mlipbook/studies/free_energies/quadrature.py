"""How many points does the way from the ideal gas to soft spheres need (chapter 8, Eq. 8-9)?

With lambda = u^(1/(1-k)), u = (x+1)/2, the integrand of Eq. 9 is dF/du. Soft spheres know lambda only by
y = y_1 lambda^(3/n), so that

    dF/du = kT g'(y) dy/du,    y = y_1 u^p,    p = (3/n)/(1-k),    g = beta F_ex/N:

k = 1 - 3/n gives p = 1, and dF/du is as smooth as the equation of state.
"""

from collections.abc import Callable
from functools import cache
from math import sqrt

import numpy as np
from numpy.polynomial import Polynomial, legendre

from mlipbook.free_energy.closed_forms import VIRIALS

SERIES = Polynomial([0.0, *(B * sqrt(2) ** j / j for j, B in enumerate(VIRIALS, start=1))])  # g(y)
RULES = ("Gauss-Legendre", "Lobatto")
Excess = Callable[[np.ndarray], np.ndarray]


@cache
def pade() -> tuple[Polynomial, Polynomial]:
    """g(y) as a ratio of polynomials of degree 4 and 3 with the series' coefficients.

    The series is a polynomial, which few Gauss points integrate exactly; this one has poles, as real
    equations of state do, and shows how fast the error falls in earnest.
    """
    c = np.asarray(SERIES.coef, dtype=float)
    rows = np.array([[c[4 + i - j] for j in (1, 2, 3)] for i in (1, 2, 3)])
    below = np.append(1.0, np.linalg.solve(rows, -c[5:8]))
    above = np.convolve(c, below)[:5]
    return Polynomial(above), Polynomial(below)


def series_slope(y: np.ndarray) -> np.ndarray:
    """g'(y) of the virial series."""
    return SERIES.deriv()(y)


def pade_slope(y: np.ndarray) -> np.ndarray:
    """g'(y) of `pade`."""
    above, below = pade()
    return (above.deriv()(y) * below(y) - above(y) * below.deriv()(y)) / below(y) ** 2


def rule(points: int, kind: str = "Gauss-Legendre") -> tuple[np.ndarray, np.ndarray]:
    """Nodes in u, within (0, 1) or (Lobatto) with both ends, and weights; two or more points. Raises
    ValueError for another kind."""
    if kind not in RULES:
        raise ValueError(f"rule {kind!r} is none of {', '.join(RULES)}")
    if kind == "Gauss-Legendre":
        x, w = legendre.leggauss(points)
    else:
        P = legendre.Legendre.basis(points - 1)
        x = np.concatenate([[-1.0], np.sort(P.deriv().roots().real), [1.0]])
        w = 2 / (points * (points - 1) * P(x) ** 2)
    return (x + 1) / 2, w / 2


def transformed(u: np.ndarray, k: float, y_1: float, slope: Excess = series_slope, n: int = 12) -> np.ndarray:
    """beta dF/du per atom, the integrand of Eq. 9 in u = (x+1)/2. slope: g'(y)."""
    p = 3 / n / (1 - k)
    return slope(y_1 * u**p) * y_1 * p * u ** (p - 1)


def error(
    points: int, k: float, y_1: float, kind: str = "Gauss-Legendre", slope: Excess = series_slope
) -> float:
    """Of the quadrature, in kT per atom; infinite where Lobatto meets a divergence at u = 0."""
    u, w = rule(points, kind)
    above, below = pade()
    exact = SERIES(y_1) if slope is series_slope else above(y_1) / below(y_1)
    with np.errstate(divide="ignore"):
        return float(w @ transformed(u, k, y_1, slope) - exact)
