"""A committee as a batch of potentials."""

from torch import Tensor

from mlipbook.potentials.ann import ANNPotential
from mlipbook.potentials.contract import Wrapper, forwarded
from mlipbook.potentials.edge import EdgePotential
from mlipbook.structures import Structures


class MemberPerReplica(Wrapper, EdgePotential):  # type: ignore[misc]
    """A committee of M whose members drive replicas of their own: B = M R replicas, the first R the first's.

    One batch for many potentials, with one pass over the descriptors. Raises ValueError for another B.
    """

    potential: ANNPotential  # the committee
    members = 1
    descriptor = forwarded("descriptor")
    repulsion = forwarded("repulsion")
    atomic_energies = ANNPotential.atomic_energies  # type: ignore[assignment]

    def check(self, structures: Structures) -> None:
        self.potential.check(structures)
        B, M = len(structures), self.potential.members
        if B % M:
            raise ValueError(f"{B} replicas for {M} members: give each as many")

    def from_features(self, features: Tensor, species: Tensor) -> Tensor:
        """eps_i without repulsion, (A,) eV, from features (A, F)."""
        M = self.potential.members
        shares = features.view(M, -1, features.shape[-1])
        energies = self.potential.network_energies(shares, species.view(M, -1)[0]).flatten()
        return energies + self.potential.reference_energy(species)
