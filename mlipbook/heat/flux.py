"""Heat flux of a potential, for the three definitions of the atomic virial (Eq. 11-14)."""

from __future__ import annotations

import numpy as np
import torch
from ase.data import atomic_numbers
from torch import Tensor

from mlipbook.checks import element
from mlipbook.fast.choice import fast
from mlipbook.potentials import Definition, Potential
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
