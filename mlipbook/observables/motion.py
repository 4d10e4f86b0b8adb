"""How atoms move: displacements with the center of mass held, diffusion, Lindemann's ratio."""

from __future__ import annotations

import torch
from torch import Tensor

from mlipbook.averages import Value, correlation, mean
from mlipbook.checks import whole


def in_mean_cell(positions: Tensor, cells: Tensor) -> Tensor:
    """Unwrapped positions (T, B, N, 3) with the same fractional coordinates in each replica's mean cell.

    At constant pressure the box's breathing moves every atom in proportion to its distance from the origin;
    displacements are counted without it. cells: (T, B, 3, 3) angstrom.
    """
    return positions @ torch.linalg.inv(cells) @ cells.mean(0)


def mean_square_displacement(
    positions: Tensor, masses: Tensor, atoms: Tensor | slice = slice(None)
) -> Tensor:
    """<|r(t + lag) - r(t)|^2> over all atoms and all origins t, for lags of 0..T-1 frames; (T, B) A^2.

    positions: (T, B, N, 3) angstrom, unwrapped, evenly spaced in time, in a constant cell (else
    `in_mean_cell`). masses: (N,) amu, to take out the motion of the center of mass. atoms: indices or mask of
    those that are averaged. By Fourier transforms, T log T: Calandrini et al., Collection SFN 12, 201
    (2011), section 4.2.
    """
    r = _without_drift(positions, masses)[:, :, atoms]
    T = len(r)
    origins = torch.arange(T, 0, -1).to(r)[:, None]  # number of origins of each lag
    squares = r.square().sum((2, 3))
    sums = torch.cat([torch.zeros_like(squares[:1]), squares.cumsum(0)])  # over the first k frames, k = 0..T
    # sum over t of |r(t)|^2 + |r(t + lag)|^2: all frames but the last lag, and all but the first lag.
    both_ends = sums[1:].flip(0) + (sums[-1] - sums[:-1])
    return (both_ends - 2 * correlation(r).sum((2, 3))) / origins / r.shape[2]


def blocks(series: Tensor, number: int) -> Tensor:
    """Cut (T, B, ...) into consecutive blocks, as replicas: (T // number, number * B, ...).

    What does not fill a block is left out at the start; units stay. Raises ValueError for more blocks than
    frames.
    """
    length = len(series) // whole(number, "number", most=len(series))
    kept = series[len(series) - number * length :]
    return kept.unflatten(0, (number, length)).transpose(0, 1).flatten(1, 2)


def diffusion(time: Tensor, msd: Tensor, window: tuple[float, float]) -> Value:
    """Einstein's D = slope/6 of a straight line through the mean square displacement.

    time: lags (T,), internal units. msd: (T, B) A^2. window: the lags of the fit, after the ballistic and
    cage regimes. D in A^2 per internal time; times 1e-16 * units.second in cm^2/s. The error is that of the
    mean of the replicas' slopes. Raises ValueError for a single replica (cut it: `blocks`) and for fewer
    than two lags in the window.
    """
    chosen = (time >= window[0]) & (time <= window[1])
    if int(chosen.sum()) < 2:
        raise ValueError(f"{int(chosen.sum())} lags of the mean square displacement in {window}: widen it")
    if msd.shape[1] < 2:
        raise ValueError("one replica gives no error: cut the positions with blocks(positions, number)")
    t = (time - time[chosen].mean())[chosen].to(msd)
    D = t @ msd[chosen] / t.square().sum() / 6
    return mean(D.cpu())


def lindemann(positions: Tensor, masses: Tensor, spacing: float | Tensor, window: int) -> Tensor:
    """Root mean square deviation of atoms from their mean positions over the spacing, (T - window + 1, B).

    The reference runs: deviations are from the mean over the same `window` frames, so that crystals, also
    after rare jumps, keep a small value; the window must be long against a vibration. positions, masses:
    as for the mean square displacement. spacing: nearest-neighbor distance, angstrom (bcc: sqrt(3)/2 a),
    number or (B,). Dimensionless. Raises ValueError for a window shorter than 2 or longer than the run.
    """
    whole(window, "window", least=2, most=len(positions))
    r = _without_drift(positions, masses)
    variance = _running_mean(r.square(), window) - _running_mean(r, window).square()
    return variance.sum(-1).mean(-1).clamp(min=0).sqrt() / spacing


def _without_drift(positions: Tensor, masses: Tensor) -> Tensor:
    """Displacements since the first frame, the center of mass held."""
    moved = positions - positions[:1]
    return moved - torch.einsum("tbna,n->tba", moved, masses / masses.sum())[:, :, None]


def _running_mean(series: Tensor, window: int) -> Tensor:
    sums = torch.cat([torch.zeros_like(series[:1]), series.cumsum(0)])
    return (sums[window:] - sums[:-window]) / window
