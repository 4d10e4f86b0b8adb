"""The references of free energies, atoms on springs and atoms that do not interact, and the mixture of two
potentials along which a free energy is integrated (Eq. 5)."""

from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from mlipbook.checks import positive
from mlipbook.neighbors import Edges
from mlipbook.potentials.contract import Base, Definition, Distances, Potential, Wrapper
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


@dataclass(frozen=True)
class MixedEvaluation(Evaluation):
    """Of a `Mixture`; difference: dU/dlambda = U_a - U_b (Eq. 4-5), (B,) eV."""

    difference: Tensor


class Mixture(Wrapper):
    """U(lambda) = lambda U_a + (1 - lambda) U_b (Eq. 5). lam: a number, or (B,) one per structure. It knows
    no shortest distances: where lambda is small, atoms come closer than a was trained for.
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
        """Both potentials, mixed; shapes and errors as in EdgePotential.evaluate. Raises ValueError if there
        are several lambdas, but not one for each structure.
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
