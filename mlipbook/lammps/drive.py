"""HNEMD of a pair potential in LAMMPS: the force of `mlipbook.heat.HeatField` out of its own variables.

    lmp = started(AgSe(), structures, velocities, "agse.table")  # of lammps.table
    lmp.commands_list([*heat_field(structures, 0.0189, 500.0), thermostat(500.0, 0.1 * ps), "timestep 0.005"])
    lmp.command("run 1000")

Pairs alone: `compute stress/atom` books half of a pair's virial at either atom, which is symmetric, so that
W_i^T F and W_i F are one.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlipbook.structures import Structures
from mlipbook.units import GPa, kB, ps

BAR = 1e-4 * GPa
KINETIC = 1 / ps**2  # eV per amu (A/ps)^2


def heat_field(
    structures: Structures, field: float, temperature: float, offsets: Mapping[str, float] | None = None
) -> list[str]:
    """Commands that drive the heat flux along x, after those of `lammps.table.started`; field: 1/A.

    temperature: K, of the last term. offsets: {element: eV} on the atomic energies, as in `heat.Shifted`. A
    fix acts between half kicks: kinetic energies are those after half a kick by the potential's forces.
    """
    N, M = structures.n_atoms, float(structures.masses.sum())
    elements, given = sorted(set(structures.symbols)), offsets or {}
    gauge = "+".join(f"(type=={k})*({given.get(z, 0.0):.17g})" for k, z in enumerate(elements, 1))
    whole = [f"(v{x}+dt*f{x}/(2*mass*{KINETIC:.17g}))^2" for x in "xyz"]
    virial = {"x": "c_virial[1]", "y": "c_virial[4]", "z": "c_virial[5]"}  # bar A^3, and minus ours
    coupled = {x: f"{field:.17g}*(-{BAR:.17g}*{virial[x]})" for x in "xyz"}
    coupled["x"] += f"+{field:.17g}*v_energy"
    last = {"x": f"+{kB * temperature * field:.17g}*(1-{N / M:.17g}*mass)", "y": "", "z": ""}
    return [
        f"variable energy atom c_pe+{0.5 * KINETIC:.17g}*mass*({'+'.join(whole)})+{gauge}",
        *(f"variable coupled{x} atom {coupled[x]}" for x in "xyz"),
        "compute coupled all reduce sum v_coupledx v_coupledy v_coupledz",
        *(f"variable total{x} equal c_coupled[{k}]" for k, x in enumerate("xyz", 1)),
        *(f"variable drive{x} atom v_coupled{x}-mass*v_total{x}/{M:.17g}{last[x]}" for x in "xyz"),
        "fix drive all addforce v_drivex v_drivey v_drivez",
    ]


def thermostat(temperature: float, time: float) -> str:
    """Command for a single Nose-Hoover thermostat (a chain misses its temperature under a field); K, internal
    time."""
    return f"fix thermostat all nvt temp {temperature} {temperature} {time / ps:.12g} tchain 1"
