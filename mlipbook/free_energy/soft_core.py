"""Excess free energy of soft spheres from the table of `studies.soft_sphere`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from math import gamma, hypot, log, pi, sqrt
from typing import Any

import numpy as np

from mlipbook.free_energy.sampling import Value

FIRST = 2 * sqrt(2) * pi / 3 * gamma(3 / 4)  # dg/dy at y = 0: the second virial coefficient, exact


@cache
def table() -> dict[str, Any]:
    """y (n,), slope dg/dy (n,) with its error (n,), n_atoms, largest y, and how they were computed."""
    return json.loads((resources.files("mlipbook") / "data" / "soft-core.json").read_text())


def soft_core_excess(y: float, n_atoms: int | None = None) -> Value:
    """g(y, N) = beta F_ex/N of soft spheres mu (sigma/r)^12, without cutoff, and its standard error.

    y: `soft_core_y`. n_atoms: in the periodic cell (None: infinitely many). g is the integral of the
    polynomial through the table's slopes and the exact one at y = 0. Fixed N takes from it what fluctuations
    of N would add: g(y, N) = g(y) + ln S(0)/(2N), 1/S(0) = beta d(pressure)/d(rho) = 1 + 2y g' + y^2 g''.
    With the ideal gas's own ln(2 pi N)/(2N) the sum is ln(2 pi N S(0))/(2N).
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
    nodes = np.array([0.0, *data["y"]])
    slopes, errors = np.array([FIRST, *data["slope"]]), np.array([0.0, *data["slope_error"]])
    powers = np.arange(len(nodes))
    to_coefficients = np.linalg.inv(nodes[:, None] ** powers)  # of the polynomial g'(y), from its values
    integral = (y ** (powers + 1) / (powers + 1)) @ to_coefficients
    value, error = integral @ slopes, hypot(*(integral * errors))
    first = y**powers @ to_coefficients @ slopes
    second = (powers * y ** np.maximum(powers - 1, 0)) @ to_coefficients @ slopes
    fluctuations = -0.5 * log(1 + 2 * y * first + y**2 * second)  # ln S(0)/2
    inverse_atoms = (1 / n_atoms if n_atoms else 0.0) - 1 / data["n_atoms"]
    return Value(float(value + fluctuations * inverse_atoms), float(error))
