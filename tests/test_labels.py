"""Labeling goes on where it stopped, past what fails, and says where each label comes from."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from zlib import crc32

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms

import mlipbook as mb
from mlipbook import archive
from mlipbook.labels import label
from mlipbook.potentials import LennardJones as LJ


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


class Reading(Calculator):
    """Energy from what it finds in atoms.info, as calculators of charged systems and fields do."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        charge, field = self.atoms.info.get("charge", 0), np.asarray(self.atoms.info.get("field", [0.0] * 3))
        self.results = {"energy": -10.0 + 5 * charge + field.sum(), "forces": np.zeros((len(atoms), 3))}


@pytest.mark.parametrize("kind", ["without a store", "store", "executor"])
def test_charge_spin_and_field_reach_the_calculator_and_belong_to_the_key(tmp_path, kind):
    frames = [molecule("N2") for _ in range(5)]
    for atoms, info in zip(frames[1:], ({"charge": 1}, {"charge": 2, "name": "b"}), strict=False):
        atoms.info.update(info)
    frames[3].info["field"], frames[4].info["field"] = np.array([0, 0, 0.5]), np.array([0, 0, 0.5 + 2**-50])
    options = {"store": tmp_path} if kind != "without a store" else {}
    if kind == "executor":
        options["executor"] = partial(ThreadPoolExecutor, 1)
    calculator = Reading()  # one for all: it must not take what it had for the same positions
    for _ in range(2):
        labeled = label(frames, calculator, **options)
        energies = [atoms.get_potential_energy() for atoms in labeled]
        assert energies == [-10.0, -5.0, 0.0, -9.5, -9.5 + 2**-50]
        for atoms, given in zip(labeled, frames, strict=True):
            assert {k: str(x) for k, x in given.info.items()}.items() <= {
                k: str(x) for k, x in atoms.info.items()
            }.items()
    assert len(list(tmp_path.iterdir())) == (0 if kind == "without a store" else 5)


def test_former_provenance_and_momenta_are_no_part_of_a_structure(tmp_path):
    once = label(rattled(1), EMT(), tmp_path)
    once[0].set_momenta(np.ones((4, 3)))
    [again] = label(once, EMT(), tmp_path)
    assert again.get_momenta().all()  # which the frame keeps
    assert len(list(tmp_path.iterdir())) == 1


class OfModel(Calculator):
    """As machine-learned calculators do: the model is an attribute, and nothing is in .parameters."""

    implemented_properties = ("energy", "forces")

    def __init__(self, model=None, **keywords):
        super().__init__(**keywords)
        self._model = model

    def number(self) -> float:
        return float(crc32(pickle.dumps([self._model, dict(self.parameters)])))

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": self.number(), "forces": np.zeros((len(atoms), 3))}


class Secret:
    """What pickle cannot take."""

    def __init__(self, energy: float):
        self.energy = energy

    def __reduce_ex__(self, protocol):
        raise TypeError("cannot pickle 'Secret' object")


class OfSecret(OfModel):
    def number(self) -> float:
        return self._model.energy + self.parameters.get("shift", 0.0)


def of_one_name(energy: float, constant: float = 0.0) -> type[OfModel]:
    if energy > 1:

        class Here(OfModel):
            extra = constant

            def number(self) -> float:
                return 2.0 + self.extra
    else:

        class Here(OfModel):
            extra = constant

            def number(self) -> float:
                return 1.0 + self.extra

    return Here


def network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Linear(3, 1)


LONG = np.arange(2000.0)
TWO_MODELS = {
    "file": [OfModel("a.model"), OfModel("b.model")],
    "array": [OfModel(LONG), OfModel(np.where(LONG == 1000, np.nextafter(LONG, 2000), LONG))],
    "network": [OfModel(network(0)), OfModel(network(1))],
    "networks in a list": [OfModel([network(0), network(1)]), OfModel([network(0), network(2)])],
    "object": [OfModel(Path("a")), OfModel(Path("b"))],
    "parameter": [OfModel(shift=1.0), OfModel(shift=1.0 + 2**-52)],
    "code": [of_one_name(1.0)(), of_one_name(2.0)()],
    "constant of the class": [of_one_name(1.0)(), of_one_name(1.0, 0.5)()],
    "ours": [mb.Calculator(LJ(0.1, 2.2, 5.0)), mb.Calculator(LJ(0.1 + 1e-7, 2.2, 5.0))],
}


@pytest.mark.parametrize("name", TWO_MODELS)
def test_two_models_do_not_share_labels(tmp_path, name):
    def energies(store):
        return [label(rattled(1), c, store)[0].get_potential_energy() for c in TWO_MODELS[name]]

    right = energies(None)
    assert right[0] != right[1]
    assert energies(tmp_path) == right == energies(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_model_that_cannot_be_known_needs_a_word(tmp_path):
    """A store without it is refused before anything is computed; with it, class and parameters count, too."""
    with pytest.raises(
        archive.Unidentified, match=r'OfSecret\._model: of a Secret .*label\(\.\.\., model="\.\.\."\)'
    ):
        label(rattled(1), OfSecret(Secret(1.0)), tmp_path)
    assert not list(tmp_path.iterdir())
    assert label(rattled(1), OfSecret(Secret(1.0)))[0].get_potential_energy() == 1.0

    def energy(model, secret, **parameters):
        (atoms,) = label(rattled(1), OfSecret(Secret(secret), **parameters), tmp_path, model=model)
        assert atoms.info["provenance"]["model"] == model
        return atoms.get_potential_energy()

    assert [energy("one", 1.0), energy("two", 2.0), energy("one", 1.0)] == [1.0, 2.0, 1.0]
    assert energy("one", 1.0, shift=0.5) == 1.5
    assert len(list(tmp_path.iterdir())) == 3


class Remembering(OfModel):
    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls = getattr(self, "calls", 0) + 1


def test_a_calculator_that_changes_as_it_computes_is_told(tmp_path):
    with pytest.warns(UserWarning, match="Remembering has other attributes after computing"):
        label(rattled(1), Remembering(), tmp_path)
    label(rattled(1), Remembering, tmp_path)  # a new one each time: found again, no warning
    label(rattled(1), Remembering(), tmp_path, model="the only one")
    assert len(list(tmp_path.iterdir())) == 2


def test_labels_of_an_older_version_are_not_used_and_it_is_said(tmp_path):
    (tmp_path / f"SinglePoint-{'0' * 20}.json").write_text("{}")
    with pytest.warns(UserWarning, match="1 results of an older version"):
        label(rattled(1), EMT(), tmp_path)


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
