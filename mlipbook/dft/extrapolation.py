"""A start for the next step of molecular dynamics, or of a relaxation, from the steps before it.

What changes with the atoms in a known way is taken out before extrapolating: of the density the free atoms'
part, of the orbitals the rotation among them (Arias, Payne, Joannopoulos, Phys. Rev. Lett. 69, 1077 (1992)).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mlipbook.dft.basis import transplanted
from mlipbook.dft.energy import DensityBasis
from mlipbook.dft.hamiltonian import Nuclei
from mlipbook.dft.scf import Settings, Solution, of_free_atoms

FAR = 0.6  # bohr: atoms that moved farther than this in a step are not the next step of anything
STRAINED = 0.02  # and neither is a cell that strained more than this


def extrapolated(nuclei: Nuclei, settings: Settings, earlier: list[Solution]) -> Solution | None:
    """A start for these atoms from earlier solutions, at most two, oldest first; None if they do not help."""
    earlier = [solution for solution in earlier if _follows(nuclei, settings, solution)]
    if not earlier:
        return None
    *before, last = earlier
    before = [solution for solution in before if solution.settings.k_at_once == last.settings.k_at_once]
    mixed, vectors = deformation(last), last.vectors
    for past in before:
        mixed = 2 * mixed - transplanted(deformation(past), past.basis.soft, last.basis.soft)
        blocks = zip(last.waves, past.waves, vectors, past.vectors, strict=True)
        vectors = [2 * now - aligned(mine.adopt(theirs, old), now) for mine, theirs, now, old in blocks]
    basis = DensityBasis.make(nuclei.cell, settings.cutoff, settings.density_cutoff)
    mixed = of_free_atoms(nuclei, basis) + transplanted(mixed, last.basis.soft, basis.soft)
    return replace(last, mixed=mixed, basis=basis, vectors=vectors)


def deformation(solution: Solution) -> Tensor:
    """N(G) without that of free atoms."""
    return solution.mixed - of_free_atoms(solution.nuclei, solution.basis)


def aligned(old: Tensor, now: Tensor) -> Tensor:
    """The orbitals `old` (K, bands, size), turned among themselves to resemble `now`: by the polar factor of
    the overlaps, the unitary matrix nearest to them."""
    left, _, right = torch.linalg.svd(now @ old.mH, full_matrices=False)
    return (left @ right) @ old


def _follows(nuclei: Nuclei, settings: Settings, solution: Solution) -> bool:
    """Whether a solution is of the same atoms and settings, a small step away."""
    other, same = solution.nuclei, solution.settings
    if len(other.species) != len(nuclei.species) or not torch.equal(other.species, nuclei.species):
        return False
    if not torch.equal(same.k, settings.k) or (same.bands, same.cutoff) != (settings.bands, settings.cutoff):
        return False
    step = nuclei.fractional - other.fractional
    step = (step - torch.round(step)) @ nuclei.cell
    strain = torch.linalg.solve(other.cell, nuclei.cell) - torch.eye(3).to(nuclei.cell)
    return float(torch.linalg.norm(step, dim=1).max()) < FAR and float(strain.abs().max()) < STRAINED
