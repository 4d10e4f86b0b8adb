"""A mixture of two potentials, along which a free energy is integrated (Eq. 5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mlipbook.neighbors import Edges
from mlipbook.potentials.edge import EdgePotential, Evaluation
from mlipbook.potentials.references import Einstein, IdealGas
from mlipbook.structures import Structures

Potential = EdgePotential | Einstein | IdealGas


@dataclass(frozen=True)
class MixedEvaluation(Evaluation):
    """Of a `Mixture`; difference: dU/dlambda = U_a - U_b (Eq. 4-5), (B,) eV."""

    difference: Tensor


class Mixture(nn.Module):
    """U(lambda) = lambda U_a + (1 - lambda) U_b (Eq. 5). lam: a number, or (B,) one per structure."""

    cutoff: float
    lam: Tensor

    def __init__(self, a: Potential | Mixture, b: Potential | Mixture, lam: float | Tensor):
        super().__init__()
        self.a, self.b, self.cutoff = a, b, max(a.cutoff, b.cutoff)
        self.register_buffer("lam", torch.as_tensor(lam, dtype=torch.float64))

    def evaluate(
        self, structures: Structures, definition: str = "I", edges: Edges | None = None
    ) -> MixedEvaluation:
        """Both potentials, mixed; shapes and errors as in EdgePotential.evaluate.

        Raises ValueError if there are several lambdas, but not one for each structure.
        """
        if self.lam.ndim and self.lam.shape != (len(structures),):
            raise ValueError(
                f"{tuple(self.lam.shape)} lambdas for {len(structures)} structures; give one each"
            )
        a, b = (potential.evaluate(structures, definition, edges) for potential in (self.a, self.b))

        def mix(x: Tensor, y: Tensor, extra: int) -> Tensor:
            weight = self.lam.view(-1, *[1] * (extra + 1)) if self.lam.ndim else self.lam
            return weight * x + (1 - weight) * y

        return MixedEvaluation(
            mix(a.energies, b.energies, 0),
            mix(a.forces, b.forces, 1),
            mix(a.virials, b.virials, 2),
            a.volumes,
            a.energy - b.energy,
        )
