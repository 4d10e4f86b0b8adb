"""The correction between settings: exact where it can be, and true of the bundled labels."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

import mlipbook as mb
from mlipbook.studies.k_points import correction as study


@pytest.fixture(scope="module")
def frames() -> list[Atoms]:
    """4k minus Gamma, nine frames of the first version."""
    many = [a for a in mb.datasets.load("na-4k") if "md_0000" <= a.info["frame"] < "md_0009"]
    return study.differences(many, mb.datasets.load("na-gamma"))


@pytest.fixture(scope="module")
def found(frames):
    potential, prepared = study.blank(frames)
    return study.equations(potential, frames, prepared)


def labeled_by(potential: mb.ANNPotential, frames: list[Atoms]) -> list[Atoms]:
    out = []
    for atoms in frames:
        result = potential.evaluate(mb.Structures.from_ase(atoms))
        copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        copy.calc = SinglePointCalculator(
            copy,
            energy=float(result.energy[0]),
            forces=result.forces[0].numpy(),
            stress=result.stress[0].numpy()[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]],
        )
        out.append(copy)
    return out


def test_differences_are_of_namesakes(frames):
    few = {atoms.info["frame"]: atoms for atoms in mb.datasets.load("na-gamma")}
    many = {atoms.info["frame"]: atoms for atoms in mb.datasets.load("na-4k")}
    name = frames[3].info["frame"]
    assert len(frames) == 9
    for get in (Atoms.get_potential_energy, Atoms.get_forces, Atoms.get_stress):
        np.testing.assert_allclose(get(frames[3]) + get(few[name]), get(many[name]), rtol=1e-12, atol=1e-12)


def test_a_linear_potential_is_found_from_its_labels(frames):
    truth, _ = study.blank(frames)
    with torch.no_grad():
        truth.networks["Na"].weights[0].normal_(generator=torch.Generator().manual_seed(0)).mul_(0.01)
    exact = labeled_by(truth, frames)
    table = mb.errors(study.fit_correction(exact[:6]), exact[6:])
    assert table.rmse["energy"] < 1e-3 and table.rmse["force"] < 1e-2 and table.rmse["stress"] < 1e-5


def test_the_equations_are_those_of_the_potential(frames, found):
    c, _ = study.least_squares(found)
    table, errors = mb.errors(study.fit_correction(frames), frames), found.errors(c)
    for name in study.UNITS:
        np.testing.assert_allclose(np.sqrt((errors[name] ** 2).mean()), table.rmse[name], rtol=1e-6)
    np.testing.assert_allclose(errors["pressure"].mean(), table.bias["pressure"], rtol=1e-5)


def test_four_frames_correct_energies_and_pressures_of_the_others(found):
    curves = study.learning_curve(found, [2, 4], draws=20)
    plain = {name: np.sqrt((x**2).mean()) for name, x in found.errors(np.zeros(23)).items()}
    linear = {name: curve[:, :, 1].mean(1) for name, curve in curves.items()}
    assert plain["energy"] > 6 and linear["energy"][1] < 0.3
    assert plain["pressure"] > 0.05 and linear["pressure"][1] < 0.005
    assert 0.5 < linear["force"][1] / plain["force"] < 0.8  # what k points do to forces is mostly not local
    constant = curves["pressure"][1, :, 0].mean()
    assert constant == pytest.approx(plain["pressure"], rel=0.1)
    results = study.records(found, curves, [2, 4], "4k minus Gamma")
    assert results["4k minus Gamma: energy, linear correction from 4 frames"]["value"] == linear["energy"][1]
    assert results["4k minus Gamma: energy, uncorrected"]["value"] == pytest.approx(plain["energy"])


def test_fewer_than_two_draws_are_refused(found):
    """`study k_points.correction --draws 0` would end in numbers that are none."""
    with pytest.raises(ValueError, match="0 draws: their scatter needs two or more"):
        study.learning_curve(found, [2], draws=0)


def test_a_corrected_potential_predicts_the_other_labels(frames):
    few, _ = study.blank(frames)
    with torch.no_grad():
        few.networks["Na"].weights[0].normal_(generator=torch.Generator().manual_seed(1)).mul_(0.01)
    correction = study.fit_correction(frames)
    many = labeled_by(few, frames)
    for atoms, added in zip(many, labeled_by(correction, frames), strict=True):
        for name, value in added.calc.results.items():
            atoms.calc.results[name] = atoms.calc.results[name] + value
    plain, corrected = (study.transferred(few, c, many) for c in (None, correction))
    for name in study.UNITS:
        assert abs(corrected[name]).max() < 1e-9 * abs(plain[name]).max()


def test_what_a_potential_has_wrong_cancels_between_small_and_large_cells(frames):
    truth, _ = study.blank(frames)
    correction = study.fit_correction(frames)
    small, large = labeled_by(truth, frames[:4]), labeled_by(truth, frames[4:8])
    added = mb.predict(correction, large)
    for i, atoms in enumerate([*small, *large]):
        atoms.info["phase"] = ("solid", "liquid")[i % 2]
        atoms.calc.results["energy"] -= 0.003 * len(atoms)  # what the potential has wrong
    for atoms, more in zip(large, added, strict=True):
        atoms.calc.results["energy"] += more["energy"].mean() - 0.002 * len(atoms)
    found = study.large_cell_records("4k", truth, correction, small, large)
    for phase in ("solid", "liquid"):
        values = [found[f"4k, {phase}, {cells} cells: energy"]["value"] for cells in ("small", "large")]
        assert values == pytest.approx([3, 5])
        difference = found[f"4k, {phase}, large minus small: energy"]
        assert difference["value"] == pytest.approx(2) and difference["n"] == 4


def test_a_correction_brings_test_errors_down(frames):
    potential, _ = study.blank(frames)
    few = labeled_by(potential, frames)
    many = labeled_by(study.fit_correction(frames), frames)  # the difference of frames, as a linear potential
    for i, (a, b) in enumerate(zip(many, few, strict=True)):
        a.info = b.info = {"frame": str(i), "split": "test" if i % 4 == 3 else "train"}
    found = study.transfer_records(potential, many, few)
    assert found["test frames, potential as trained: energy"]["value"] > 6
    assert found["test frames, potential corrected by 7 frames: energy"]["value"] < 1e-2
