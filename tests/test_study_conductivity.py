"""The conductivity study reads its runs rightly, and what is stored says what the book says."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mlipbook.heat import green_kubo
from mlipbook.studies import conductivity as study
from mlipbook.studies import conductivity_report as report
from mlipbook.units import fs

LAG = 75 * fs
STORED = Path(__file__).parents[1] / "results" / "full"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two replicas of the reference for 60 steps, in equilibrium and under all fields."""
    folder = tmp_path_factory.mktemp("runs")
    start = np.load(STORED / "ag2se" / "starts.npz")["positions"][:2]
    study.keep(folder / "starts.npz", {"positions": torch.as_tensor(start)})
    with pytest.MonkeyPatch.context() as change:
        change.setattr(study, "SETTLE", 15 * fs)
        change.setattr(study, "LAG", LAG)
        change.setattr(study, "GAUGE_LAG", 60 * fs)
        change.setattr(study, "BLOCK", 2)
        for name in ("equilibrium-reference", "heat-reference"):
            study.run(name, folder, 48)
            study.run(name, folder, 48)  # not again
    return folder


def test_stored_correlations_give_the_integrals_of_the_series(runs):
    found = np.load(runs / "equilibrium-reference.npz")
    interval, volume, T = (float(found[x].mean()) for x in ("interval", "volume", "temperature"))
    direct = green_kubo(found["flux"], interval, volume, T, LAG, found["current"])
    kappa, _, corrected, _, h, _ = study.integrals(found, slice(0, 2), "I")
    torch.testing.assert_close(kappa, direct.kappa, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(corrected, direct.corrected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(h, direct.enthalpy, rtol=1e-3, atol=1e-3)


def test_pairs_have_one_conductivity_by_all_definitions(runs):
    found = np.load(runs / "equilibrium-reference.npz")
    by = [study.integrals(found, slice(0, 2), X)[0] for X in study.DEFINITIONS]
    torch.testing.assert_close(by[0], by[1], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(by[0], by[2], rtol=1e-4, atol=1e-6)


def test_replicas_are_driven_by_the_fields_in_their_order(runs):
    found = np.load(runs / "heat-reference.npz")
    assert found["flux"].shape[1:] == (2 * len(study.REFERENCE_FIELDS), 3)
    strengths = [strength for strength, _ in study.REFERENCE_FIELDS.values()]
    expected = study.FIELD * np.repeat(strengths, 2)
    assert found["field"][:, 0] == pytest.approx(expected, rel=1e-6)
    part = study.response(found, slice(2, 4))
    assert part.flux.shape[1] == 2
    assert float(part.field[0, 0]) == pytest.approx(-study.FIELD, rel=1e-6)


def stored() -> dict:
    return json.loads((STORED / "conductivity.json").read_text())


def test_the_corrected_conductivity_is_the_same_in_every_gauge():
    found = np.load(STORED / "ag2se" / "equilibrium-students.npz")
    part = study.shares(len(found["correlations"]), len(study.MODELS))[7]
    as_trained, shifted = (study.integrals(found, part, "I", c) for c in (0.0, 1.3))
    assert float((as_trained[0] - shifted[0]).abs().max()) > 0.1
    torch.testing.assert_close(as_trained[2], shifted[2], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(
        shifted[4] - as_trained[4], torch.full_like(shifted[4], 1.3), rtol=1e-2, atol=0
    )


def test_the_stored_readings_are_those_of_the_stored_runs():
    found = np.load(STORED / "ag2se" / "equilibrium-students.npz")
    content = stored()
    readings = report.readings_of(found, len(study.MODELS), report.to_match(content["atomic_energies"]))
    for reading, by_definition in readings.items():
        for X, values in by_definition.items():
            assert content["readings"][reading][X]["kappa"] == pytest.approx(values["kappa"], rel=1e-9)


def test_only_stress_training_fixes_the_mean_stress_and_both_fix_its_fluctuations():
    errors = stored()["errors"]
    ef, efp = (report.of_kind(errors["stress"], kind) for kind in ("EF", "EFP"))
    assert ef.min() > 0.47 > efp.max()  # GPa; the paper's bound for its five EF-fits
    assert report.of_kind(errors["fluctuating stress"], "EF").max() < 0.02


def test_the_definitions_of_a_fit_differ_on_the_same_trajectories():
    """II and III below I, fit by fit, as III is the mean of both fluxes; by more than five errors each."""
    found = stored()["readings"]["less I"]
    for X in ("II", "III"):
        values, errors = (np.array(found[X][key]) for key in ("kappa", "error"))
        assert (values < -5 * errors).all()


def test_only_definition_II_is_off_the_reference_beyond_its_error():
    """At zero mass current, mean of ten fits; errors from scatter or run noise, whichever is larger."""
    content = stored()
    values, reference = content["readings"]["zero mass current"], content["reference"]["zero mass current"]
    z = {}
    for X, found in values.items():
        kappa, noise = np.array(found["kappa"]), np.sqrt(np.mean(np.square(found["error"])))
        error = max(noise, kappa.std(ddof=1)) / len(kappa) ** 0.5
        z[X] = (kappa.mean() - reference["kappa"]) / np.hypot(error, reference["error"])
    assert abs(z["I"]) < 2 < abs(z["II"])
    assert z["II"] < z["III"] < z["I"]


def test_stored_onsager_coefficients_give_the_heat_that_goes_with_silver():
    content = stored()
    found, h = content["onsager"]["reference"], content["enthalpy"]["reference"]
    assert found["L_q1"][0] / found["L_11"][0] == pytest.approx(h["h"], abs=0.2 * h["error"])


@pytest.mark.parametrize("name", ["heat-students-II", "color-reference"])
def test_runs_of_all_fits_and_under_a_color_field_do_what_they_say(tmp_path, monkeypatch, name):
    """One replica of each model for a few steps: fields, gauge, and which definition is driven."""
    start = np.load(STORED / "ag2se" / "starts.npz")["positions"][:1]
    study.keep(tmp_path / "starts.npz", {"positions": torch.as_tensor(start)})
    for file in ("potentials.npz", "equilibrium-students.npz"):
        (tmp_path / file).symlink_to(STORED / "ag2se" / file)
    monkeypatch.setattr(study, "SETTLE", 0.0)
    monkeypatch.setattr(study, "SAMPLE", 1)
    monkeypatch.setattr(study, "BLOCK", 1)
    study.run(name, tmp_path, 11)
    found = np.load(tmp_path / f"{name}.npz")
    models = len(study.MODELS) if "students" in name else 1
    assert found["flux"].shape == (11, models, 3)
    strength = study.FIELD if "students" in name else study.COLOR
    assert found["field"][:, 0] == pytest.approx(np.full(models, strength), rel=1e-6)
    if "students" in name:
        h, _ = study.enthalpies(np.load(tmp_path / "equilibrium-students.npz"), models, "II")
        assert found["h"] == pytest.approx(h.numpy())
