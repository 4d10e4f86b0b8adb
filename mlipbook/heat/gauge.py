"""The zero of atomic energies, which no force sees and the heat flux of a diffusing species does.

Offsets c_z per species add sum_z c_z V_z to the flux Omega*J, V_z = sum of the velocities of species z. With
c chosen such that the cell's energy stays what it was, forces, virials and phase diagram are the same: a
gauge. A fit of total energies does not determine it (Ercole et al., J. Low Temp. Phys. 185, 79 (2016)).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from ase.data import atomic_numbers
from torch import Tensor

from mlipbook.neighbors import Edges
from mlipbook.potentials import Definition, Evaluation, Potential, Wrapper
from mlipbook.structures import Structures


class Shifted(Wrapper):
    """A potential with offsets added to its atomic energies: {element: eV}, numbers or one per replica, (B,).

    Forces and virials are those of the potential, the flux changes by sum_z c_z V_z.
    """

    offsets: Tensor

    def __init__(self, potential: Potential, offsets: Mapping[str, float | Tensor]):
        super().__init__(potential)
        self.elements = tuple(offsets)
        values = [torch.as_tensor(x, dtype=torch.float64) for x in offsets.values()]
        self.register_buffer("offsets", torch.stack(torch.broadcast_tensors(*values)))

    def evaluate(
        self, structures: Structures, definition: Definition = "I", edges: Edges | None = None
    ) -> Evaluation:
        """Shapes and errors as of the potential; ValueError for offsets that are not one for each replica, or
        of an element that is not there.
        """
        if not set(self.elements) <= set(structures.symbols):
            raise ValueError(f"offsets for {', '.join(self.elements)}: not all of these are among the atoms")
        B = len(structures)
        if self.offsets.ndim == 2 and self.offsets.shape[1] != B:
            raise ValueError(f"{self.offsets.shape[1]} offsets for {B} structures; give one each")
        result = self.potential.evaluate(structures, definition, edges)
        energies = result.energies
        for element, offset in zip(self.elements, self.offsets, strict=True):
            own = structures.species == atomic_numbers[element]
            energies = energies + torch.where(own, offset[..., None], 0)
        return replace(result, energies=energies)


def without_enthalpy(structures: Structures, element: str, h: float | Tensor) -> dict[str, Tensor]:
    """Offsets {element: eV} of a binary compound that take h (eV) off the heat that goes with a current of
    `element`, and leave the energy of these structures as it is.

    At zero total momentum V_b = -(m_a/m_b) V_a, so that offsets (c, -c N_a/N_b) add g c V_a to the flux,
    g = 1 + N_a m_a/(N_b m_b): c = -h/g. Raises ValueError unless there are two species, one the given,
    each of one mass.
    """
    present = sorted(set(structures.symbols))
    if len(present) != 2 or element not in present:
        found = ", ".join(present)
        raise ValueError(f"{found}: a gauge by the current of {element} needs it and one more species")
    [other] = {*present} - {element}
    own = structures.species == atomic_numbers[element]
    ratio = float(own.sum()) / float((~own).sum())
    mass = structures.mass_of(element) / structures.mass_of(other)
    c = -torch.as_tensor(h, dtype=torch.float64) / (1 + ratio * mass)
    return {element: c, other: -ratio * c}
