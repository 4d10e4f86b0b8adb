"""Potentials: whatever turns structures into energies, forces and virials."""

from mlipbook.potentials.close_pairs import CloserThanTrained, shortest_distances, species_pair
from mlipbook.potentials.contract import DEFINITIONS, Base, Definition, Potential, Wrapper
from mlipbook.potentials.edge import EdgePotential, Evaluation, edge_gradients, scatter
from mlipbook.potentials.ionic import AgI, AgSe, Ionic
from mlipbook.potentials.pairs import LennardJones, PairPotential, Repulsion, SoftCore
from mlipbook.potentials.references import Einstein, IdealGas, MixedEvaluation, Mixture

__all__ = ["AgI", "AgSe", "Base", "CloserThanTrained", "DEFINITIONS", "Definition", "EdgePotential"]
__all__ += ["Einstein", "Evaluation", "IdealGas", "Ionic", "LennardJones", "MixedEvaluation", "Mixture"]
__all__ += ["PairPotential", "Potential", "Repulsion", "SoftCore", "Wrapper", "edge_gradients", "scatter"]
__all__ += ["shortest_distances", "species_pair"]
