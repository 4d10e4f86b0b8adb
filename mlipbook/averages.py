"""Means of correlated series, with their standard errors."""

from __future__ import annotations

import warnings
from math import hypot
from typing import NamedTuple

import torch
from torch import Tensor


class Value(NamedTuple):
    """A number and its standard error; the errors of sums and differences are those of independent values."""

    value: float
    error: float

    def __add__(self, other: Value) -> Value:  # type: ignore[override]
        return Value(self.value + other.value, hypot(self.error, other.error))

    def __sub__(self, other: Value) -> Value:
        return Value(self.value - other.value, hypot(self.error, other.error))


class Average(NamedTuple):
    """Mean of a correlated series; all fields have the series' shape without its first axis."""

    mean: Tensor
    error: Tensor  # standard error of the mean
    autocorrelation_time: Tensor  # integrated, in samples; 1/2 if they are independent
    independent: Tensor  # number of independent samples, T / (2 tau)


def block_average(series: Tensor) -> Average:
    """Mean over the first axis with the standard error of a correlated series (T, ...).

    tau = 1/2 + sum_t rho(t) up to the first lag W >= 5 tau (Sokal's automatic window; Functional
    Integration, NATO ASI B 361, 131 (1997), section 3), error^2 = 2 tau variance/T, corrected by
    1 + (2W + 1)/T for the mean being the series' own (Wolff, Comput. Phys. Commun. 156, 143 (2004), Eq. 49).
    tau below 1/2 (anticorrelation) is taken as 1/2: the error is then an upper bound.

    Raises ValueError below 10 samples or for values that are not finite. Warns (RuntimeWarning) if the
    series is shorter than 50 tau: the error is then itself uncertain by a third or more.
    """
    x = torch.as_tensor(series, dtype=torch.float64)
    T = len(x) if x.ndim else 0
    if T < 10 or not bool(torch.isfinite(x).all()):
        raise ValueError(f"{T} samples: an average with its error needs 10 or more, all of them finite")
    mean = x.mean(0)
    lag = torch.arange(T).to(x).view(-1, *[1] * (x.ndim - 1))
    covariance = correlation(x - mean) / (T - lag)
    variance = covariance[0]
    constant = variance <= (1e-14 * mean).square()  # up to rounding
    rho = torch.where(constant, 0, covariance / variance.where(~constant, 1))
    taus = rho[1:].cumsum(0) + 0.5
    within = (lag[1:] < 5 * taus).cummin(0).values  # lags before the window closes
    W = (within.sum(0) + 1).clamp(max=T - 1)
    tau = taus.gather(0, W[None] - 1)[0].clamp(min=0.5)
    error = (2 * tau * variance / T * (1 + (2 * W + 1) / T)).sqrt()
    if 50 * tau.max() > T:
        warnings.warn(
            f"{T} samples are only {T / float(tau.max()):.0f} autocorrelation times: the standard error is "
            "uncertain; go on to 50 and more",
            RuntimeWarning,
            stacklevel=2,
        )
    return Average(mean, torch.where(constant, 0, error), tau, T / (2 * tau))


def quiet_average(series: Tensor) -> Average:
    """`block_average`, whose warning of short series `windows` gives for all of them at once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return block_average(series)


def pooled(averages: Average) -> Value:
    """Mean over independent copies of equal length; their squared errors add."""
    n = averages.mean.numel()
    return Value(float(averages.mean.mean()), float(averages.error.square().sum().sqrt()) / n)


def average(series: Tensor) -> Value:
    """Of a series (T, copies)."""
    return pooled(quiet_average(series))


def correlation(series: Tensor) -> Tensor:
    """sum_t x(t) x(t + lag) for all lags, along the first axis."""
    T = len(series)
    power = torch.fft.rfft(series, 2 * T, dim=0).abs().square()
    return torch.fft.irfft(power, 2 * T, dim=0)[:T]
