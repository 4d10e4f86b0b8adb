"""What windows start from: a crystal and the springs that suit it, a fluid of soft spheres."""

from __future__ import annotations

import os
from pathlib import Path as Folder

from ase import Atoms

from mlipbook.dynamics import Langevin, Limits, thermalize
from mlipbook.dynamics.state import repeated
from mlipbook.free_energy.replicas import LIQUID, SEEDS, PhaseChange, refuse_fixed, refuse_time_step
from mlipbook.observables import steinhardt
from mlipbook.potentials import Potential
from mlipbook.potentials.contract import placed
from mlipbook.structures import Structures
from mlipbook.units import fs, kB

HEAT = 4.0  # times the temperature, where soft spheres melt: their y falls by a factor of sqrt(2)


def one_box(structures: Structures | Atoms) -> tuple[Structures, float]:
    """The structure, its atoms' mass (amu); ValueError for several structures, kinds, masses, and fixed
    atoms.
    """
    if isinstance(structures, Atoms):
        structures = Structures.from_ase(structures)
    if len(structures) > 1:
        raise ValueError(f"{len(structures)} structures: give one, which all windows start from")
    if len(kinds := set(structures.symbols)) > 1:
        raise ValueError(
            f"atoms of {', '.join(sorted(kinds))}: free energies are of one kind of atoms; mixtures also "
            "have an entropy of mixing and springs of several kinds"
        )
    refuse_fixed(structures)
    return structures, structures.mass_of(structures.symbols[0])


def measured_spring(
    potential: Potential,
    structures: Structures,
    temperature: float,
    timestep: float,
    *,
    factor: float = 1.5,
    steps: int = 1500,
    replicas: int = 4,
    seed: int = 0,
    store: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> float:
    """factor * 3 kT/<u^2>, eV/A^2, from a short run that starts at the sites and holds their center.

    The soft modes of a crystal make <u^2> large; a spring 1.3-1.6 times stiffer keeps the variance low.
    Raises ValueError for a time step that the lightest atom does not allow.
    """
    refuse_time_step(timestep, structures.masses)
    potential = placed(potential, structures.positions.device)
    masses = structures.masses

    def mean_square(state):  # type: ignore[no-untyped-def]
        u = state.structures.positions - structures.positions
        u = u - (masses[:, None] * u).sum(1, keepdim=True) / masses.sum()
        return u.square().sum(-1).mean(-1)

    state = thermalize(repeated(structures, replicas), temperature, SEEDS * seed + SEEDS // 2)
    run = Langevin(potential, timestep, temperature).run
    found = run(state, steps, {"u2": mean_square}, store=store, limits=Limits(closest=0.0), progress=progress)
    late = found.observed["u2"][len(found.time) // 3 :]
    return factor * 3 * kB * temperature / float(late.mean())


def melted(
    core: Potential,
    structures: Structures,
    temperature: float,
    timestep: float,
    seed: int,
    store: str | os.PathLike[str] | None,
    progress: bool,
    steps: int = 1000,
) -> Structures:
    """The structure after some time as hot soft spheres, then as such at this temperature.

    A superheated crystal of soft spheres outlives thousands of steps, and what is left of it grows again near
    lambda = 1: heat makes it a liquid first. Raises PhaseChange if it is none.
    """
    for part, (factor, finer) in enumerate(((HEAT, 0.5), (1.0, 1.0))):
        state = thermalize(structures, factor * temperature, SEEDS * seed + SEEDS // 2 + part)
        run = Langevin(core, finer * timestep, factor * temperature).run
        folder = Folder(store) / "melt" / f"{factor:g}" if store is not None else None
        limits = Limits(closest=0.0)
        structures = run(state, steps, limits=limits, store=folder, progress=progress).state.structures
    q6 = float(steinhardt(structures)[0])
    if q6 > LIQUID / structures.n_atoms**0.5:
        raise PhaseChange(
            f"soft spheres are no liquid after {1.5 * steps * timestep / fs / 1000:.0f} ps, Q6 = {q6:.2f}: "
            "start from a disordered structure"
        )
    return structures
