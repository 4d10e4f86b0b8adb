"""Heat flux of a potential, for the three definitions of the atomic virial (Eq. 11-14)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from ase.data import atomic_numbers
from torch import Tensor

from mlipbook.checks import element
from mlipbook.fast.choice import fast
from mlipbook.neighbors import Edges
from mlipbook.potentials import Definition, Evaluation, Potential, Wrapper
from mlipbook.structures import Structures


def convective_flux(energies: Tensor, masses: Tensor, velocities: Tensor) -> Tensor:
    """sum_i (t_i + eps_i) v_i, (..., B, 3); energies (..., B, N) eV, masses (N,), velocities (B, N, 3)."""
    kinetic = 0.5 * masses * velocities.square().sum(-1)
    return torch.einsum("...bi,bia->...ba", energies + kinetic, velocities)


Vectors = Tensor | np.ndarray


def flux_parts(
    potential: Potential, structures: Structures, velocities: Vectors, definition: Definition = "I"
) -> tuple[Tensor, Tensor]:
    """The two parts of Eq. 11: convective, sum_i (t_i + eps_i) v_i, and virial, sum_i W_i v_i; (B, 3) each.
    eV A per internal time. Arguments as in `flux`, and raises what that does."""
    velocities = torch.as_tensor(velocities).to(structures.positions)
    if velocities.shape != structures.positions.shape or not bool(torch.isfinite(velocities).all()):
        raise ValueError(
            f"velocities {tuple(velocities.shape)} are not finite or do not fit positions "
            f"{tuple(structures.positions.shape)}"
        )
    result = fast(potential).evaluate(structures, definition)
    virial_part = torch.einsum("...biac,bic->...ba", result.virials, velocities)
    return convective_flux(result.energies, structures.masses, velocities), virial_part


def flux(
    potential: Potential, structures: Structures, velocities: Vectors, definition: Definition = "I"
) -> Tensor:
    """Total heat flux Omega*J = sum_i (t_i + eps_i + W_i) v_i of Eq. 11, (B, 3), eV A per ASE time unit.

    velocities: (B, N, 3) angstrom per ASE time unit. definition: "I", "II" or "III" (Eq. 12-14); only I is
    the time derivative of sum r_i E_i. A member axis stands in front if the potential has members.
    Raises ValueError for unknown definitions or species, or velocities of another shape.
    """
    return sum(flux_parts(potential, structures, velocities, definition))  # type: ignore[return-value]


def mass_current(velocities: Tensor, structures: Structures, symbol: str) -> Tensor:
    """V_z = sum of the velocities (..., N, 3) of one species, (..., 3), angstrom per ASE time unit.

    Times the mass of an atom it is the current of mass. Raises ValueError for a species that is not there.
    """
    element(symbol, "symbol", among=structures.symbols)
    return velocities[..., structures.species == atomic_numbers[symbol], :].sum(-2)


# ---- the gauge: the zero of atomic energies, which no force sees and the flux of a diffusing species does
#
# Offsets c_z per species add sum_z c_z V_z to the flux Omega*J, V_z = sum of the velocities of species z.
# With c chosen such that the cell's energy stays what it was, forces, virials and phase diagram are the same.
# A fit of total energies does not determine it (Ercole et al., J. Low Temp. Phys. 185, 79 (2016)).


class Shifted(Wrapper):
    """A potential with offsets added to its atomic energies: {element: eV}, numbers or one per replica, (B,).

    Forces and virials are those of the potential, the flux changes by sum_z c_z V_z.
    """

    offsets: Tensor

    def __init__(self, potential: Potential, offsets: Mapping[str, float | Tensor]):
        super().__init__(potential)
        self.elements = tuple(offsets)
        values = [torch.as_tensor(x, dtype=torch.float64, device=potential.device) for x in offsets.values()]
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
        for symbol, offset in zip(self.elements, self.offsets.to(energies.device), strict=True):
            own = structures.species == atomic_numbers[symbol]
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
