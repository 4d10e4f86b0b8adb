"""The two references of free energies: atoms on springs, and atoms that do not interact."""

from __future__ import annotations

import torch
from torch import Tensor

from mlipbook.checks import positive
from mlipbook.neighbors import Edges
from mlipbook.potentials.contract import Base, Definition
from mlipbook.potentials.edge import Evaluation, volumes_of
from mlipbook.structures import Structures


class Einstein(Base):
    """Atoms on springs, U = spring/2 sum |r - site|^2: the reference of crystals.

    sites: (B, N, 3) angstrom, or (1, N, 3) for all structures; positions must not be wrapped. spring: eV/A^2.
    The sites are fixed in the cell and move with it under strain: the virials are -spring u (x) u, whatever
    their definition. Raises ValueError for springs that are not positive.
    """

    cutoff = 1.0  # A; it has no use for neighbors
    sites: Tensor
    spring: Tensor

    def __init__(self, sites: Tensor, spring: float):
        super().__init__()
        spring = positive(spring, "spring", "in eV/A^2")
        if sites.ndim != 3 or not bool(torch.isfinite(sites).all()):
            raise ValueError(f"sites {tuple(sites.shape)}: give finite ones, (B, N, 3)")
        self.register_buffer("spring", torch.tensor(spring, dtype=torch.float64))
        self.register_buffer("sites", sites.detach().double())

    def evaluate(
        self, structures: Structures, definition: Definition = "I", edges: Edges | None = None
    ) -> Evaluation:
        """Shapes as in EdgePotential.evaluate. Raises ValueError if the sites do not fit the structures."""
        if self.sites.shape not in ((1, *structures.positions.shape[1:]), structures.positions.shape):
            raise ValueError(
                f"sites {tuple(self.sites.shape)} for positions {tuple(structures.positions.shape)}; give "
                "one set, or one for each structure"
            )
        u = structures.positions - self.sites
        virials = -self.spring * u[..., :, None] * u[..., None, :]
        energies = self.spring / 2 * u.square().sum(-1)
        return Evaluation(energies, -self.spring * u, virials, volumes_of(structures))


class IdealGas(Base):
    """No interaction: the reference of fluids."""

    cutoff = 1.0  # A; it has no use for neighbors

    def evaluate(
        self, structures: Structures, definition: Definition = "I", edges: Edges | None = None
    ) -> Evaluation:
        """Zeros; shapes as in EdgePotential.evaluate."""
        none = torch.zeros_like(structures.positions)
        return Evaluation(none[..., 0], none, none[..., None].expand(*none.shape, 3), volumes_of(structures))
