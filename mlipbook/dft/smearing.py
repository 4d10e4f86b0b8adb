"""Occupations of bands at finite width, two electrons a band, in Hartree atomic units.

The free energy F = E - TS is stationary with respect to the occupations, so forces are its derivatives;
dF/dN is the Fermi level.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt

import torch
from torch import Tensor

from mlipbook.checks import one_of, positive

HIGHEST_OCCUPATION = 2e-2  # of the highest band, at most: the bands left out would hold less each


def occupations(
    eigenvalues: Tensor, weights: Tensor, electrons: float, width: float, kind: str = "fermi-dirac"
) -> tuple[Tensor, Tensor, Tensor]:
    """Occupations f (K, B), 0 to 2, with sum_k weights_k f_kb = electrons; Fermi level and -TS, hartree.

    eigenvalues: (K, B) hartree, ascending. weights: (K,), their sum is 1. width: kT of "fermi-dirac", sigma
    of "cold", hartree. Raises ValueError for an unknown kind, a width that is not positive, too few bands.
    """
    filling, entropy = KINDS[one_of(kind, "smearing", tuple(KINDS))]
    positive(width, "width", "in hartree")
    B = eigenvalues.shape[1]
    if electrons >= 2 * B:
        raise ValueError(f"{B} bands hold at most {2 * B} electrons, there are {electrons:g}: add bands")
    eigenvalues, weights = eigenvalues.detach().double(), weights.double()[:, None]

    def filled(fermi: Tensor) -> Tensor:
        return 2 * filling((fermi - eigenvalues) / width)

    low, high = eigenvalues.min() - 40 * width, eigenvalues.max() + 40 * width
    for _ in range(100):  # bisection, to the last bit
        middle = (low + high) / 2
        too_few = (weights * filled(middle)).sum() < electrons
        low, high = torch.where(too_few, middle, low), torch.where(too_few, high, middle)
    f = filled(high)
    if (highest := float(f[:, -1].max())) > HIGHEST_OCCUPATION:
        raise ValueError(f"the highest of {B} bands has occupation {highest:.1e}: add bands")
    return f, high, 2 * width * (weights * entropy((high - eigenvalues) / width)).sum()


def fermi_dirac_entropy(x: Tensor) -> Tensor:
    """-S of a state: f ln f + (1 - f) ln(1 - f), f = 1/(1 + exp(-x)), x = (fermi - energy)/width."""
    f = torch.sigmoid(x)
    return f * torch.nn.functional.logsigmoid(x) + (1 - f) * torch.nn.functional.logsigmoid(-x)


def cold(x: Tensor) -> Tensor:
    """Cold smearing: Marzari, Vanderbilt, De Vita, Payne, Phys. Rev. Lett. 82, 3296 (1999); up to 1.08."""
    y = x - 1 / sqrt(2)
    return (1 + torch.erf(y)) / 2 + torch.exp(-(y**2)) / sqrt(2 * pi)


def cold_entropy(x: Tensor) -> Tensor:
    """-S of a state, the integral of x times the derivative of `cold`."""
    y = x - 1 / sqrt(2)
    return y * torch.exp(-(y**2)) / sqrt(2 * pi)


KINDS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "fermi-dirac": (torch.sigmoid, fermi_dirac_entropy),
    "cold": (cold, cold_entropy),
}
