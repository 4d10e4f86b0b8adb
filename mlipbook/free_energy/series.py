"""Paths from a reference (lambda = 0) to the potential of interest (lambda = 1), the series of their
windows, and the integrals along them with standard errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
import torch
from torch import Tensor

from mlipbook.averages import Value, pooled, quiet_average
from mlipbook.checks import refusal, whole
from mlipbook.units import fs, kB

LONG = 50  # correlation times that a series should last


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


# ---- windows


@dataclass(frozen=True)
class Window:
    """Series of one lambda, (T, copies) each: difference U_a - U_b and energy U(lambda), eV of all atoms;
    pressure, eV/A^3; q6, seldom (empty if there is no phase to watch). interval: between samples, in
    internal units of time. weight: of the quadrature. redone: how often a copy left its phase and was run
    again, what it had done in that round being thrown away.
    """

    lam: float
    weight: float
    difference: Tensor
    energy: Tensor
    pressure: Tensor
    q6: Tensor
    interval: float
    redone: int = 0

    @cached_property
    def averages(self) -> Value:
        """Of the difference, copy by copy, (copies,) eV."""
        return quiet_average(self.difference)

    @property
    def mean(self) -> Value:
        """<U_a - U_b>, eV, with the error from the series' autocorrelation, pooled over the copies."""
        return pooled(self.averages)

    @property
    def variance(self) -> float:
        """Of the difference, eV^2."""
        return float((self.difference - self.difference.mean()).square().mean())

    @property
    def autocorrelation_time(self) -> float:
        """Integrated, of the difference, in internal units of time; mean of the copies."""
        return len(self.difference) / 2 * float((1 / self.averages.n).mean()) * self.interval

    @property
    def lasts(self) -> float:
        """Number of autocorrelation times that each copy's series lasts."""
        return len(self.difference) * self.interval / self.autocorrelation_time

    @property
    def independent(self) -> float:
        """Number of independent samples in all copies."""
        return self.mean.n


@dataclass(frozen=True)
class Windows:
    """What was sampled along a path: a `Window` for each lambda; temperature: K."""

    windows: tuple[Window, ...]
    temperature: float
    n_atoms: int

    def __iter__(self) -> Iterator[Window]:
        return iter(self.windows)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Window:
        return self.windows[index]

    @property
    def integral(self) -> Value:
        """int <U_a - U_b> dlambda (Eq. 6), eV per atom."""
        return sum((w.weight * w.mean for w in self if w.weight), Value(0.0)) / self.n_atoms

    @property
    def too_short(self) -> list[Window]:
        """Windows of the integral that last less than 2 LONG autocorrelation times: no drift can be told."""
        return [w for w in self if w.weight and w.lasts < 2 * LONG]

    def table(self) -> list[dict[str, float]]:
        """A line for each window, for files: eV per atom (variance: eV^2 of all atoms), fs, ps, eV/A^3."""
        return [
            {
                "lambda": w.lam,
                "weight": w.weight,
                "difference": w.mean.value / self.n_atoms,
                "difference_error": w.mean.error / self.n_atoms,
                "variance": w.variance,
                "autocorrelation_time_fs": w.autocorrelation_time / fs,
                "independent_samples": w.independent,
                "copies": w.difference.shape[1],
                "time_per_copy_ps": len(w.difference) * w.interval / (1000 * fs),
                "autocorrelation_times": w.lasts,
                "redone": w.redone,
                "energy": float(w.energy.mean()) / self.n_atoms,
                "pressure": float(w.pressure.mean()),
                **range_of_q6(w.q6),
            }
            for w in self
        ]


def range_of_q6(q6: Tensor) -> dict[str, float]:
    """Lowest and highest block mean; nothing if Q6 was not watched."""
    if not q6.numel():
        return {}
    means = block_means(q6)
    return {"lowest_q6": float(means.min()), "highest_q6": float(means.max())}


def mbar(windows: Windows) -> Value:
    """F(1) - F(0), eV per atom, and its error, from independent samples of all windows by the multistate
    Bennett acceptance ratio (Shirts, Chodera, J. Chem. Phys. 129, 124105 (2008)): a check of the quadrature.

    beta U(lambda_k) = beta U_b + lambda_k beta (U_a - U_b), where the first term, common to all k, drops out.
    The windows must overlap: sd(U_a - U_b) times their distance in lambda must not exceed about 1.5 kT.
    Raises ImportError without pymbar.
    """
    try:
        from pymbar import MBAR
    except ImportError as error:
        raise ImportError("mbar needs pymbar: pip install mlipbook[mbar]") from error
    kT = kB * windows.temperature
    samples = []
    for window in windows:
        stride = ceil(2 * window.autocorrelation_time / window.interval)
        samples.append(window.difference[::stride].flatten().numpy() / kT)
    lam = np.array([0.0, *(window.lam for window in windows if window.lam < 1), 1.0])
    by_lam = {window.lam: len(x) for window, x in zip(windows, samples, strict=True)}
    counts = np.array([by_lam.get(value, 0) for value in lam])
    states = MBAR(lam[:, None] * np.concatenate(samples), counts, solver_protocol="robust")
    found = states.compute_free_energy_differences()
    F = Value(float(found["Delta_f"][0, -1]), float(found["dDelta_f"][0, -1]), min(counts[counts > 0]))
    return F * kT / windows.n_atoms


# ---- averages ------------------------------------------------------------------------------------------


def drift(series: Tensor) -> Tensor:
    """|second half - first half| over its standard error, (B,); 0 where halves are shorter than LONG."""
    first, second = (quiet_average(half) for half in series.tensor_split(2))
    change = second - first
    return torch.where(quiet_average(series).n > LONG, abs(change.value) / change.error, 0.0)


def block_means(q6: Tensor) -> Tensor:
    """Means of up to ten consecutive blocks, (blocks, B)."""
    return torch.stack([block.mean(0) for block in q6.tensor_split(min(10, len(q6)))])
