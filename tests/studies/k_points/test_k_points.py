"""The study of chapter 1: free electrons against sums and integrals done otherwise, pairing of frames."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlipbook.studies.k_points import free_electrons
from mlipbook.studies.k_points import labels as k_points
from mlipbook.units import GPa, Ry

KT = 0.01 * Ry


def test_pressure_of_free_electrons_is_minus_dF_dV():
    edge, h = 17.0, 1e-4
    F = [free_electrons.gas(128, edge + x, 2, 0.5, KT).free_energy for x in (-h, h)]
    V = [(edge + x) ** 3 for x in (-h, h)]
    got = free_electrons.gas(128, edge, 2, 0.5, KT).pressure
    assert got == pytest.approx(-(F[1] - F[0]) / (V[1] - V[0]), rel=1e-6)


def test_mesh_of_a_box_is_the_gamma_point_of_a_larger_box():
    small = free_electrons.gas(16, 8.5, 2, 0.0, KT)
    large = free_electrons.gas(128, 17.0, 1, 0.0, KT)
    assert large.free_energy == pytest.approx(8 * small.free_energy, rel=1e-12)
    assert large.pressure == pytest.approx(small.pressure, rel=1e-12)


def test_error_of_a_mesh_does_not_depend_on_how_the_larger_cell_is_described():
    small, large = (
        free_electrons.mesh_error(2, 4.25, 8, 0.5, KT),
        free_electrons.mesh_error(128, 17.0, 2, 0.5, KT),
    )
    assert small == pytest.approx(large, abs=1e-6)
    assert abs(large[0]) > 4e-4


def test_sum_over_translations_is_the_error_of_the_gamma_point():
    edge, kT = 17.0, 2 * KT
    mu = free_electrons.converged_gas(128, edge, kT).fermi_level
    grand = {}
    for mesh, shift in ((1, 0.0), (8, 0.5)):
        levels, states = free_electrons._levels(edge, mesh, shift, mu + 40 * kT)
        grand[mesh] = -kT * (states @ np.logaddexp(0, (mu - levels) / kT))
    shells = free_electrons.shells(5)
    terms = [len(m) * free_electrons.shell_energy(edge * np.sqrt(n), edge, mu, kT) for n, m in shells.items()]
    assert sum(terms) == pytest.approx(grand[1] - grand[8], abs=2e-3)
    assert abs(terms[0]) > 0.05


def test_errors_of_fine_meshes_follow_from_the_translations_that_they_keep():
    exact = {m: free_electrons.mesh_error(128, 17.0, *m, KT)[0] for m in ((2, 0.0), (2, 0.5))}
    for m, error in exact.items():
        assert free_electrons.from_translations(128, 17.0, *m, KT) == pytest.approx(error, rel=0.05)
    odd = (exact[2, 0.0] - exact[2, 0.5]) / 2  # what changes sign with the shift
    assert abs(odd) > 0.1 * exact[2, 0.5]


def test_shells_are_those_of_the_simple_cubic_lattice():
    found = free_electrons.shells(3)
    assert [len(m) for m in found.values()] == [6, 12, 8, 6, 24, 24, 12, 30]
    assert list(found) == [1, 2, 3, 4, 5, 6, 8, 9]


def frame(name, phase, energy, force, stress, edge=8.6):
    info = {"frame": name, "phase": phase}
    atoms = Atoms("Na2", [[0, 0, 0], [4, 4, 4]], cell=[edge] * 3, pbc=True, info=info)
    stress = np.array(stress, float) * GPa
    forces = [[force, 0, 0], [-force, 0, 0]]
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=stress)
    return atoms


def settings():
    zero = [0.0] * 6
    a, b = [], []
    for k in range(4):
        phase = "solid" if k < 2 else "liquid"
        b.append(frame(f"f{k}", phase, -1.0, 0.0, zero))
        energy, pressure = -1.0 + 2e-3 * (k + 1), -0.1 * (k + 1)
        a.append(frame(f"f{k}", phase, energy, 0.003 * 3**0.5, [pressure, pressure, pressure, 0, 0, 0.6]))
    return {"Gamma": [*reversed(a), frame("alone", "solid", 0, 0, zero)], "4k": b}


def test_frames_are_paired_by_name_and_differences_have_their_units():
    found = k_points.compare(*settings().values())
    assert found.frames == ["f0", "f1", "f2", "f3"]
    np.testing.assert_allclose(found.values["energy"], [1, 2, 3, 4], atol=1e-9)
    np.testing.assert_allclose(found.values["pressure"], [0.1, 0.2, 0.3, 0.4], atol=1e-9)
    np.testing.assert_allclose(found.values["force (RMS)"], 3.0, atol=1e-9)
    np.testing.assert_allclose(found.values["deviatoric stress (RMS)"], 0.6 / 6**0.5, atol=1e-9)


def test_records_hold_means_standard_errors_and_the_shift_between_phases():
    found = k_points.records(settings())
    solid = found["Gamma minus 4k, solid: energy"]
    assert (solid["value"], solid["n"], solid["unit"]) == (pytest.approx(1.5), 2, "meV/atom")
    assert solid["sem"] == pytest.approx(0.5)
    shift = found["Gamma minus 4k, liquid minus solid: energy"]
    assert (shift["value"], shift["sem"]) == (pytest.approx(2.0), pytest.approx(0.5**0.5))
    beyond = found["Gamma minus 4k, liquid minus solid: energy beyond free electrons"]
    assert beyond["value"] == pytest.approx(2.0)  # all frames have one volume


def test_phase_with_one_common_frame_is_left_out():
    sets = settings()
    sets["4k"] = sets["4k"][:3]
    found = k_points.records(sets)
    assert found["Gamma minus 4k, solid: energy of free electrons"]["n"] == 2
    assert not any("liquid" in name for name in found)
    assert k_points.records(sets | {"32k": sets["Gamma"][-1:]}) == found


def test_different_structures_of_one_name_are_refused():
    sets = settings()
    sets["4k"][1].positions[0, 0] += 0.01
    with pytest.raises(ValueError, match="f1.*different structures"):
        k_points.compare(sets["Gamma"], sets["4k"])
    sets["4k"][1] = frame("f1", "solid", 0, 0, [0] * 6) * 2
    sets["4k"][1].info["frame"] = "f1"
    with pytest.raises(ValueError, match="f1.*different structures"):
        k_points.compare(sets["Gamma"], sets["4k"])
    with pytest.raises(ValueError, match="no frame has a namesake"):
        k_points.compare(sets["Gamma"], sets["4k"][:0])


@pytest.fixture(scope="module")
def bundled():
    return k_points.bundled()


def test_free_electrons_explain_most_of_the_pressure_difference_of_the_bundled_labels(bundled):
    found = k_points.compare(bundled["Gamma"], bundled["4k"])
    assert len(found.frames) > 150
    free = k_points.without_atoms(found, "Gamma", "4k")["pressure"]
    apart, dense = abs(found.values["pressure"] / free - 1), found.edges**3 < 45 * 128
    assert apart[dense].max() < 0.12 and apart[~dense].min() > 0.2  # not so in liquids of low density


def test_bundled_cells_are_cubic_and_selected_by_their_temperature(bundled):
    cells = np.array([atoms.cell.array for frames in bundled.values() for atoms in frames])
    assert abs(cells - cells[:, :1, :1] * np.eye(3)).max() < 1e-8
    near = k_points.at_temperatures(bundled, 300, 400)
    assert {a.info["md_temperature_K"] for a in near["4k"]} == {300, 350, 400}
    assert len(near["4k"]) < len(bundled["4k"])


def test_finer_meshes_agree_better_on_the_difference_of_the_phases(bundled):
    found = k_points.table(k_points.at_temperatures(bundled, *k_points.MELTING))
    few, many = (found[f"{a}, liquid minus solid: energy"] for a in ("Gamma minus 4k", "32k minus 8k"))
    assert -1.9 < few["value"] < -1.0 and few["sem"] < 0.25 and few["n"] == 84
    assert abs(many["value"]) < 0.1 and many["sem"] < 0.02 and many["n"] == 10
