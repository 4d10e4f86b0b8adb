"""Lowest eigenvectors of many Hermitian operators at once, by the blocked Davidson method.

Vectors are rows: (K, bands, size) for K operators side by side, real or complex, in single or double precision.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def davidson(
    operator: Callable[[Tensor], Tensor],
    vectors: Tensor,
    kinetic: Tensor,
    weights: Tensor,
    tolerance: float,
    steps: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues (K, B), eigenvectors (K, B, size) and residual norms (K, B), from a guess of B vectors.

    Each step adds the preconditioned residuals of the bands that need it to the space in which the operator is
    diagonalized (Davidson, J. Comput. Phys. 17, 87 (1975)). A band needs it while its residual norm times its
    weight (K, B) exceeds the tolerance. kinetic (K, size), hartree, is for the preconditioner.
    """
    bands = vectors.shape[1]
    space, images = vectors, operator(vectors)
    matrix, overlap = space.conj() @ images.mT, space.conj() @ space.mT
    for step in range(steps + 1):
        values, turn = rayleigh_ritz(matrix, overlap, bands)
        turn = turn.mT.to(space.dtype)
        vectors, image = turn @ space, turn @ images
        residuals = image - values[..., None].to(image.dtype) * vectors
        norms = torch.linalg.vector_norm(residuals, dim=-1).double()
        urgency = norms * weights
        count = int((urgency > tolerance).sum(1).max())
        if step == steps or count == 0:
            return values, vectors, norms
        chosen = torch.topk(urgency, count, dim=1).indices[..., None].expand(-1, -1, vectors.shape[2])
        new = precondition(residuals.gather(1, chosen), vectors.gather(1, chosen), kinetic)
        new = new - (new @ vectors.mH) @ vectors
        new = new / torch.linalg.vector_norm(new, dim=-1, keepdim=True)
        space = torch.cat([space, new], 1)
        new_images = operator(new)
        images = torch.cat([images, new_images], 1)
        matrix = bordered(matrix, space.conj() @ new_images.mT)
        overlap = bordered(overlap, space.conj() @ new.mT)
    raise AssertionError("unreachable: the last step returns")


def rayleigh_ritz(matrix: Tensor, overlap: Tensor, bands: int) -> tuple[Tensor, Tensor]:
    """Lowest solutions of  matrix u = e overlap u: values (K, bands) and columns u (K, M, bands), in double."""
    matrix, overlap = ((m + m.mH).to(_double(m.dtype)) / 2 for m in (matrix, overlap))
    scale, axes = torch.linalg.eigh(overlap)
    # Directions that rounding cannot tell from zero are sent to the top of the spectrum.
    faint = scale < 1e-5 * scale[:, -1:]
    axes = axes * torch.where(faint, 0, scale.clamp_min(1e-12).rsqrt())[:, None]
    reduced = axes.mH @ matrix @ axes + torch.diag_embed(torch.where(faint, 1e6, 0.0).to(axes.dtype))
    values, turn = torch.linalg.eigh(reduced)
    return values[:, :bands], axes @ turn[..., :bands]


def bordered(matrix: Tensor, columns: Tensor) -> Tensor:
    """The Hermitian matrix with new last columns (K, M + m, m), and rows to match."""
    old = matrix.shape[-1]
    return torch.cat([torch.cat([matrix, columns[:, :old]], 2), columns.mH], 1)


def precondition(residuals: Tensor, vectors: Tensor, kinetic: Tensor) -> Tensor:
    """Damp what a short wave's kinetic energy overstates: Teter, Payne, Allan, Phys. Rev. B 40, 12255 (1989)."""
    kinetic = kinetic[:, None].to(vectors.real.dtype)
    x = kinetic / (vectors.abs().square() * kinetic).sum(-1, keepdim=True)
    top = 27 + 18 * x + 12 * x**2 + 8 * x**3
    return residuals * (top / (top + 16 * x**4))


def _double(dtype: torch.dtype) -> torch.dtype:
    return torch.complex128 if dtype.is_complex else torch.float64
