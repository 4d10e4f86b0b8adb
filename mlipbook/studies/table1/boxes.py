"""Boxes of crystalline and of liquid sodium at a given volume, for free energies to start from."""

from ase import Atoms
from ase.build import bulk

from mlipbook.studies import sodium


def crystal(atoms: int, volume: float) -> Atoms:
    """bcc sodium on its lattice sites; volume in A^3 per atom. Raises ValueError unless atoms = 2 n^3."""
    cells = round((atoms / 2) ** (1 / 3))
    if 2 * cells**3 != atoms:
        raise ValueError(f"{atoms} atoms are no cube of bcc cells; give 54, 128, 250, 1024, ...")
    return bulk("Na", "bcc", a=(2 * volume) ** (1 / 3), cubic=True) * (cells, cells, cells)


def liquids(number: int, volume: float, temperature: float) -> list[Atoms]:
    """Labeled liquids of 128 atoms, those of the nearest temperatures first, brought to this volume."""
    nearest = sodium.liquids(temperature)
    found = []
    for atoms in (nearest[b % len(nearest)].copy() for b in range(number)):
        atoms.set_cell(atoms.cell * (volume * len(atoms) / atoms.cell.volume) ** (1 / 3), scale_atoms=True)
        found.append(atoms)
    return found


def melt(atoms: int, volume: float, temperature: float) -> Atoms:
    """One liquid, of 128 atoms or of n^3 times as many: copies, which forget each other in a few ps.

    Soft spheres that start from a crystal keep some of its order for tens of ps, and potentials at their
    melting point would grow it again. Raises ValueError for other numbers of atoms.
    """
    copies = round((atoms / 128) ** (1 / 3))
    if 128 * copies**3 != atoms:
        raise ValueError(f"{atoms} atoms of liquid: give 128, 1024, or another cube of boxes of 128")
    return liquids(1, volume, temperature)[0] * (copies, copies, copies)


def box(phase: str, atoms: int, volume: float, temperature: float) -> Atoms:
    """One structure of so many atoms in this phase; volume in A^3 per atom."""
    return crystal(atoms, volume) if phase == "solid" else melt(atoms, volume, temperature)


def starts(phase: str, number: int, volume: float, temperature: float) -> list[Atoms]:
    """`number` boxes of 128 atoms in this phase."""
    return [crystal(128, volume)] * number if phase == "solid" else liquids(number, volume, temperature)


def heated(phase: str, temperature: float) -> float:
    """K of the first velocities: in a perfect crystal half of the heat goes into vibrations."""
    return 2 * temperature if phase == "solid" else temperature
