"""Labeling goes on where it stopped, past what fails, and says where each label comes from."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms

import mlipbook as mb
from mlipbook.labels import label


class Counting(LennardJones):
    """Lennard-Jones that writes a line for each calculation, and cannot do hydrogen."""

    def __init__(self, log: Path, **kwargs):
        super().__init__(**kwargs)
        self.log = log

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        with open(self.log, "a") as log:
            log.write(f"{atoms.get_chemical_formula()}\n")
        if "H" in atoms.symbols:
            raise RuntimeError("no hydrogen")
        super().calculate(atoms, properties, system_changes)


class Broken(Calculator):
    """Returns NaN forces."""

    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        self.results = {"energy": 0.0, "forces": np.full((len(atoms), 3), np.nan)}


def rattled(n: int) -> list[Atoms]:
    frames = [bulk("Cu", cubic=True) for _ in range(n)]
    for i, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=i)
        atoms.info["frame"] = f"cu_{i}"
    return frames


def test_labels_are_the_calculators(tmp_path):
    frames = rattled(3)
    frames[1].pbc = (True, True, False)  # slabs have stress, too
    frames[0].set_constraint(FixAtoms([0]))
    labeled = label(frames, EMT())
    for atoms, given in zip(labeled, frames, strict=True):
        assert given.calc is None and atoms.info["frame"] == given.info["frame"]
        bare = given.copy()
        bare.set_constraint()
        bare.calc = EMT()
        tolerance = 1e-12  # a calculator that is used again may sum its neighbors in another order
        assert atoms.get_potential_energy() == pytest.approx(bare.get_potential_energy(), abs=tolerance)
        forces = atoms.get_forces(apply_constraint=False)
        np.testing.assert_allclose(forces, bare.get_forces(), rtol=0, atol=tolerance)
        np.testing.assert_allclose(atoms.get_stress(), bare.get_stress(), rtol=0, atol=tolerance)
        assert atoms.calc.results["free_energy"] == atoms.get_potential_energy()
    assert "stress" not in label([molecule("N2")], EMT())[0].calc.results
    ase.io.write(tmp_path / "labels.xyz", labeled)
    again = ase.io.read(tmp_path / "labels.xyz", ":")
    assert [a.info["provenance"] for a in again] == [a.info["provenance"] for a in labeled]
    provenance = labeled[0].info["provenance"]
    assert provenance["calculator"] == "ase.calculators.emt.EMT"
    assert provenance["parameters"] == {"asap_cutoff": False}
    assert {"ase", "python", "mlipbook"} <= set(provenance["versions"])
    assert datetime.fromisoformat(provenance["date"]).tzinfo is not None


@pytest.mark.parametrize("executor", [None, partial(ThreadPoolExecutor, 2)])
def test_failures_are_listed_and_the_run_resumes(tmp_path, executor):
    log, store = tmp_path / "log", tmp_path / "store"
    frames = rattled(3)
    frames.insert(1, molecule("H2O"))
    make = partial(Counting, log, sigma=2.3)
    with pytest.warns(UserWarning, match=r"1 of 4 .*\n  structure 1 \(H2O\): RuntimeError: no hydrogen"):
        labeled = label(frames, make, store, executor)
    assert [atoms.info["frame"] for atoms in labeled] == ["cu_0", "cu_1", "cu_2"]
    log.unlink()
    more = label(rattled(4), make, store, executor)
    assert log.read_text().split() == ["Cu4"]  # only the new one
    for old, new in zip(labeled, more, strict=False):
        assert old.info == new.info and old.get_potential_energy() == new.get_potential_energy()
        assert np.array_equal(old.get_forces(), new.get_forces())
    log.unlink()
    label(rattled(4), partial(Counting, log, sigma=2.4), store, executor)
    assert len(log.read_text().split()) == 4  # other parameters, other labels


def test_labels_that_are_no_numbers():
    with pytest.warns(UserWarning, match="forces is not finite"):
        assert label([molecule("N2")], Broken()) == []


def test_two_potentials_do_not_share_labels(tmp_path):
    structures = mb.Structures.from_ase(bulk("Na", "bcc", a=4.2, cubic=True) * 2)
    energies = []
    for seed in (0, 1, 0):
        descriptor = mb.Chebyshev(("Na",), 5.0, 4, 5.0, 2)
        calculator = mb.Calculator(mb.ANNPotential(descriptor, seed=seed))
        (atoms,) = label(structures, calculator, tmp_path)
        energies.append(atoms.get_potential_energy())
    assert energies[0] == energies[2] != energies[1]
    assert len(list(tmp_path.iterdir())) == 2
