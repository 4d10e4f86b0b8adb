"""Labels by Quantum ESPRESSO through ASE, where pw.x is installed, and ours beside them."""

import shutil
from importlib.resources import files

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.espresso import Espresso, EspressoProfile

import mlipbook as mb
from mlipbook.units import GPa, Ry


@pytest.mark.skipif(shutil.which("pw.x") is None, reason="pw.x is not installed")
def test_pw_x_and_our_code_give_the_same_labels(tmp_path):
    atoms = bulk("Na", "bcc", 4.2, cubic=True)
    atoms.rattle(0.1, seed=0)

    def espresso():
        return Espresso(
            profile=EspressoProfile(command="pw.x", pseudo_dir=str(files("mlipbook") / "data")),
            directory=tmp_path / "run",
            pseudopotentials={"Na": "Na.UPF"},
            kpts=(2, 2, 2),
            koffset=(1, 1, 1),
            input_data={
                "control": {"tprnfor": True, "tstress": True, "disk_io": "none"},
                "system": {
                    "ecutwfc": 16,
                    "ecutrho": 64,
                    "occupations": "smearing",
                    "smearing": "fd",
                    "degauss": 0.01,
                    "nbnd": 10,
                    "nosym": True,
                },
                "electrons": {"conv_thr": 1e-9, "mixing_mode": "TF"},
            },
        )

    dft = mb.dft.PlaneWaveDFT(ecut=16 * Ry, kpts=(2, 2, 2), shift=(1, 1, 1), bands=10, tolerance=1e-9 * Ry)
    (theirs,) = mb.labels.label([atoms], espresso, tmp_path / "store")
    (ours,) = mb.labels.label([atoms], dft)
    assert abs(ours.get_potential_energy() - theirs.get_potential_energy()) < 2 * 1e-4
    assert np.abs(ours.get_forces() - theirs.get_forces()).max() < 1e-3
    assert np.abs(ours.get_stress() - theirs.get_stress()).max() < 0.002 * GPa
    assert theirs.info["provenance"]["calculator"] == "ase.calculators.espresso.Espresso"
    assert ours.info["provenance"]["report"]["scf_errors_eV"][-1] < 1e-9 * Ry
    assert (tmp_path / "run" / "espresso.pwo").exists()
