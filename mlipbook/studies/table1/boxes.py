"""Boxes of crystalline and of liquid sodium at a given volume, for free energies to start from."""

from ase import Atoms
from ase.build import bulk

from mlipbook.studies import sodium

SPRING = 0.35  # eV/A^2 of Einstein crystals, 1.5 times 3 kT/<u^2> of the crystal at 350 K; any would do


def crystal(atoms: int, volume: float) -> Atoms:
    """bcc sodium on its lattice sites; volume in A^3 per atom. Raises ValueError unless atoms = 2 n^3."""
    cells = round((atoms / 2) ** (1 / 3))
    if 2 * cells**3 != atoms:
        raise ValueError(f"{atoms} atoms are no cube of bcc cells; give 54, 128, 250, 1024, ...")
    return bulk("Na", "bcc", a=(2 * volume) ** (1 / 3), cubic=True) * (cells, cells, cells)


def starts(phase: str, number: int, volume: float, temperature: float) -> list[Atoms]:
    """`number` boxes of 128 atoms in this phase: crystals, or labeled liquids, those of the nearest
    temperatures first, brought to this volume (A^3 per atom)."""
    if phase == "solid":
        return [crystal(128, volume)] * number
    found = sodium.liquids(temperature, number)
    for atoms in found:
        atoms.set_cell(atoms.cell * (volume * len(atoms) / atoms.cell.volume) ** (1 / 3), scale_atoms=True)
    return found


def box(phase: str, atoms: int, volume: float, temperature: float) -> Atoms:
    """One structure of so many atoms in this phase; volume in A^3 per atom.

    Liquids are of 128 atoms or of n^3 times as many: copies, which forget each other in a few ps. Soft
    spheres that start from a crystal keep some of its order for tens of ps, and potentials at their melting
    point would grow it again. Raises ValueError for other numbers of atoms.
    """
    if phase == "solid":
        return crystal(atoms, volume)
    copies = round((atoms / 128) ** (1 / 3))
    if 128 * copies**3 != atoms:
        raise ValueError(f"{atoms} atoms of liquid: give 128, 1024, or another cube of boxes of 128")
    return starts(phase, 1, volume, temperature)[0] * (copies, copies, copies)


def heated(phase: str, temperature: float) -> float:
    """K of the first velocities: in a perfect crystal half of the heat goes into vibrations."""
    return 2 * temperature if phase == "solid" else temperature
