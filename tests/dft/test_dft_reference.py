"""Plane-wave DFT agrees with Quantum ESPRESSO to 0.1 meV/atom, 1 meV/A and 0.002 GPa.

The two codes share the pseudopotential's file and the settings, and nothing else.
"""

import json

import numpy as np
import pytest
import torch
from dft_cases import DATA, computed, differences, references

from mlipbook.units import GPa, Ry

no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=no_gpu)])
ENERGY, FORCE, STRESS = 0.1, 1.0, 0.002  # meV/atom, meV/A, GPa


@pytest.mark.slow
@devices
def test_two_atoms_with_32_k_points_agree_term_by_term(device):
    """Energy 5e-5 eV, forces 1e-4 eV/A, terms 1e-5 eV, eigenvalues and Fermi level as printed, 1e-4 eV."""
    pw = json.loads((DATA / "na2_ref.json").read_text())
    [theirs] = references("na2.xyz")
    ours = computed(theirs, device, ecut=20 * Ry, kpts=(4, 4, 4), shift=(1, 1, 1), bands=10, tolerance=1e-9)
    energy, force, stress = differences(ours, theirs)
    assert 1e-3 * energy * len(ours) < 5e-5
    assert 1e-3 * force < 1e-4
    assert stress < 2e-4  # pw.x prints 1.5e-4
    terms = {f"{name}_eV": pw[f"{name}_Ry"] * Ry for name in ("hartree", "xc", "ewald", "minus_TS")}
    terms["one_electron_eV"] = pw["one_electron_Ry"] * Ry
    report = ours.calc.report
    report["one_electron_eV"] = sum(report[f"{name}_eV"] for name in ("kinetic", "local", "nonlocal"))
    for name, value in terms.items():
        assert report[name] == pytest.approx(value, abs=1e-5), name
    assert report["fermi_level_eV"] == pytest.approx(pw["fermi_eV"], abs=1e-4)
    solution = ours.calc.solutions[-1]
    assert report["k_points"] == len(pw["kpoints"])
    # Of the pair k, -k the two codes may keep different ones: compare the spectrum as a whole.
    filled = solution.eigenvalues.cpu().numpy() * 2 * Ry
    found = np.sort(filled[filled < pw["fermi_eV"] + 1])
    expected = np.array([k["eigenvalues_eV"] for k in pw["kpoints"]])
    expected = np.sort(expected[expected < pw["fermi_eV"] + 1])
    assert len(found) == len(expected) > 50
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.slow
@devices
@pytest.mark.parametrize("name", ["A", "B"])
@pytest.mark.parametrize("ecut, ecut_density", [(20, 80), (10, 50)])
def test_sixteen_atoms(name, ecut, ecut_density, device):
    """Against pw.x with all bands converged alike (diago_full_acc).

    B's highest band holds 0.013 electrons. By default pw.x leaves such bands with residuals of the order of
    1e-5 Ry; the next test shows what that does to its numbers.
    """
    info = {"name": name, "ecutwfc_Ry": ecut, "ecutrho_Ry": ecut_density}
    [theirs] = references("na16_full_accuracy.xyz", **info)
    settings = {"ecut": ecut * Ry, "ecut_density": ecut_density * Ry, "bands": 16, "tolerance": 1e-8 * Ry}
    ours = computed(theirs, device, **settings)
    energy, force, stress = differences(ours, theirs)
    assert energy < 1e-4 and force < 0.2 and stress < 1e-3
    # The same with pw.x by default. The stress of B does not agree: there pw.x differs from itself.
    [default] = references("na16_cutoff.xyz", **info)
    energy, force, stress = differences(ours, default)
    assert energy < ENERGY and force < FORCE
    if name == "A":
        assert stress < STRESS
    else:
        of_pw = np.abs(theirs.get_stress() - default.get_stress()).max() / GPa
        assert of_pw > STRESS
        assert ours.get_potential_energy() < default.get_potential_energy()  # both are variational


@pytest.mark.slow
@devices
@pytest.mark.parametrize("name", ["solid1", "liquid1"])
def test_gamma_point_of_128_atoms(name, device):
    [theirs] = references("na128_gamma.xyz", name=name)
    ours = computed(theirs, device, ecut_density=50 * Ry, bands=96)
    energy, force, stress = differences(ours, theirs)
    assert energy < ENERGY and force < FORCE and stress < STRESS
    assert ours.calc.report["fermi_level_eV"] == pytest.approx(theirs.info["fermi_eV"], abs=1e-3)


@pytest.mark.slow
@devices
def test_four_k_points_of_128_atoms(device):
    [theirs] = references("na128_4k.xyz", name="solid1")
    ours = computed(theirs, device, ecut_density=50 * Ry, bands=96, kpts=(2, 2, 2), shift=(1, 1, 1))
    energy, force, stress = differences(ours, theirs)
    assert energy < ENERGY and force < FORCE and stress < STRESS
    assert ours.calc.report["k_points"] == 4
