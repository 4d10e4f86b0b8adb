"""A committee as a batch of potentials."""

from __future__ import annotations

from torch import Tensor

from mlipbook.potentials import EdgePotential, Wrapper
from mlipbook.potentials.ann import ANNPotential
from mlipbook.structures import Structures


class MemberPerReplica(Wrapper, EdgePotential):  # type: ignore[misc,override]
    """A committee of M whose members drive replicas of their own: B = M R replicas, the first R the first's.

    One batch for many potentials, with one pass over the descriptors. Raises ValueError for another B.
    """

    potential: ANNPotential  # the committee
    members = 1

    def check(self, structures: Structures) -> None:
        self.potential.check(structures)
        if len(structures) % self.potential.members:
            raise ValueError(
                f"{len(structures)} replicas for {self.potential.members} members: give each as many"
            )

    def atomic_energies(self, vectors: Tensor, center_species: Tensor, neighbor_species: Tensor) -> Tensor:
        descriptor, repulsion = self.potential.descriptor, self.potential.repulsion
        features = descriptor.features(vectors, center_species, neighbor_species)
        energies = self.from_features(features, center_species)
        if repulsion is not None:
            energies = energies + repulsion.atomic_energies(vectors, center_species, neighbor_species)
        return energies

    def from_features(self, features: Tensor, species: Tensor) -> Tensor:
        """eps_i without repulsion, (A,) eV, from features (A, F)."""
        M = self.potential.members
        shares = features.view(M, -1, features.shape[-1])
        energies = self.potential.network_energies(shares, species.view(M, -1)[0]).flatten()
        return energies + self.potential.reference_energy(species)
