"""Any mlipbook potential as an ASE calculator."""

from itertools import chain
from typing import Any

from ase import Atoms
from ase.calculators import calculator as ase_calculator
from ase.stress import full_3x3_to_voigt_6_stress
from torch import nn

from mlipbook import neighbors
from mlipbook.checks import not_negative
from mlipbook.fast.choice import fast
from mlipbook.neighbors import Edges
from mlipbook.potentials import Potential
from mlipbook.structures import Structures, has_stress


class Calculator(ase_calculator.Calculator):
    """ASE calculator: energy, free_energy, energies (eV), forces (eV/A), stress, stresses (eV/A^3).

    A committee gives its mean; its standard deviations are in `spread`, "energy" (eV) and "forces" (N, 3)
    (eV/A), apart from the results, which ASE's writers and SinglePointCalculator take as they are. The
    potential's fastest form computes (`fast`). The neighbor list is kept while atoms move less than the skin
    (angstrom) allows. Slabs and rods have stress as well (`structures.has_stress`), clusters have none.
    Raises ValueError as the potential does.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress", "stresses"]

    def __init__(self, potential: Potential, skin: float = 0.8, **kwargs: Any):
        super().__init__(**kwargs)
        self.potential, self.skin = potential, not_negative(skin, "skin", "in angstrom")
        self.fast = fast(potential)
        self.edges: Edges | None = None
        self.spread: dict[str, Any] = {}  # of the last structure
        self.of: list[Any] | None = None  # the potential's tensors when it computed

    def identified_by(self) -> Any:
        """What `archive.identity` knows it by: the neighbor list is no part of it."""
        return "Calculator", self.potential

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """As of ASE's calculators (tol: angstrom); of a potential fitted since, everything changed."""
        changed = self.of != versions(self.potential)
        return list(ase_calculator.all_changes) if changed else super().check_state(atoms, tol)

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """As of ASE's calculators; of a committee "energy_spread" and "forces_spread", too."""
        quantity, _, spread = name.partition("_")
        if spread != "spread" or self.potential.members == 1:
            return super().get_property(name, atoms, allow_calculation)
        found = super().get_property(quantity, atoms, allow_calculation)
        return None if found is None else self.spread[quantity]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = ase_calculator.all_changes,
    ) -> None:
        super().calculate(atoms, properties or ["energy"], system_changes)
        self.of = versions(self.potential)
        structures = Structures.from_ase(self.atoms, device=self.potential.device or "cpu")
        if self.edges is None or "numbers" in system_changes or not self.edges.cover(structures):
            self.edges = neighbors.build(structures, self.potential.cutoff, self.skin)
        result = self.fast.evaluate(structures, edges=self.edges)
        energies, forces, virials = (x.cpu() for x in (result.energies, result.forces, result.virials))
        if energies.ndim == 3:
            self.spread = {"energy": float(energies.sum(-1).std(0)), "forces": forces.std(0)[0].numpy()}
            energies, forces, virials = (x.mean(0) for x in (energies, forces, virials))
        energy = float(energies.sum())
        self.results |= {"energy": energy, "free_energy": energy, "energies": energies[0].numpy()}
        self.results["forces"] = forces[0].numpy()
        if has_stress(self.atoms):
            stresses = -virials[0] / float(structures.volumes[0])
            self.results["stress"] = full_3x3_to_voigt_6_stress(stresses.sum(0).numpy())
            self.results["stresses"] = full_3x3_to_voigt_6_stress(stresses.numpy())


def versions(potential: Potential) -> list[tuple[int, int]]:
    """What changes with the tensors of a potential."""
    tensors = chain(potential.parameters(), potential.buffers()) if isinstance(potential, nn.Module) else ()
    return [(x.data_ptr(), x._version) for x in tensors]
