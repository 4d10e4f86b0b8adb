"""Numbers with their errors, and the means that they come from."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Value:
    """A number and its standard error over all that scatters: floats, or arrays of one shape.

    error: 0 of what is exact, nan where it is not known. n: number of independent samples, None where there
    is no such number. Arithmetic is that of independent values, to first order, and keeps the smaller n;
    `value, error = x` unpacks.
    """

    value: Any
    error: Any = 0.0
    n: Any = None
    __array_ufunc__ = None  # an array's or NumPy number's arithmetic with a Value is the Value's

    @classmethod
    def from_record(cls, item: Mapping[str, Any]) -> Value:
        """What `record` stored, in the unit it was stored in."""
        return cls(item["value"], nan if item["sem"] is None else item["sem"], item.get("n"))

    def record(self, unit: str = "") -> dict[str, Any]:
        """As results are stored: value, sem (None where it is not known), n, unit."""
        sem, n = float(self.error), None if self.n is None else int(self.n)
        return {"value": float(self.value), "sem": sem if isfinite(sem) else None, "n": n, "unit": unit}

    def z(self, other: Value | float = 0.0) -> float:
        """Difference over its standard error, dimensionless; nan if it has none."""
        d = self - other
        return d.value / d.error if d.error else nan

    def __iter__(self) -> Iterator[Any]:
        return iter((self.value, self.error))

    def __neg__(self) -> Value:
        return Value(-self.value, self.error, self.n)

    def __add__(self, other: Value | float) -> Value:
        b = exact(other)
        return Value(self.value + b.value, (self.error**2 + b.error**2) ** 0.5, fewest(self.n, b.n))

    def __sub__(self, other: Value | float) -> Value:
        return self + -other

    def __mul__(self, other: Value | float) -> Value:
        b = exact(other)
        error = ((b.value * self.error) ** 2 + (self.value * b.error) ** 2) ** 0.5
        return Value(self.value * b.value, error, fewest(self.n, b.n))

    def __truediv__(self, other: Value | float) -> Value:
        b = exact(other)
        ratio = self.value / b.value
        error = ((self.error / b.value) ** 2 + (ratio * b.error / b.value) ** 2) ** 0.5
        return Value(ratio, error, fewest(self.n, b.n))

    def __pow__(self, power: float) -> Value:
        slope = power * self.value ** (power - 1)
        return Value(self.value**power, abs(slope) * self.error, self.n)

    def __rsub__(self, other: float) -> Value:
        return -self + other

    def __rtruediv__(self, other: float) -> Value:
        return exact(other) / self

    __radd__, __rmul__ = __add__, __mul__


def exact(x: Value | float) -> Value:
    """A Value, or a number without error."""
    return x if isinstance(x, Value) else Value(x)


def fewest(a: Any, b: Any) -> Any:
    """The smaller one, of numbers of samples that are known."""
    if a is None or b is None:
        return b if a is None else a
    return torch.minimum(a, b) if isinstance(a, Tensor) else np.minimum(a, b)


# ---- independent samples ------------------------------------------------------------------------------


def mean(samples: Any) -> Value:
    """Of independent samples (n, ...), over the first axis; of a single one the error is not known."""
    x = np.asarray(samples, dtype=float)
    n = len(x)
    error = x.std(0, ddof=1) / n**0.5 if n > 1 else np.full_like(x[0], nan)
    return Value(x.mean(0), error, n) if x.ndim > 1 else Value(float(x.mean()), float(error), n)


def median(samples: Any) -> Value:
    """Of independent samples (n,) of a normal law but for outliers: its error is sqrt(pi/2) of the mean's."""
    return Value(float(np.median(samples)), (np.pi / 2) ** 0.5 * mean(samples).error, len(samples))


# ---- correlated series --------------------------------------------------------------------------------


def block_average(series: Tensor) -> Value:
    """Mean over the first axis with the standard error of a correlated series (T, ...), in the unit of both.

    n = T/(2 tau) of the samples count, tau = 1/2 + sum_t rho(t) up to the first lag W >= 5 tau (Sokal's
    automatic window; Functional Integration, NATO ASI B 361, 131 (1997), section 3); error^2 = variance/n,
    times 1 + (2W + 1)/T for the mean being the series' own (Wolff, Comput. Phys. Commun. 156, 143 (2004),
    Eq. 49).
    tau below 1/2 (anticorrelation) is taken as 1/2: the error is then an upper bound.

    Raises ValueError below 10 samples or for values that are not finite. Warns (RuntimeWarning) if the
    series is shorter than 50 tau: the error is then itself uncertain by a third or more.
    """
    x = torch.as_tensor(series, dtype=torch.float64)
    T = len(x) if x.ndim else 0
    if T < 10 or not bool(torch.isfinite(x).all()):
        raise ValueError(f"{T} samples: an average with its error needs 10 or more, all of them finite")
    average = x.mean(0)
    lag = torch.arange(T).to(x).view(-1, *[1] * (x.ndim - 1))
    covariance = correlation(x - average) / (T - lag)
    variance = covariance[0]
    constant = variance <= (1e-14 * average).square()  # up to rounding
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
    return Value(average, torch.where(constant, 0, error), T / (2 * tau))


def quiet_average(series: Tensor) -> Value:
    """`block_average`, whose warning of short series `windows` gives for all of them at once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return block_average(series)


def pooled(copies: Value) -> Value:
    """Mean over independent copies of equal length, arrays (copies,); their squared errors add."""
    error = float(copies.error.square().sum().sqrt()) / copies.value.numel()
    return Value(float(copies.value.mean()), error, float(copies.n.sum()))


def average(series: Tensor) -> Value:
    """Mean of a series (T, copies) with its standard error, in the unit of the series."""
    return pooled(quiet_average(series))


def correlation(series: Tensor) -> Tensor:
    """sum_t x(t) x(t + lag) for all lags, along the first axis."""
    T = len(series)
    power = torch.fft.rfft(series, 2 * T, dim=0).abs().square()
    return torch.fft.irfft(power, 2 * T, dim=0)[:T]
