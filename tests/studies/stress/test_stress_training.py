"""The study of chapter 5: pieces against closed forms, training against its promises."""

from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk

import mlipbook as mb
from mlipbook.studies.stress import training as study
from mlipbook.training.derivatives import prepare_all

SIZE = SimpleNamespace(
    p_U=[1, 100], p_W=0.4, members=2, epochs=30, frames=8, valid=2, few=2, few_valid=2, few_epochs=2, curves=1
)


@pytest.fixture(scope="module")
def test_frames():
    return mb.datasets.load("na-gamma", "test")[:3]


def test_seeds_are_paired_and_only_the_weights_of_the_cost_differ():
    frames = mb.datasets.load("na-gamma", "valid")[:2]
    twice = {"EF": (1, 1, 0), "EF again": (1, 1, 0), "EFP": (1, 1, 1)}
    options = {"members": 2, "epochs": 2, "progress": False}
    potential = study.train_kinds(twice, frames[:1], frames[1:], **options)
    weights = study.by_kind(potential.networks["Na"].weights[0].detach().numpy(), twice)
    np.testing.assert_allclose(weights["EF"], weights["EF again"], rtol=1e-5)
    assert abs(weights["EF"] - weights["EFP"]).max() > 1e-4
    assert abs(weights["EF"][0] - weights["EF"][1]).max() > 0.1


def test_held_out_errors_are_those_of_the_library(test_frames):
    potential = mb.ANNPotential(study.descriptor(), members=2, seed=3)
    found = study.held_out(potential, test_frames, prepare_all(potential, test_frames, "test"))
    table = mb.errors(potential, test_frames)
    for name in study.UNITS:
        np.testing.assert_allclose(study.rmse(found[name]), table.rmse[name], rtol=1e-9)
    np.testing.assert_allclose(found["pressure"].mean(1), table.bias["pressure"], rtol=1e-9)
    np.testing.assert_allclose(found["energy"].mean(1), table.bias["energy"], rtol=1e-9)


def test_pressure_along_scaled_copies_is_minus_dU_dV(test_frames):
    potential = mb.ANNPotential(study.descriptor(), members=1, seed=3)
    atoms, h = test_frames[0], 1e-4
    energies, V = [], []
    for x in (-h, h):
        copy = study.scaled(atoms, x)
        energies.append(float(potential.evaluate(mb.Structures.from_ase(copy)).energy[0]))
        V.append(copy.cell.volume)
    assert V[1] == pytest.approx(atoms.cell.volume * np.exp(h), rel=1e-12)
    copy = study.scaled(atoms, 0.0)
    P = study.held_out(potential, [copy], prepare_all(potential, [copy], "copy"))["pressure"][0, 0]
    np.testing.assert_allclose(P, -np.diff(energies)[0] / np.diff(V)[0] / mb.units.GPa, rtol=1e-6)


def test_volume_shift_is_the_error_over_the_bulk_modulus():
    B, error = 6.0, np.array([[0.06, -0.12]])
    labels = np.array([0.2, 0.1])
    curves = (labels + error)[..., None] - B * np.array(study.STRETCH)
    shift, modulus = study.volume_shift(curves, labels)
    np.testing.assert_allclose(shift, error / B, rtol=1e-9)
    np.testing.assert_allclose(modulus, B, rtol=1e-9)


def test_equation_of_state_finds_what_went_in():
    V = np.linspace(36, 41, 9)
    shell = np.sin(np.arange(9.0))
    x = np.log(V / 38.0)
    P = -5.5 * x + 9.0 * x**2 + 0.3 * (shell - shell.mean())
    V0, B, _ = study.equation_of_state(V, np.stack([P, P + 0.05]), shell)
    assert V0[0] == pytest.approx(38.0, abs=1e-6) and B[0] == pytest.approx(5.5, abs=1e-6)
    assert V0[1] / 38.0 - 1 == pytest.approx(0.05 / 5.5, rel=0.05)


def test_narrow_training_set_has_one_volume_and_both_phases():
    sets = study.training_sets(SimpleNamespace(frames=104, valid=20, few=16, few_valid=4))
    spread = {name: np.ptp(study.volumes(train)) for name, (train, _) in sets.items()}
    assert spread["narrow"] < 1.0 < 6.0 < spread["wide"] <= spread["full"]
    assert [len(train) for train, _ in sets.values()] == [104, 16, 16]
    assert len(study.of_phase(sets["narrow"][0], "solid")) == 8


@pytest.mark.slow
def test_comparison_gives_a_record_for_every_question():
    found = study.compare(SIZE, progress=False)
    assert found.errors["narrow"]["EFP, p_U = 100"]["pressure"].shape == (2, 21)
    assert found.curves["full"]["EF, p_U = 1"].shape == (2, 1, len(study.STRETCH))
    results = study.records(found)
    assert all(np.isfinite([item["value"], item["sem"]]).all() for item in results.values())
    assert 6.0 < results["bulk modulus, labels"]["value"] < 8.0


def test_nearest_shell_of_bcc_does_not_change_with_the_cell():
    bcc = bulk("Na", "bcc", a=4.2, cubic=True) * (3, 3, 3)
    expected = 3**0.5 / 2 * 2 ** (1 / 3)
    np.testing.assert_allclose(study.nearest_shell([bcc, study.scaled(bcc, 0.1)]), expected, rtol=1e-9)
