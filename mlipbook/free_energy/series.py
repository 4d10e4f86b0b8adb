"""Series of the windows of an integration, and their averages with standard errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mlipbook.averages import Value, pooled, quiet_average
from mlipbook.units import fs

LONG = 50  # correlation times that a series should last


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


# ---- averages ------------------------------------------------------------------------------------------


def drift(series: Tensor) -> Tensor:
    """|second half - first half| over its standard error, (B,); 0 where halves are shorter than LONG."""
    first, second = (quiet_average(half) for half in series.tensor_split(2))
    change = second - first
    return torch.where(quiet_average(series).n > LONG, abs(change.value) / change.error, 0.0)


def block_means(q6: Tensor) -> Tensor:
    """Means of up to ten consecutive blocks, (blocks, B)."""
    return torch.stack([block.mean(0) for block in q6.tensor_split(min(10, len(q6)))])
