"""Exchange and correlation: energy per volume f(n, sigma) of the density and its squared gradient, no spin.

Hartree atomic units: n in bohr^-3, sigma = |grad n|^2 in bohr^-8, f in hartree bohr^-3. Potentials are
df/dn and df/dsigma by autograd. Constants and thresholds are those of Quantum ESPRESSO.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, pi

import torch
from torch import Tensor

DENSITY_THRESHOLD = 1e-10  # bohr^-3; nothing below, negative densities included
GRADIENT_THRESHOLDS = 1e-6, 1e-10  # n and sigma; below, no gradient correction
KAPPA, MU = 0.804, 0.2195149727645171  # of the PBE exchange
BETA = 0.06672455060314922  # of the PBE correlation
GAMMA = (1 - log(2)) / pi**2


def lda(n: Tensor, sigma: Tensor | None = None) -> Tensor:
    """Local density approximation: Slater exchange, Perdew-Wang 92 correlation. sigma is not used."""
    present = n > DENSITY_THRESHOLD
    n_safe = torch.where(present, n, 1.0)
    return torch.where(present, n_safe * (exchange(n_safe) + correlation(n_safe)), 0.0)


def pbe(n: Tensor, sigma: Tensor) -> Tensor:
    """Generalized gradient approximation of Perdew, Burke and Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996)."""
    present = (n > GRADIENT_THRESHOLDS[0]) & (sigma > GRADIENT_THRESHOLDS[1])
    n_safe, sigma_safe = torch.where(present, n, 1.0), torch.where(present, sigma, 1.0)
    return lda(n) + torch.where(present, n_safe * gradient_correction(n_safe, sigma_safe), 0.0)


def exchange(n: Tensor) -> Tensor:
    """Exchange energy per electron of the uniform gas, -3 k_F/(4 pi)."""
    return -3 / (4 * pi) * (3 * pi**2 * n) ** (1 / 3)


def correlation(n: Tensor) -> Tensor:
    """Correlation energy per electron of the uniform gas, Perdew and Wang, Phys. Rev. B 45, 13244 (1992)."""
    A, alpha, b1, b2, b3, b4 = 0.031091, 0.21370, 7.5957, 3.5876, 1.6382, 0.49294
    r_s = (3 / (4 * pi * n)) ** (1 / 3)
    x = r_s.sqrt()
    return -2 * A * (1 + alpha * r_s) * torch.log1p(1 / (2 * A * x * (b1 + x * (b2 + x * (b3 + x * b4)))))


def gradient_correction(n: Tensor, sigma: Tensor) -> Tensor:
    """Exchange and correlation per electron beyond the uniform gas, PBE's Eq. 14 and 7, 8."""
    k_F = (3 * pi**2 * n) ** (1 / 3)
    s2 = sigma / (2 * k_F * n) ** 2
    enhancement = KAPPA - KAPPA / (1 + MU * s2 / KAPPA)  # F_x - 1
    t2 = sigma * pi / (16 * k_F * n**2)  # |grad n|^2/(2 k_s n)^2 with k_s^2 = 4 k_F/pi
    y = BETA / GAMMA / torch.expm1(-correlation(n) / GAMMA) * t2
    H = GAMMA * torch.log1p(BETA / GAMMA * t2 * (1 + y) / (1 + y + y * y))
    return exchange(n) * enhancement + H


FUNCTIONALS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"LDA": lda, "PBE": pbe}
NAMES = {"PBE": "PBE", "SLA PW PBX PBC": "PBE", "LDA": "LDA", "PW": "LDA", "SLA PW NOGX NOGC": "LDA"}


def functional_name(name: str, where: str) -> str:
    """Key in FUNCTIONALS, from the name in a UPF file. ValueError, naming that file, if there is none."""
    words = " ".join(name.upper().replace("-", " ").split())
    if words not in NAMES:
        ours = ", ".join(FUNCTIONALS)
        raise ValueError(f"{where}: the functional {name.strip()!r} is not implemented; there are {ours}")
    return NAMES[words]
