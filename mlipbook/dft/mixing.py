"""The next input density from those before: Pulay's method with Kerker's preconditioner (hartree, bohr)."""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor

HISTORY = 8
STEP = 0.7  # along the residual, before damping


class PulayMixer:
    """Mixes N(G) (n,) at wavevectors G (n, 3), of which the first is 0.

    Pulay, Chem. Phys. Lett. 73, 393 (1980): the combination of the past inputs whose residual, out - in, is
    smallest, plus a step along that residual. The step is damped at long waves as a metal screens them,
    G^2/(G^2 + k_TF^2) (Kerker, Phys. Rev. B 23, 3082 (1981)) with the Thomas-Fermi wave number of the mean
    density; without it charge sloshes, the more the larger the cell.
    """

    def __init__(self, G: Tensor, electrons: float, volume: float):
        G2 = G.square().sum(1)
        fermi_wave = (3 * pi**2 * electrons / volume) ** (1 / 3)
        self.step = STEP * G2 / (G2 + 4 * fermi_wave / pi)
        self.metric = 2 * pi / volume / G2.clamp_min(1e-12) * (G2 > 0)
        self.inputs: list[Tensor] = []
        self.residuals: list[Tensor] = []

    def error(self, residual: Tensor) -> float:
        """Electrostatic energy of out - in, hartree: the scale of the error of the total energy."""
        return float((self.metric * residual.abs().square()).sum())

    def next(self, input: Tensor, residual: Tensor) -> Tensor:
        """The next input, after the output = input + residual."""
        self.inputs, self.residuals = [*self.inputs, input][-HISTORY:], [*self.residuals, residual][-HISTORY:]
        residuals = torch.stack(self.residuals)
        products = ((residuals.conj() * self.metric) @ residuals.mT).real.cpu()
        # Weights that add up to 1 and minimize |sum w R|^2; scaled, because the R's shrink by decades.
        scale = products.diagonal().clamp_min(1e-300).rsqrt()
        scaled = products * scale[:, None] * scale
        weights = torch.linalg.lstsq(scaled, scale[:, None], driver="gelsd").solution[:, 0] * scale
        weights = (weights / weights.sum()).to(residuals)
        return weights @ torch.stack(self.inputs) + self.step * (weights @ residuals)
