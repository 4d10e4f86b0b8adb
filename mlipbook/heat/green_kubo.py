"""Thermal conductivity from the fluctuations of the heat flux in equilibrium (Eq. 10).

With the mass current V_1 of one species beside the heat flux q = Omega*J, the coefficients are a matrix,

    L_ab(t) = 1/(Omega kB T^2) int_0^t <a(t') b(0)> dt',

and heat flows at zero mass current with kappa = L_qq - L_q1^2/L_11, which no shift of the species' energies
changes (Ercole et al., J. Low Temp. Phys. 185, 79 (2016); Bertossa et al., Phys. Rev. Lett. 122, 255901).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlipbook.checks import all_positive
from mlipbook.observables import blocks
from mlipbook.units import W_per_m_K, kB

ENOUGH = 8  # samples for a standard error; fewer replicas are cut into blocks
LONG = 5  # times the longest lag that such a block lasts

Series = Tensor | np.ndarray


@dataclass(frozen=True)
class Transport:
    """Integrals up to the lags `time` (L,), internal units, with their standard errors.

    coefficients: (L, q, q), L_qq in W/m/K, L_q1 in W/m/K per eV, L_11 in W/m/K per eV^2. kappa: (L,) W/m/K,
    Eq. 10 as it stands, L_qq. corrected: (L,) W/m/K, at zero mass current. enthalpy: (L,) eV, L_q1/L_11 (zero
    energy of the species included). Without a mass current q = 1, corrected is kappa, enthalpy is empty.
    """

    time: Tensor
    coefficients: Tensor
    coefficient_errors: Tensor
    kappa: Tensor
    kappa_error: Tensor
    corrected: Tensor
    corrected_error: Tensor
    enthalpy: Tensor
    enthalpy_error: Tensor


def green_kubo(
    fluxes: Series,
    interval: float,
    volume: float,
    temperature: float,
    until: float,
    currents: Series | None = None,
) -> Transport:
    """Green-Kubo integrals of an equilibrium run at zero total momentum, mean of x, y and z (Eq. 10).

    fluxes: (T, B, 3) Omega*J of B replicas, eV A per internal time, `interval` (internal time) apart.
    volume: Omega, A^3. temperature: K. until: the longest lag, internal time. currents: (T, B, 3) V_1, A per
    internal time (`mass_current`), of one of two species.

    The standard errors are those of the replicas; fewer than eight are cut into blocks, each five times as
    long as the longest lag. That of the corrected conductivity, and its bias, come from a jackknife.
    Raises ValueError for series that are too short, not finite, or do not fit.
    """
    all_positive(interval=interval, volume=volume, temperature=temperature, until=until)
    q = samples_of(fluxes, currents)
    T, B, lags = len(q), q.shape[1], round(until / interval)
    number = max(1, min(-(-ENOUGH // B), T // max(1, LONG * lags)))
    if lags < 1 or number * B < 2 or T // number < 2 * lags:
        raise ValueError(
            f"{T} samples of {B} replicas, {interval:.4g} apart, for lags up to {until:.4g} (internal time): "
            f"give one sample at least up to there, and {LONG * 2} times as long a series (2 times if there "
            "are several replicas)"
        )
    samples = torch.stack([correlation(x, lags) for x in blocks(q, number).unbind(1)])  # (R, lags + 1, q, q)
    L = torch.cumulative_trapezoid(samples, dx=interval, dim=1) * prefactor(volume, temperature)
    time = interval * torch.arange(1, lags + 1, dtype=torch.float64)
    return Transport(time, *jackknife(L, lambda x: x), *conductivities(L))


def conductivities(L: Tensor) -> tuple[Tensor, ...]:
    """kappa, corrected kappa, enthalpy, each with its error, from samples (R, L, q, q)."""
    raw = jackknife(L, lambda x: x[..., 0, 0])
    if L.shape[-1] == 1:
        return *raw, *raw, torch.empty(0), torch.empty(0)
    corrected = jackknife(L, lambda x: x[..., 0, 0] - x[..., 0, 1] ** 2 / x[..., 1, 1])
    return *raw, *corrected, *jackknife(L, lambda x: x[..., 0, 1] / x[..., 1, 1])


def correlation(x: Tensor, lags: int) -> Tensor:
    """<x_a(t + lag) x_b(t)>, mean over t and directions, of a series (T, 3, q): (lags + 1, q, q).

    By Fourier transforms of the series, padded with zeros against its periodic images; the mean of T - lag
    products is not biased. Symmetric, as Onsager's relations have it.
    """
    T, size = len(x), len(x) + lags + 1
    f = torch.fft.rfft(x, size, dim=0)
    sums = torch.fft.irfft(torch.einsum("fda,fdb->fab", f, f.conj()), size, dim=0)[: lags + 1]
    C = sums / x.shape[1] / (T - torch.arange(lags + 1).to(x))[:, None, None]
    return (C + C.mT) / 2


def jackknife(samples: Tensor, function: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """function(mean of independent samples (R, ...)), less its bias to first order, and its standard error;
    of a linear function mean and standard error of the mean.
    """
    R, mean = len(samples), samples.mean(0)
    without = function((R * mean - samples) / (R - 1))
    value = R * function(mean) - (R - 1) * without.mean(0)
    return value, ((R - 1) * without.var(0, correction=0)).sqrt()


def prefactor(volume: float, temperature: float) -> float:
    """From int <Omega J Omega J> dt, (eV A)^2 per internal time, to W/m/K: 1/(Omega kB T^2).

    Times per picosecond instead of internal ones, it is 1602.1766/(Omega kB T^2).
    """
    return 1 / (volume * kB * temperature**2) / W_per_m_K


# ---- what is refused ---------------------------------------------------------------------------------


def samples_of(fluxes: Series, currents: Series | None) -> Tensor:
    """(T, B, 3, q): fluxes, and beside them the currents; ValueError if these do not fit, or vanish."""
    q = series("fluxes", fluxes)
    if currents is None:
        return q[..., None]
    V = series("currents", currents)
    if V.shape != q.shape:
        raise ValueError(f"currents {tuple(V.shape)} do not fit fluxes {tuple(q.shape)}")
    if not bool(V.square().sum((0, 2)).all()):
        raise ValueError("the mass current of a replica vanishes; leave it out (currents=None)")
    return torch.stack([q, V], -1)


def series(name: str, values: Series) -> Tensor:
    """As (T, B, 3) float64 on the CPU; ValueError if it is not."""
    x = torch.as_tensor(values, dtype=torch.float64).detach().cpu()
    if x.ndim != 3 or x.shape[-1] != 3 or 0 in x.shape:
        raise ValueError(f"{name} of shape {tuple(x.shape)}; give (T, B, 3): times, replicas, x y z")
    if not bool(torch.isfinite(x).all()):
        t, b, _ = torch.nonzero(~torch.isfinite(x))[0].tolist()
        raise ValueError(f"{name} of replica {b} at sample {t} are {x[t, b].tolist()}, not finite")
    return x
