"""Thermal conductivity from the spectrum of the heat flux at zero frequency, by cepstral analysis.

kappa is half the flux's power spectrum at zero frequency. One run shows the spectrum times noise that is
known: a chi-square variable, independent at each frequency. Its logarithm is the true one plus noise of known
mean and variance, and the true one is smooth: the first M coefficients of its Fourier series (the cepstrum)
hold it, the rest is noise (Ercole, Marcolongo, Baroni, Sci. Rep. 7, 15835 (2017); with mass currents:
Bertossa et al., Phys. Rev. Lett. 122, 255901 (2019)). They take the M of the smallest Akaike criterion; here
estimates of all M are averaged with Akaike's weights, as their spread belongs to the error.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from mlipbook.checks import all_positive
from mlipbook.heat.green_kubo import Series, prefactor, samples_of

FEWEST = 16  # frequencies below the cutoff


@dataclass(frozen=True)
class Cepstral:
    """kappa = value +- error, W/m/K; `order` is the number of coefficients that Akaike's criterion prefers.

    frequency: (K,) per internal time, from the first above zero to the cutoff. spectrum: (K,) W/m/K, half the
    power spectrum as found, its noise not biased. smooth: (K,) W/m/K, that of the kept coefficients.
    """

    value: float
    error: float
    order: int
    frequency: Tensor
    spectrum: Tensor
    smooth: Tensor


def cepstral(
    fluxes: Series,
    interval: float,
    volume: float,
    temperature: float,
    cutoff: float,
    currents: Series | None = None,
) -> Cepstral:
    """Thermal conductivity of an equilibrium run at zero total momentum, at zero mass current if given.

    fluxes, interval, volume, temperature, currents: as in `green_kubo`. cutoff: highest frequency that is
    used, per internal time (10 THz are 10/ps); the spectrum should have one or two features below it. The
    periodograms of 3 directions and B replicas are averaged. Raises ValueError for a cutoff above the series'
    Nyquist frequency 1/(2 interval), series that are too short, not finite, or do not fit.
    """
    all_positive(interval=interval, volume=volume, temperature=temperature, cutoff=cutoff)
    x = samples_of(fluxes, currents)
    T = len(x)
    half = int(cutoff * T * interval * (1 + 1e-12))  # rounding must not cost the last one
    if half > T // 2 or half < FEWEST:
        raise ValueError(
            f"{half} frequencies up to {cutoff:.4g} in {T} samples {interval:.4g} apart (internal time): the "
            f"cutoff is at most {0.5 / interval:.4g}, and {FEWEST} frequencies are needed: give a longer run"
        )
    from scipy.special import polygamma, psi

    q, channels = x.shape[-1], x.shape[1] * 3
    freedom, samples = channels - q + 1, 2 * half  # of each frequency; of the series filtered at the cutoff
    S = reduced_periodogram(x, half)
    coefficients = torch.fft.irfft(S.log(), samples)[:half]
    variance = float(polygamma(1, freedom)) / samples
    weights = akaike_weights(coefficients, variance)
    kept = coefficients * weights.flip(0).cumsum(0).flip(0)  # C_n is in all orders above n
    log_S = torch.fft.rfft(torch.cat([kept, torch.zeros(1).to(kept), kept[1:].flip(0)])).real
    log_S -= float(psi(freedom)) - log(channels)  # mean of the noise
    scale = interval / 2 * prefactor(volume, temperature)
    kappa = scale * float(log_S[0].exp())
    return Cepstral(
        kappa,
        kappa * error_at_zero(coefficients, variance, weights),
        1 + int(weights.argmax()),
        torch.arange(1, half + 1).to(S) / (T * interval),
        scale * channels / freedom * S[1:],
        scale * log_S[1:].exp(),
    )


def reduced_periodogram(x: Tensor, half: int) -> Tensor:
    """1/(S^-1)_00 of the spectral matrix S_ab = <F_a F_b*>/T of a series (T, B, 3, q), (half + 1,).

    Mean over replicas and directions. The lowest frequency, zero, has real amplitudes, hence half the degrees
    of freedom of the others: it takes its neighbor's value.
    """
    F = torch.fft.rfft(x.flatten(1, 2), dim=0)[: half + 1]
    S = torch.einsum("fca,fcb->fab", F, F.conj()) / (F.shape[1] * len(x))
    inverse, singular = torch.linalg.inv_ex(S[1:])
    reduced = 1 / inverse[:, 0, 0].real
    if bool(singular.any()) or not bool(((reduced > 0) & (reduced < torch.inf)).all()):
        raise ValueError(
            "the spectrum of the fluxes vanishes at a frequency, or the currents' is theirs: series that are "
            "constant, or multiples of each other, have no noise to be analyzed"
        )
    return torch.cat([reduced[:1], reduced])


def akaike_weights(coefficients: Tensor, variance: float) -> Tensor:
    """Of the orders M = 1, 2..., (half,): exp(-AIC/2), AIC = sum of C_n^2/variance left out + 2 M."""
    left_out = (coefficients.square().sum() - coefficients.square().cumsum(0)) / variance
    return torch.softmax(-(left_out / 2 + torch.arange(1, len(left_out) + 1).to(left_out)), 0)


def error_at_zero(coefficients: Tensor, variance: float, weights: Tensor) -> float:
    """Standard error of log S(0), averaged over orders: (4M - 2) variance of each, and their spread. Burnham,
    Anderson, Model Selection and Multimodel Inference (2002), section 4.3.
    """
    log_S = 2 * coefficients.cumsum(0) - coefficients[0]
    noise = (4 * torch.arange(1, len(weights) + 1).to(weights) - 2) * variance
    return float(weights @ (noise + (log_S - weights @ log_S).square())) ** 0.5
