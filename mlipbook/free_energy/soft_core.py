"""Excess free energy of soft spheres mu (sigma/r)^12 from the table of `studies.soft_sphere`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from math import hypot, log, sqrt
from typing import Any

import numpy as np

from mlipbook.averages import Value
from mlipbook.free_energy.closed_forms import VIRIALS

SERIES = np.array([B * sqrt(2) ** k for k, B in enumerate(VIRIALS, start=1)])  # dg/dy = sum SERIES[k] y^k
SERIES_ERROR = 4e-4  # of g up to freezing, from those of B_4 to B_8


@cache
def table() -> dict[str, Any]:
    """y (n,) and slope dg/dy (n,) of infinitely many atoms with its error (n,); largest_y; provenance."""
    return json.loads((resources.files("mlipbook") / "data" / "soft-core.json").read_text())


def soft_core_excess(y: float, n_atoms: int | None = None) -> Value:
    """beta F_ex/N = g(y) + ln S(0)/(2N) of N soft spheres (n = 12) without cutoff, and its standard error.

    y: `soft_core_y`. n_atoms: in the periodic cell (None: infinitely many). g(y) is the virial series to B_8
    and one more term, for all that follow, fitted to the table. At fixed N the number of atoms does not
    fluctuate, as in an open part of the fluid: 1/S(0) = beta d(pressure)/d(rho) = 1 + 2y g' + y^2 g''.
    With the ideal gas's own ln(2 pi N)/(2N) that makes ln(2 pi N S(0))/(2N), all that depends on N.
    Raises ValueError beyond the table: denser soft spheres freeze at y = 0.813.
    """
    data = table()
    if not 0 < y <= data["largest_y"]:
        raise ValueError(
            f"y = {y:.4f}: soft spheres are tabulated up to {data['largest_y']}, as they freeze at 0.813; "
            "choose a smaller mu or sigma"
        )
    return excess_from(data, y, n_atoms)


def excess_from(data: Mapping[str, Any], y: float, n_atoms: int | None = None) -> Value:
    """`soft_core_excess` from a table of one's own."""
    last = rest(data)
    coefficients = np.append(SERIES, last.value)
    integral = y ** np.arange(1, len(coefficients) + 1) / np.arange(1, len(coefficients) + 1)
    fluctuations = half_log_fluctuation(y, coefficients) / n_atoms if n_atoms else 0.0
    error = hypot(integral[-1] * last.error, SERIES_ERROR * y**7)
    return Value(float(integral @ coefficients + fluctuations), error, last.n)


def rest(data: Mapping[str, Any]) -> Value:
    """Coefficient of the term after the known ones of dg/dy, by least squares, and its standard error, which
    grows with the scatter about the fit where that is more than the errors explain."""
    y, slope, error = (np.array(data[name]) for name in ("y", "slope", "slope_error"))
    powers = y[:, None] ** np.arange(len(SERIES) + 1)
    residual, last = (slope - powers[:, :-1] @ SERIES) / error, powers[:, -1] / error
    best = float(last @ residual / (last @ last))
    chi2 = float(((residual - best * last) ** 2).sum()) / max(len(y) - 1, 1)
    return Value(best, float((last @ last) ** -0.5) * max(1.0, chi2**0.5), len(y))


def half_log_fluctuation(y: float, coefficients: np.ndarray = SERIES) -> float:
    """ln S(0)/2, S(0) = (<N^2> - <N>^2)/<N> of an open part of the fluid; dg/dy = sum coefficients y^k."""
    k = np.arange(len(coefficients))
    return -0.5 * log(1 + (k + 2) * coefficients @ y ** (k + 1))
