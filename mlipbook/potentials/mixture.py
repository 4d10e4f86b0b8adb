"""A mixture of two potentials, along which a free energy is integrated (Eq. 5)."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from mlipbook.neighbors import Edges
from mlipbook.potentials.contract import Definition, Distances, Potential, Wrapper
from mlipbook.potentials.edge import Evaluation
from mlipbook.structures import Structures


@dataclass(frozen=True)
class MixedEvaluation(Evaluation):
    """Of a `Mixture`; difference: dU/dlambda = U_a - U_b (Eq. 4-5), (B,) eV."""

    difference: Tensor


class Mixture(Wrapper):
    """U(lambda) = lambda U_a + (1 - lambda) U_b (Eq. 5). lam: a number, or (B,) one per structure.

    It knows no shortest distances: where lambda is small, atoms come closer than a was trained for.
    """

    within = ("potential", "reference")
    lam: Tensor
    shortest: Distances = MappingProxyType({})

    def __init__(self, a: Potential, b: Potential, lam: float | Tensor):
        super().__init__(a)
        self.reference = b
        self.register_buffer("lam", torch.as_tensor(lam, dtype=torch.float64))

    @property
    def cutoff(self) -> float:
        return max(self.potential.cutoff, self.reference.cutoff)

    @property
    def members(self) -> int:
        return max(self.potential.members, self.reference.members)

    @property
    def species(self) -> tuple[str, ...] | None:
        a, b = self.potential.species, self.reference.species
        return b if a is None else a if b is None else tuple(s for s in a if s in b)

    @property
    def device(self) -> torch.device | None:
        return self.potential.device or self.reference.device

    def evaluate(
        self, structures: Structures, definition: Definition = "I", edges: Edges | None = None
    ) -> MixedEvaluation:
        """Both potentials, mixed; shapes and errors as in EdgePotential.evaluate.

        Raises ValueError if there are several lambdas, but not one for each structure.
        """
        if self.lam.ndim and self.lam.shape != (len(structures),):
            raise ValueError(
                f"{tuple(self.lam.shape)} lambdas for {len(structures)} structures; give one each"
            )
        both = (self.potential, self.reference)
        a, b = (potential.evaluate(structures, definition, edges) for potential in both)
        lam = self.lam[..., None]  # (B, 1), or (1,), and more axes of size one:
        weights = {"energies": lam, "forces": lam[..., None], "virials": lam[..., None, None]}
        mixed = {name: x * getattr(a, name) + (1 - x) * getattr(b, name) for name, x in weights.items()}
        return MixedEvaluation(**mixed, volumes=a.volumes, difference=a.energy - b.energy)
