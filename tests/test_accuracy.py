"""Error tables of a potential whose errors are known by construction."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from conftest import BOX, SKEW, ann, scattered

import mlipbook as mb
from mlipbook.potentials import LennardJones
from mlipbook.units import GPa, meV

POTENTIAL = LennardJones(0.4, 2.3, 4.5)


def labeled(atoms: Atoms, dU: float = 0.0, dF=0.0, dS=0.0, leave_out: tuple[str, ...] = ()) -> Atoms:
    """The frame with labels that the potential misses by dU (eV/atom), dF (eV/A), dS (eV/A^3, Voigt)."""
    result = POTENTIAL.evaluate(mb.Structures.from_ase(atoms))
    labels = {"energy": float(result.energy) - dU * len(atoms), "forces": result.forces[0].numpy() - dF}
    if any(atoms.pbc):
        S = result.stress[0].numpy()
        labels["stress"] = S[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] - dS
    atoms = atoms.copy()
    atoms.calc = SinglePointCalculator(atoms, **{k: v for k, v in labels.items() if k not in leave_out})
    return atoms


def frames() -> list[Atoms]:
    """A crystal, a slab and a rod."""
    kinds = (("Ar5", BOX, (1, 1, 1)), ("Ar3", SKEW, (1, 1, 0)), ("Ar4", SKEW, (0, 0, 1)))
    return [scattered(formula, cell, pbc, seed) for seed, (formula, cell, pbc) in enumerate(kinds, 1)]


def test_errors_are_those_put_in():
    rng = np.random.default_rng(0)
    dU, dS = rng.normal(size=3), rng.normal(size=(3, 6))
    dF = [rng.normal(size=(len(atoms), 3)) for atoms in frames()]
    table = mb.errors(
        POTENTIAL, [labeled(f, u, x, s) for f, u, x, s in zip(frames(), dU, dF, dS, strict=True)]
    )
    expected = {
        "energy": dU / meV,
        "force": np.concatenate([x.ravel() for x in dF]) / meV,
        "stress": dS.ravel() / GPa,
        "pressure": -dS[:, :3].mean(1) / GPa,
    }
    assert table.count == {"energy": 3, "force": 36, "stress": 18, "pressure": 3}
    for name, d in expected.items():
        np.testing.assert_allclose(table.rmse[name], [np.sqrt(np.mean(d**2))], rtol=1e-9)
        np.testing.assert_allclose(table.mae[name], [np.mean(abs(d))], rtol=1e-9)
        np.testing.assert_allclose(table.bias[name], [np.mean(d)], rtol=1e-9)


def test_known_bias_in_the_units_of_the_field():
    """1 meV/atom too high, 20 meV/A too large, 0.3 GPa too much pressure: a stress of -0.3 GPa."""
    uniform = np.array([1.0, 1, 1, 0, 0, 0])
    table = mb.errors(POTENTIAL, [labeled(f, 1e-3, 0.02, -0.3 * GPa * uniform) for f in frames()])
    assert table.bias["energy"][0] == pytest.approx(1.0)
    assert table.bias["force"][0] == pytest.approx(20.0)
    assert table.bias["pressure"][0] == pytest.approx(0.3)
    assert table.bias["stress"][0] == pytest.approx(-0.15)
    assert table.rmse["pressure"][0] == pytest.approx(0.3)


def test_missing_labels_are_left_out():
    cluster = scattered("Ar4", 0.7 * BOX, False, 4)
    some = [
        labeled(frames()[0], dU=1.0, leave_out=("stress",)),
        labeled(frames()[1], dU=3.0, leave_out=("forces",)),
        labeled(cluster, dU=5.0),
    ]
    table = mb.errors(POTENTIAL, some)
    assert table.count == {"energy": 3, "force": 27, "stress": 6, "pressure": 1}
    assert table.bias["energy"][0] == pytest.approx(3000)
    assert table.rmse["stress"][0] < 1e-9
    with pytest.raises(ValueError, match="none of the 3 frames has an energy, force or stress label"):
        mb.errors(POTENTIAL, frames())


def test_free_energy_is_the_label_where_there_is_one():
    atoms = labeled(frames()[0])
    atoms.calc.results["free_energy"] = atoms.calc.results["energy"] - 5 * 7e-3
    assert mb.errors(POTENTIAL, [atoms]).bias["energy"][0] == pytest.approx(7.0)


def test_members_have_columns():
    data = [labeled(f) for f in frames()]
    committee = ann(mb.Structures.from_ase(frames()[0]), members=3)
    together = mb.errors(committee, data)
    for m in range(3):
        alone = mb.errors(committee.member(m), data)
        for name in together.rmse:
            assert together.rmse[name].shape == (3,)
            np.testing.assert_allclose(together.rmse[name][m], alone.rmse[name][0], rtol=1e-10)
    mean, spread = together.rmse["force"].mean(), together.rmse["force"].std(ddof=1)
    row = {row[0]: row for row in together.rows()}["force"]
    assert row[1:3] == ("meV/A", "36") and row[3] == f"{mean:.4g} ± {spread:.2g}"
    assert row[3] in str(together) and f"<td>{row[3]}</td>" in together._repr_html_()


def test_predictions_are_those_of_evaluate():
    committee = ann(mb.Structures.from_ase(frames()[0]), members=2)
    for atoms, found in zip(frames(), mb.predict(committee, frames()), strict=True):
        result = committee.evaluate(mb.Structures.from_ase(atoms))
        np.testing.assert_allclose(found["energy"], result.energy[:, 0], rtol=1e-14)
        np.testing.assert_allclose(found["forces"], result.forces[:, 0], rtol=0, atol=1e-14)
        xz = result.stress[:, 0, 0, 2]
        torch.testing.assert_close(torch.as_tensor(found["stress"][:, 4]), xz, rtol=1e-14, atol=1e-16)
    cluster = mb.predict(committee, [scattered("Ar4", 0.7 * BOX, False, 4)])[0]
    assert sorted(cluster) == ["energy", "forces"]
