"""Paths from a reference (lambda = 0) to the potential of interest (lambda = 1), and their quadrature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlipbook.checks import refusal, whole


@dataclass(frozen=True)
class Path:
    """int_0^1 f dlambda = sum weights f(lam); lam (n,), increasing, and weights (n,), dimensionless."""

    lam: np.ndarray
    weights: np.ndarray

    def with_end(self) -> Path:
        """Also lambda = 1, with weight 0: where the potential's own averages are taken."""
        return Path(np.append(self.lam, 1.0), np.append(self.weights, 0.0))


def path(points: int, k: float = 0.75) -> Path:
    """Gauss-Legendre points of Eq. 8-9: lambda = ((x + 1)/2)^(1/(1 - k)), weights w lambda^k/(2 (1 - k)).

    k = 1 - 3/n suits the way from the ideal gas to a soft core of power n, whose integrand diverges as
    lambda^(3/n - 1): it becomes a power series in (x + 1)/2. k = 0 is Gauss-Legendre in lambda itself. All
    are dimensionless.
    Raises ValueError unless points >= 1 and 0 <= k < 1.
    """
    points = whole(points, "points", most=1000)
    if not 0 <= k < 1:
        raise refusal(k, "k", "a number from 0 to below 1")
    x, w = np.polynomial.legendre.leggauss(points)
    lam = ((x + 1) / 2) ** (1 / (1 - k))
    return Path(lam, w * lam**k / (2 * (1 - k)))
