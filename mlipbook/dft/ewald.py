"""Ewald's sum: the electrostatic energy of point charges in a periodic cell, in Hartree atomic units."""

from __future__ import annotations

from math import pi, sqrt

import torch
from torch import Tensor

REACH = 5.5  # both sums end where their terms have fallen by exp(-REACH^2) = 7e-14


def ewald(positions: Tensor, cell: Tensor, charges: Tensor, eta: float | None = None) -> Tensor:
    """Energy (hartree) of charges (N,) at positions (N, 3) in a cell (3, 3, rows), bohr.

    A uniform background makes charged cells neutral. Differentiable with respect to positions and cell.
    The result does not depend on eta, the inverse width of the screening charges; by default both sums
    have as many terms. Raises ValueError if two atoms sit in the same place.

        E = sum_pairs q_i q_j erfc(eta r)/r + (2 pi/Omega) sum_{G != 0} exp(-G^2/4 eta^2)/G^2 |S(G)|^2
            - eta/sqrt(pi) sum_i q_i^2 - pi Q^2/(2 Omega eta^2)
    """
    volume = torch.linalg.det(cell).abs()
    if eta is None:
        eta = (pi**3 * len(positions)) ** (1 / 6) / float(volume.detach()) ** (1 / 3)
    i, j, shifts = _pairs(positions.detach(), cell.detach(), REACH / eta)
    r = torch.linalg.norm(positions[j] - positions[i] + shifts @ cell, dim=-1)
    if len(r) and float(r.detach().min()) < 1e-6:
        k = int(r.argmin())
        raise ValueError(f"atoms {int(i[k])} and {int(j[k])} (or images) sit in the same place")
    pairs = charges[i] * charges[j] * torch.where(i == j, 0.5, 1.0)
    short = (pairs * torch.erfc(eta * r) / r).sum()

    G = _half_sphere(cell.detach(), 2 * eta * REACH) @ (2 * pi * torch.linalg.inv(cell).mT)
    G2 = G.square().sum(-1)
    phases = positions @ G.mT  # (N, n)
    S2 = (charges @ torch.cos(phases)).square() + (charges @ torch.sin(phases)).square()
    long = 4 * pi / volume * (torch.exp(-G2 / (4 * eta**2)) / G2 * S2).sum()
    self_energy = eta / sqrt(pi) * charges.square().sum()
    return short + long - self_energy - pi / (2 * volume * eta**2) * charges.sum() ** 2


def _pairs(positions: Tensor, cell: Tensor, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs i <= j and lattice translations (n, 3) of j, within the cutoff, an atom's own images twice."""
    inverse = torch.linalg.inv(cell)
    i, j = torch.triu_indices(len(positions), len(positions), device=positions.device)
    fractional = (positions[j] - positions[i]) @ inverse
    nearest = -fractional.round()
    near = (fractional + nearest) @ cell
    found = []
    for shift in _integers((cutoff * torch.linalg.norm(inverse, dim=0) + 0.5).floor()):
        within = (near + shift @ cell).square().sum(-1) < cutoff**2
        if not shift.any():
            within &= i != j
        index = within.nonzero()[:, 0]
        found.append((i[index], j[index], nearest[index] + shift))
    first, second, shifts = zip(*found, strict=True)
    return torch.cat(first), torch.cat(second), torch.cat(shifts)


def _half_sphere(cell: Tensor, cutoff: float) -> Tensor:
    """Miller indices (n, 3) of 0 < |G| < cutoff, one of each pair G, -G."""
    miller = _integers((cutoff * torch.linalg.norm(cell, dim=1) / (2 * pi)).floor())
    miller = miller[len(miller) // 2 + 1 :]  # the list is symmetric about 0, its middle
    G = 2 * pi * miller @ torch.linalg.inv(cell).mT
    return miller[G.square().sum(-1) < cutoff**2]


def _integers(largest: Tensor) -> Tensor:
    """All (n1, n2, n3) with |n_a| <= largest_a, as floats."""
    return torch.cartesian_prod(*(torch.arange(-float(n), float(n) + 1).to(largest) for n in largest))
